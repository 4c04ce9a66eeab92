"""Cypher for a human to paste: statements that carry their values as literals, safe whatever the values are.

Everywhere else values travel as parameters; a query window has none.
"""

import re
import unicodedata
from collections.abc import Sequence

import numpy as np

_ESCAPES = {"'": r"\'", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\b": r"\b", "\f": r"\f"}
_UNSEEN = ("Cc", "Cf", "Zl", "Zp")
"""Characters that a window may swallow or that turn a line round: control, format, line and paragraph separators."""


def quoted(text: str) -> str:
    r"""A Cypher expression whose value is `text`: a literal in single quotes, on one line.

    Neo4j replaces \uXXXX before it reads the quotes, even behind a backslash that is itself escaped: '\\u0027' would
    end its own literal. So a literal ends behind a backslash that a `u` follows, and the rest is added to it.
    """
    parts = re.split(r"(?<=\\)(?=[uU])", text)
    return " + ".join(f"'{''.join(map(_escaped, part))}'" for part in parts)


def _escaped(character: str) -> str:
    if character == "\\":
        return r"\\"
    if character in _ESCAPES:
        return _ESCAPES[character]
    if unicodedata.category(character) in _UNSEEN and ord(character) <= 0xFFFF:
        return f"\\u{ord(character):04X}"
    return character


def literal(value: object) -> str:
    """A number or truth value as Cypher writes it; anything else as its text, quoted."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, int | float) else quoted(str(value))


def listed(texts: Sequence[str]) -> str:
    """A list of quoted texts."""
    return f"[{', '.join(map(quoted, texts))}]"


def named(field: str) -> str:
    """A field's name in backticks."""
    return f"`{field.replace('`', '``')}`"


def evidence_query(
    item: str,
    property: str,
    value: str,
    facts: Sequence[tuple[str, str]],
    fields: Sequence[tuple[str, object]],
    nearest: Sequence[str],
) -> str:
    """Shows why a value is proposed: the item itself, its facts and fields (name, value) that speak for it, and the
    items like it that have the value. Columns evidence, item, title, property, value."""
    own = f"MATCH (i:Item {{id: {quoted(item)}}})"
    parts = [f"{own}\n{_row('the item', quoted('photograph'), 'i.image')}"]
    if facts:
        either = "\n   OR ".join(f"h.property = {quoted(name)} AND v.text = {quoted(text)}" for name, text in facts)
        parts.append(
            f"{own}-[h:HAS]->(v:Value)\nWHERE h.split IS NULL AND ({either})\n"
            + _row("a fact of it", "h.property", "v.text")
        )
    for name, content in fields:
        parts.append(
            f"{own}\nWHERE i.{named(name)} = {literal(content)}\n"
            + _row("a field of it", quoted(name), quoted(str(content)))
        )
    if nearest:
        parts.append(
            f"MATCH (i:Item)-[h:HAS]->(v:Value)\nWHERE i.id IN {listed(nearest)} AND h.split IS NULL\n"
            f"  AND h.property = {quoted(property)} AND v.text = {quoted(value)}\n"
            + _row("an item like it", "h.property", "v.text")
        )
    return "\nUNION ALL\n".join(parts)


def _row(evidence: str, property: str, value: str) -> str:
    return f"RETURN '{evidence}' AS evidence, i.id AS item, i.title AS title, {property} AS property, {value} AS value"
