"""Parameters of Cypher queries: what a query names, and values that mean the same to both databases."""

import re
from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np

from graphstore.errors import QueryParameterError


def parameter_names(cypher: str) -> set[str]:
    """The $names of a query, less those inside quotes or comments."""
    bare = re.sub(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|`[^`]*`|//[^\n]*|/\*.*?\*/", " ", cypher, flags=re.DOTALL)
    return set(re.findall(r"\$(\w+)", bare))


def bindable(name: str, value: Any) -> Any:
    """A value as Python's own types.

    Raises:
        QueryParameterError: anything but null, truth values, 64-bit integers, floats, text, bytes, dates, and lists and
            maps of these; a list of several types, or of maps with several sets of keys.
    """
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        parts = [bindable(name, part) for part in value]
        _require_alike(name, parts)
        return parts
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: bindable(name, part) for key, part in value.items()}
    whole = isinstance(value, int) and -(2**63) <= value < 2**63
    if value is None or whole or isinstance(value, float | str | bytes | date):
        return value
    raise QueryParameterError(f"${name} cannot be {value!r:.80} ({type(value).__name__})")


def _require_alike(name: str, parts: Sequence[Any]) -> None:
    """Ladybug gives every map of a list the keys of the last one."""
    kinds = {float if type(part) is int else type(part) for part in parts if part is not None}
    keys = {tuple(sorted(part)) for part in parts if isinstance(part, dict)}
    if len(kinds) > 1 or len(keys) > 1:
        raise QueryParameterError(f"${name} must be a list of one type, maps with the same keys (got {parts!r:.80})")
