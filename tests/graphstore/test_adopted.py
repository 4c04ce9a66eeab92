"""Graphs of another shape in a Ladybug file: what is refused by name, photographs, and the split."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import graphstore
from graphstore import MappingError, ReadOnlyStore, SchemaError, StoreError, image_key
from graphstore.adopted import _table
from graphstore.database import Batch
from graphstore.images import UnknownImage
from tests.catalogues import Tables, tiny_catalogue
from tests.contracts.test_store import PICTURE, four_items
from tests.foreign import facts_graph, facts_mapping, mapping_file, plain

ITEM_COLUMNS = {"id": "sku", "title": "name"}
ITEMS = "MATCH (p:Product) RETURN p.sku AS sku, p.name AS name"
COLUMNS = {"item": "product", "property": "attribute", "value": "content"}
TRIPLES = "MATCH (p:Product)-[:STATES]->(f:Fact) RETURN p.sku AS product, f.name AS attribute, f.text AS content"


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> str:
    return facts_graph(str(tmp_path_factory.mktemp("graph") / "products.lbdb"), four_items())


def mapped(location: str, folder: Path, **changes: Any) -> Path:
    """A mapping of the four items with some entries changed."""
    items = {"query": ITEMS, "columns": ITEM_COLUMNS} | changes.get("items", {})
    triples = {"query": TRIPLES, "columns": COLUMNS} | changes.get("triples", {})
    further = {name: changes[name] for name in ("properties",) if name in changes}
    return mapping_file(folder / "map.toml", location, items=items, triples=triples, **further)


SKU = "MATCH (p:Product) RETURN {} AS sku, p.name AS name"
FACT = "MATCH (p:Product)-[:STATES]->(f:Fact) RETURN {} AS product, f.name AS attribute, {} AS content"
GROUPS = "MATCH (f:Fact) RETURN DISTINCT f.name AS attribute, {} AS family"
GROUP_COLUMNS = {"name": "attribute", "group": "family"}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "other columns of items": (
        {"items": {"columns": {"id": "sku", "title": "label"}}},
        r"\[items\]: the query returns sku, name; columns names label, sku",
    ),
    "a column more": (
        {"triples": {"query": TRIPLES + ", 1 AS weight"}},
        r"\[triples\]: the query returns product, attribute, content, weight; columns names attribute, ",
    ),
    "an id that is null": (
        {"items": {"query": SKU.format("p.kind") + " ORDER BY p.sku"}},
        r"\[items\]: items: row 3 has an empty id: \{'id': 'None', 'title': 'None'\}",
    ),
    "an id twice": ({"items": {"query": SKU.format("'x'")}}, r"\[items\]: items: 'x' occurs 4 times"),
    "an id that is a number": (
        {"items": {"query": SKU.format("size(p.sku)")}},
        r"\[items\]: row 0 has id 1, expected text: toString",
    ),
    "a field that is a list": (
        {"items": {"query": "MATCH (p:Product) RETURN p.sku AS sku, [p.name, 'x'] AS name"}},
        r"\[items\]: row 0 has title \[.*\], expected text",
    ),
    "a value that is null": (
        {"triples": {"query": FACT.format("p.sku", "CASE f.text WHEN '10' THEN NULL ELSE f.text END")}},
        r"\[triples\]: triples: row \d has an empty value: \{'item': 'a', 'property': 'size', 'value': 'None'\}",
    ),
    "a fact twice": (
        {"triples": {"query": FACT.format("p.sku", "'same'")}},
        r"\[triples\]: triples: '[aZ]', '(colour|tag)', 'same' occurs [23] times",
    ),
    "a fact of no item": (
        {"items": {"query": ITEMS + " LIMIT 0"}},
        r"\[triples\]: triples: item '.' of <., \w+, .+> is no item",
    ),
    "a property with two groups": (
        {"properties": {"query": GROUPS.format("f.text"), "columns": GROUP_COLUMNS}},
        r"\[properties\]: properties: '(colour|tag)' occurs \d times",
    ),
    "a group that is a number": (
        {"properties": {"query": GROUPS.format("1"), "columns": GROUP_COLUMNS}},
        r"\[properties\]: row 0 has group 1, expected text: toString",
    ),
    "a syntax error": ({"items": {"query": "MATCH (p:Product) RETRUN p"}}, "(?i)retrun"),
    "a query that writes": (
        {"items": {"query": "MATCH (p:Product) SET p.name = 'mine'"}},
        "products.lbdb was opened to read",
    ),
}


@pytest.mark.parametrize(("changes", "text"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_catalogue_is_refused(changes: dict[str, Any], text: str, location: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=text):
        graphstore.open(mapped(location, tmp_path, **changes))


@pytest.mark.parametrize("where", ["", " WHERE p.sku IN $items"], ids=["adopted", "streamed"])
def test_groups_of_properties_come_by_a_query_of_their_own(where: str, location: str, tmp_path: Path) -> None:
    triples = {"query": f"MATCH (p:Product){where} {TRIPLES}"}
    query = GROUPS.format("CASE f.name WHEN 'colour' THEN 'picture' WHEN 'size' THEN 'graph' END")
    with graphstore.open(mapped(location, tmp_path, triples=triples)) as store:
        assert store.property_groups() == {}
        version = store.data_version
    properties = {"query": query, "columns": GROUP_COLUMNS}
    with graphstore.open(mapped(location, tmp_path, triples=triples, properties=properties)) as store:
        assert len(store.property_names()) > 2
        assert store.property_groups() == {"colour": "picture", "size": "graph"}
        assert store.data_version == version  # of items and facts
        graphstore.write_snapshot(store, tmp_path / "snapshot")
    assert graphstore.open(tmp_path / "snapshot").property_groups() == {"colour": "picture", "size": "graph"}


MIXED: list[tuple[list[list[Any]], str]] = [
    ([["dear", 1.5]], "row 1 has price 1.5, expected a number, a text or true or false"),
    ([[None, 1, True]], "row 2 has price True, expected"),
    ([[1], [None, object()]], "row 2 has price <object object"),
    ([[1.5], ["dear"]], "a column changes its type between rows"),
]


@pytest.mark.parametrize(("batches", "text"), MIXED, ids=[text for _, text in MIXED])
def test_fields_of_several_types(batches: list[list[Any]], text: str) -> None:
    """Neo4j's properties have no declared types."""
    rows: list[Batch] = [(["sku", "price"], [["x", cell] for cell in cells]) for cells in batches]
    with pytest.raises(SchemaError, match=text):
        _table(rows, {"id": "sku", "price": "price"}, ("id",))


