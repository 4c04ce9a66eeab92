"""Every query of docs/cypher.md gives the same rows from both databases, or stands in the table "Neo4j only"."""

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

import graphstore
from graphstore import QueryError, Store
from graphstore.parameters import parameter_names
from tests.catalogues import Tables, tiny_catalogue
from tests.completions import plant, plant_vectors, propose_again
from tests.stores import ingested

TEXT = (Path(__file__).parents[2] / "docs" / "cypher.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"^```cypher\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
NEO4J_ONLY = [query.replace(r"\|", "|") for query in re.findall(r"^\| [^`]* \| `(.*)` \|$", TEXT, flags=re.MULTILINE)]
VALUES = {
    "id": "item-7",
    "other_id": "item-9",
    "property": "fabric",
    "value": "linen",
    "other_property": "tag",
    "category": "scarf",
    "words": "thing",
}
pytestmark = pytest.mark.neo4j


def rows(frame: pd.DataFrame, ordered: bool) -> list[list[object]]:
    found = frame.astype(object).where(frame.notna(), None).values.tolist()
    return found if ordered else sorted(found, key=repr)


def values_of(query: str) -> dict[str, str]:
    return {name: VALUES[name] for name in parameter_names(query)}


def catalogue() -> Tables:
    """The tiny one with a second item-8, so that there are duplicates of every kind."""
    tables = tiny_catalogue()
    items = pd.concat([tables.items, tables.items[tables.items["id"] == "item-8"].assign(id="twin")])
    triples = pd.concat([tables.triples, tables.triples[tables.triples["item"] == "item-8"].assign(item="twin")])
    return Tables(items, triples, tables.images, tables.properties)


def fill(store: Store) -> None:
    for part in (plant, propose_again, plant_vectors):
        part(store)


@pytest.fixture
def reference(neo4j_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.chdir(tmp_path)
    ingested(neo4j_url, catalogue()).close()
    with graphstore.open(neo4j_url, "w") as opened:
        fill(opened)
        yield opened


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    ingested(tmp_path / "store.lbdb", catalogue()).close()
    with graphstore.open(tmp_path / "store.lbdb", "w") as opened:
        fill(opened)
        yield opened


def test_the_documented_queries_give_the_same_rows(reference: Store, store: Store) -> None:
    assert len(QUERIES) > 25
    for query in QUERIES:
        expected, found = reference.query(query, **values_of(query)), store.query(query, **values_of(query))
        assert list(found.columns) == list(expected.columns), query
        assert found.dtypes.tolist() == expected.dtypes.tolist(), query
        ordered = "ORDER BY" in query
        assert rows(found, ordered) == rows(expected, ordered), query
        assert len(expected) > 0, query


def test_what_is_marked_neo4j_only_is(reference: Store, store: Store) -> None:
    assert len(NEO4J_ONLY) == 6
    for query in NEO4J_ONLY:
        answer = reference.query(query, **values_of(query))
        reference.query("CALL db.awaitIndexes(60)")
        assert len(answer) > 0 or query.startswith("CREATE"), query
        with pytest.raises(QueryError):
            store.query(query, **values_of(query))


def found(store: Store, beginning: str) -> list[list[object]]:
    [query] = [query for query in QUERIES if query.startswith(beginning)]
    return rows(store.query(query, **values_of(query)), ordered=True)


@pytest.mark.parametrize("kind", ["reference", "store"])
def test_some_answers_worked_out_by_hand(kind: str, request: pytest.FixtureRequest) -> None:
    """From tests/completions.py and the twin."""
    store: Store = request.getfixturevalue(kind)
    assert found(store, "MATCH (i:Item)-[p:PREDICTED]->(v:Value)\nWHERE p.status = 'proposed'") == [
        ["item-9", "fabric", "wool", 0.125],
        ["item-7", "brand", "Aldo", 0.5],
    ]
    assert found(store, "MATCH (:Item)-[p:PREDICTED]->(:Value)\nRETURN p.property") == [
        ["brand", 0, 1, 1],
        ["fabric", 1, 1, 3],
    ]
    assert found(store, "MATCH (:Item)-[p:PREDICTED]->(:Value)\nWHERE p.status <>") == [[0.2, 2, 0], [0.8, 1, 1]]
    assert found(store, "MATCH (i:Item)-[p:PREDICTED]->(v:Value)\nMATCH (i)-[q:PREDICTED]->(v)") == [
        ["item-11", "fabric", "wool", "second", "first"]
    ]
    stale = found(store, "MATCH (m:Metadata")
    assert len(stale) == 41 - 28
    assert [row for row in stale if row[1]] == [["item-19", "first", "0"], ["item-2", "first", "0"]]
    assert found(store, "MATCH (i:Item)\nWHERE i.embedding IS NOT NULL") == [
        ["first", "small", "0", 6, 2],
        ["first", "small", "1", 6, 28],
    ]
    assert ["item-8", "twin"] in [row[:2] for row in found(store, "MATCH (a:Item {category: $category})-[x:HAS]")]
    assert ["item-0", None] in [[row[0], None] for row in found(store, "MATCH (i:Item)\nWHERE NOT EXISTS")]
