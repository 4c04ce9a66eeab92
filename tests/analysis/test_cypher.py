"""Texts as literals: back as they were, from a reading by hand and from the databases."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import graphstore
from analysis.cypher import evidence_query, literal, named, quoted
from graphstore import Store
from tests.catalogues import tiny_catalogue
from tests.stores import DATABASES, empty_database, ingested

HOSTILE = [
    "it's",
    "\\",
    "\\'",
    "\\u0027 RETURN 1 //",
    "\\\\u0027}) DETACH DELETE i //",
    "\\U00000027",
    "u005C'",
    "'; MATCH (n) DETACH DELETE n; //",
    '`tick` "double" $id {x} /* */',
    "a\nb\r\nc\td\x08\x0c",
    "\u2028\u202e\u200b\x00\x7f",
    "大华 😀",
    "",
]
TEXTS = st.text(st.sampled_from("\\\\\\uU'\"0027nx`$;\n\u2028大😀") | st.characters(exclude_categories=["Cs"]))


def read(expression: str, unicode_first: bool) -> str:
    """The value of `'...' + '...'` by the rules of the two databases: `unicode_first` replaces \\uXXXX before the
    quotes are read, wherever a backslash stands before a u, as Neo4j does; without, escapes are read inside the quotes
    from left to right, as Ladybug does."""
    if unicode_first:
        expression = re.sub(r"\\u([0-9A-F]{4})", lambda found: chr(int(found[1], 16)), expression)
    text, rest = "", expression
    while True:
        body = re.match(r"'((?:\\.|[^'\\])*)'", rest, re.DOTALL)
        assert body, f"no literal: {rest}"
        text += re.sub(r"\\(u[0-9A-F]{4}|.)", _unescaped, body[1], flags=re.DOTALL)
        rest = rest[body.end() :]
        if not rest:
            return text
        assert rest.startswith(" + ")
        rest = rest[3:]


def _unescaped(found: "re.Match[str]") -> str:
    if len(found[1]) == 5:
        return chr(int(found[1][1:], 16))
    plain = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "'": "'", "\\": "\\"}
    return plain[found[1]]  # any other is an error in both


@given(TEXTS)
@settings(max_examples=400)
def test_quoted_texts_read_back_by_both_rules(text: str) -> None:
    expression = quoted(text)
    assert read(expression, unicode_first=False) == text
    assert read(expression, unicode_first=True) == text
    assert "\n" not in expression
    assert "\r" not in expression


def test_hostile_texts_by_hand() -> None:
    assert quoted("it's") == r"'it\'s'"
    assert quoted("\\u0027") == r"'\\' + 'u0027'"
    assert quoted("a\n\u2028\\n") == r"'a\n\u2028\\n'"
    assert (literal(True), literal(2), literal(-1.5), literal("a'")) == ("true", "2", "-1.5", r"'a\''")
    assert (literal(np.float64(0.5)), literal(np.int64(3)), literal(np.bool_(True))) == ("0.5", "3", "true")
    assert named("a`b") == "`a``b`"


@pytest.fixture(scope="module")
def ladybug(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    path = tmp_path_factory.mktemp("cypher") / "store.lbdb"
    with ingested(path, tiny_catalogue()) as store:
        yield store


@given(st.lists(TEXTS, min_size=20, max_size=20))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(HOSTILE)
def test_ladybug_reads_quoted_texts_back(ladybug: Store, texts: list[str]) -> None:
    columns = ", ".join(f"{quoted(text)} AS c{place}" for place, text in enumerate(texts))
    assert ladybug.query(f"RETURN {columns}").iloc[0].tolist() == texts


@pytest.mark.parametrize("kind", DATABASES)
def test_the_evidence_of_hostile_names_is_found(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Items, properties and values by every hostile name; the query finds them and changes nothing."""
    names = [name for name in HOSTILE if name and "\x00" not in name]
    rows = [(name, name, other, None) for name in names for other in names]
    items = pd.DataFrame({"id": names, "title": names, "category": names})
    triples = pd.DataFrame(rows, columns=["item", "property", "value", "split"])
    location: Any = empty_database(kind, request)
    with graphstore.open(location, "w") as store:
        store.ingest(items, triples)
    with graphstore.open(location, "w") as store:  # one that would let an injected write through
        for place, name in enumerate(names):
            other = names[place - 1]
            facts = [(name, text) for text in names]
            query = evidence_query(name, other, name, facts, [("category", name)], nearest=[other])
            found = store.query(query)
            assert list(found) == ["evidence", "item", "title", "property", "value"]
            by_kind = {
                str(kind): list(part.itertuples(index=False, name=None)) for kind, part in found.groupby("evidence")
            }
            assert [row[:4] for row in by_kind["the item"]] == [("the item", name, name, "photograph")]
            assert {row[4] for row in by_kind["a fact of it"]} == set(names)
            assert by_kind["a field of it"] == [("a field of it", name, name, "category", name)]
            assert by_kind["an item like it"] == [("an item like it", other, other, other, name)]
        assert store.query("MATCH (i:Item)-[h:HAS]->(:Value) RETURN count(*) AS n")["n"].tolist() == [len(rows)]