def test_whole_and_other_numbers_are_numbers() -> None:
    rows: list[Batch] = [(["sku", "price"], [["x", 1], ["y", None]]), (["sku", "price"], [["z", 2.5]])]
    table = _table(rows, {"id": "sku", "price": "price"}, ("id",))
    assert table.to_pydict() == {"id": ["x", "y", "z"], "price": [1.0, None, 2.5]}


def test_facts_of_other_items_than_asked_for(location: str, tmp_path: Path) -> None:
    wrong = TRIPLES.replace(" RETURN", " WHERE p.sku IN $items OR 'a' IN $items RETURN")
    with graphstore.open(mapped(location, tmp_path, triples={"query": wrong})) as store:
        assert store.neighbours([2]).edge_id.tolist() == [6]
        with pytest.raises(SchemaError, match=r"\[triples\]: triples: item '.' of <.* is no item"):
            store.neighbours([1])


def test_a_snapshot_is_no_database_to_adopt(location: str, tmp_path: Path) -> None:
    with graphstore.open(mapped(location, tmp_path)) as store:
        graphstore.write_snapshot(store, tmp_path / "snapshot")
    with pytest.raises(MappingError, match=r"database must be a Neo4j URL or a Ladybug file \(got .*snapshot\)"):
        graphstore.open(mapped(str(tmp_path / "snapshot"), tmp_path))


def test_a_database_lies_beside_the_mapping(tmp_path: Path) -> None:
    facts_graph(str(tmp_path / "near.lbdb"), four_items())
    with graphstore.open(mapped("near.lbdb", tmp_path)) as store:
        assert store.num_items == 4


def test_cypher_is_the_owners_and_reads_only(location: str, tmp_path: Path) -> None:
    with graphstore.open(mapped(location, tmp_path)) as store:
        asked = store.query("MATCH (p:Product {sku: $sku}) RETURN p.name AS name", sku="a")
        assert asked["name"].tolist() == ["A red thing"]
        with pytest.raises(ReadOnlyStore, match=r"map.toml is a mapping: the graph behind it is read, and never"):
            store.query("CREATE (:Fact {key: 'x'})")


# Photographs


def test_photographs_that_are_not_there_are_told_of(location: str, tmp_path: Path) -> None:
    mapping = facts_mapping(location, four_items(), tmp_path, streamed=False)
    with warnings.catch_warnings(), graphstore.open(mapping) as store:
        warnings.simplefilter("error")
        assert store.counts().images == 1
        assert list(store.images) == [image_key(PICTURE)]
        assert len(store.images) == 1
    (tmp_path / "photos" / image_key(PICTURE)).unlink()
    with pytest.warns(UserWarning, match=r"1 photographs are not in .*photos, their items go without: sha256:"):
        store = graphstore.open(mapping)
    with store:
        assert store.counts().images == 0
        assert store.item_features([1], ["image"])["image"].tolist() == [None]
        with pytest.raises(UnknownImage, match="has no image sha256:"):
            store.images.get(image_key(PICTURE))


@pytest.mark.parametrize("path", ["../secret", "/etc/hostname", "."])
def test_photographs_lie_in_their_folder(path: str, location: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"not for training")
    mapping = facts_mapping(location, four_items(), tmp_path, streamed=False)
    text = mapping.read_text(encoding="utf-8").replace("p.photo AS photo", f"'{path}' AS photo")
    mapping.write_text(text, encoding="utf-8")
    with pytest.warns(UserWarning, match="4 photographs are not in"):
        graphstore.open(mapping).close()


def test_a_snapshot_of_an_adopted_graph_has_its_photographs_and_its_split(location: str, tmp_path: Path) -> None:
    tables = four_items()
    paths = pd.Series([None, "shelf.jpg", None, None], dtype=object)
    renamed = Tables(tables.items.assign(image=paths), tables.triples, {"shelf.jpg": PICTURE})
    own = facts_graph(str(tmp_path / "own.lbdb"), renamed)
    with graphstore.open(facts_mapping(own, renamed, tmp_path, streamed=True)) as store:
        assert store.images.get("shelf.jpg") == PICTURE
        graphstore.write_snapshot(store, tmp_path / "snapshot")
        with graphstore.open(tmp_path / "snapshot", beside=store) as snapshot:
            assert snapshot.images.get(snapshot.item_features([1], ["image"])["image"][0]) == PICTURE
            assert snapshot.triples((None, "test", "valid")).equals(store.triples((None, "test", "valid")))
            assert snapshot.split_manifest == store.split_manifest


# The split and the data version


@pytest.fixture
def products(tmp_path: Path) -> str:
    """A larger graph, which a test may change."""
    return facts_graph(str(tmp_path / "products.lbdb"), tiny_catalogue())


def with_holdout(location: str, folder: Path, **holdout: Any) -> Path:
    triples = {"query": TRIPLES, "columns": COLUMNS}
    items = {"query": ITEMS, "columns": ITEM_COLUMNS}
    return mapping_file(folder / "map.toml", location, items=items, triples=triples, holdout=holdout)


def test_the_share_is_kept_back_half_and_half(products: str, tmp_path: Path) -> None:
    with graphstore.open(with_holdout(products, tmp_path, share=0.4, seed=3)) as store:
        counts = store.counts()
        manifest: Any = store.split_manifest
    assert sum(counts.splits.values()) + counts.training_triples == counts.triples
    spread = 4 * np.sqrt(counts.triples * 0.2 * 0.8)  # four standard deviations of a binomial count
    assert all(abs(counts.splits[name] - 0.2 * counts.triples) < spread for name in ("valid", "test"))
    assert (manifest["share"], manifest["seed"], manifest["splits"]) == (0.4, 3, counts.splits)


def test_a_new_fact_moves_no_other_and_a_new_seed_does(products: str, tmp_path: Path) -> None:
    def splits(seed: int) -> dict[tuple[str, ...], str | None]:
        with graphstore.open(with_holdout(products, tmp_path, share=0.4, seed=seed)) as store:
            every = store.triples((None, "valid", "test")).to_pylist()
        return {(row["item"], row["property"], row["value"]): row["split"] for row in every}

    before, other = splits(3), splits(4)
    assert 0 < sum(before[fact] != other[fact] for fact in before) < len(before)
    with plain(products) as run:
        run("MATCH (p:Product), (f:Fact) WHERE p.sku = 'item-0' AND f.key = 'f0' CREATE (p)-[:STATES]->(f)")
    after = splits(3)
    assert len(after) == len(before) + 1
    assert before.items() <= after.items()


def test_the_data_version_follows_the_content_alone(products: str, tmp_path: Path) -> None:
    def version() -> int:
        with graphstore.open(with_holdout(products, tmp_path, share=0.1, seed=3)) as store:
            return store.data_version

    first = version()
    assert version() == first
    assert first < 2**48
    with plain(products) as run:
        run("MATCH (p:Product) WHERE p.sku = 'item-1' SET p.price = 99.0")  # not among the mapping's columns
        assert version() == first
