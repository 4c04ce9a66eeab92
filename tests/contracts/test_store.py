"""What every store answers, on a graph of four items whose ordinals and edge ids are worked out by hand; and what
every database takes and refuses."""

import pickle
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import graphstore
from graphstore import (
    Counts,
    Edges,
    IngestReport,
    QueryError,
    QueryParameterError,
    ReadOnlyStore,
    SchemaError,
    Store,
    UnknownItems,
    UnsupportedQuery,
    image_key,
)
from graphstore.tables import TRIPLE_COLUMNS
from tests.catalogues import Tables
from tests.stores import ADOPTED, DATABASES, KINDS, STREAMED, empty_database, ingested, store_of

PICTURE = b"not decoded by a store"
WIDE_A, GRIN = "\uff21", "\U0001f600"
"""Code-point order puts the first before the second; UTF-16 order, the other way round."""


def four_items() -> Tables:
    """Items Z, a, b, é (in order). Training: properties colour, size, tag; values 10, blue, red, Ａ, 😀.
    Kept back: property brand, value amber."""
    items = pd.DataFrame(
        {
            "id": ["b", "a", "é", "Z"],
            "title": [None, "A red thing", None, "Zed"],
            "category": ["hat", "scarf", None, "hat"],
            "image": [None, image_key(PICTURE), None, None],
            "price": [1.5, None, 2.0, 0.0],
            "stock": pd.array([3, 0, None, -1], dtype="Int64"),
            "fresh": pd.array([True, None, False, True], dtype="boolean"),
        }
    ).astype({"title": object, "category": object, "image": object})
    triples = pd.DataFrame(
        [
            ("a", "size", "10", "feed", None, None),
            ("é", "brand", "amber", "feed", "test", "AMBER"),
            ("a", "colour", "red", None, None, "Red "),
            ("b", "colour", "red", "feed", None, None),
            ("Z", "tag", GRIN, "feed", None, WIDE_A),
            ("a", "colour", "amber", None, "valid", None),
            ("Z", "tag", WIDE_A, "feed", None, None),
            ("a", "colour", "blue", None, None, None),
        ],
        columns=list(TRIPLE_COLUMNS),
        dtype=object,
    )
    properties = pd.DataFrame({"name": ["colour", "brand"], "group": ["picture", "title"]})
    return Tables(items, triples, {image_key(PICTURE): PICTURE}, properties)


COUNTS = Counts(
    items=4,
    titles=2,
    images=1,
    values=6,
    properties=4,
    triples=8,
    training_triples=6,
    splits={"test": 1, "valid": 1},
)


@pytest.fixture(params=[*KINDS, *ADOPTED, *STREAMED])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with store_of(request.param, four_items(), request) as opened:
        yield opened


@pytest.fixture(params=DATABASES)
def location(request: pytest.FixtureRequest) -> Any:
    """Of an empty database."""
    return empty_database(request.param, request)


@pytest.fixture
def writable(location: Any) -> Iterator[Store]:
    """A database with the four items, opened to write."""
    ingested(location, four_items()).close()
    with graphstore.open(location, "w") as opened:
        yield opened


def rows(table: Any) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in table.to_pylist()]


# What is read


def test_items_are_in_code_point_order(store: Store) -> None:
    assert store.items().to_pydict() == {"id": ["Z", "a", "b", "é"]}
    assert store.item_ids([3, 0, 3]).tolist() == ["é", "Z", "é"]
    assert store.item_ords(["é", "a", "é", "Z", "b"]).tolist() == [3, 1, 3, 0, 2]
    assert store.item_ords([]).tolist() == []


def test_digests_are_blake2b_of_the_ids(store: Store) -> None:
    expected = [int.from_bytes(blake2b("é".encode(), digest_size=8).digest(), "little") for _ in range(2)]
    assert store.item_digests([3, 0, 3])[[0, 2]].tolist() == expected
    with pytest.raises(UnknownItems, match=r"has no item 4 \("):
        store.item_digests([4])


def test_properties_and_values_that_training_has_come_first(store: Store) -> None:
    assert store.property_names() == ["colour", "size", "tag", "brand"]
    assert store.value_texts([5, 0, 1, 2, 3, 4, 0]).tolist() == ["amber", "10", "blue", "red", WIDE_A, GRIN, "10"]
    assert store.value_texts([]).tolist() == []
    assert (store.num_items, store.num_values, store.num_properties, store.num_training_triples) == (4, 6, 4, 6)


def test_neighbours_are_training_triples_by_edge_id_in_the_order_asked_for(store: Store) -> None:
    found = store.neighbours(np.array([2, 1, 2, 3, 0]))
    assert found.indptr.tolist() == [0, 1, 4, 5, 5, 7]
    assert found.property.tolist() == [0, 0, 0, 1, 0, 2, 2]
    assert found.value.tolist() == [2, 1, 2, 0, 2, 3, 4]
    assert found.edge_id.tolist() == [5, 2, 3, 4, 5, 0, 1]
    assert {array.dtype for array in vars(found).values()} == {np.dtype(np.int64)}


@pytest.mark.parametrize("ords", [[], [3], [3, 3]])
def test_neighbours_of_nothing_and_of_items_without_any(store: Store, ords: list[int]) -> None:
    found = store.neighbours(ords)
    assert found.indptr.tolist() == [0] * (len(ords) + 1)
    assert [len(found.property), len(found.value), len(found.edge_id)] == [0, 0, 0]


LISTS = pytest.mark.parametrize("store", [*KINDS, *ADOPTED], indirect=True)


def no_edges() -> Edges:
    nothing = np.zeros(0, dtype=np.int64)
    return Edges(nothing, nothing, nothing, nothing, nothing)


@LISTS
def test_value_degrees_count_training_triples_up_to_a_bound(store: Store) -> None:
    assert store.value_degrees([2, 5, 0, 2, 4], most=10).tolist() == [2, 0, 1, 2, 1]
    assert store.value_degrees([2, 5, 0], most=1).tolist() == [1, 0, 1]
    assert store.value_degrees([], most=1).tolist() == []
    with pytest.raises(UnknownItems, match=r"has no value -1, 6 \(2 unknown of those asked for\)"):
        store.value_degrees([0, 6, -1], most=5)


@LISTS
def test_value_edges_are_the_training_triples_at_places_of_a_values_list(store: Store) -> None:
    """red: <a, colour, red> is edge 3, <b, colour, red> edge 5; 😀: <Z, tag, 😀> is edge 1."""
    found = store.value_edges([2, 4, 2, 2], np.array([[1, 0], [-1, 0], [-1, -1], [0, 0]]), no_edges())
    assert found.row.tolist() == [0, 0, 1, 3, 3]
    assert found.item.tolist() == [2, 1, 0, 1, 1]
    assert found.property.tolist() == [0, 0, 2, 0, 0]
    assert found.value.tolist() == [2, 2, 4, 2, 2]
    assert found.edge_id.tolist() == [5, 3, 1, 3, 3]
    assert {array.dtype for array in vars(found).values()} == {np.dtype(np.int64)}


@LISTS
def test_value_edges_less_the_triples_named(store: Store) -> None:
    """Row 1's list of red lacks <a, colour, red>."""
    without = Edges(*(np.array([number]) for number in (1, 1, 0, 2, 3)))
    found = store.value_edges([2, 2], np.array([[0], [0]]), without)
    assert (found.item.tolist(), found.edge_id.tolist()) == ([1, 2], [3, 5])


@LISTS
def test_value_edges_of_nothing(store: Store) -> None:
    for values, positions in (([], np.zeros((0, 2), dtype=np.int64)), ([2], np.array([[-1]]))):
        assert [len(column) for column in vars(store.value_edges(values, positions, no_edges())).values()] == [0] * 5


@LISTS
def test_a_place_behind_the_end_of_a_list_is_named(store: Store) -> None:
    without = Edges(*(np.array([number]) for number in (0, 1, 0, 2, 3)))
    with pytest.raises(UnknownItems, match=r"has no training triple at a place asked for of value 2, 5, 6 \(3 unknown"):
        store.value_edges([2, 4, 5, 6], np.array([[1], [0], [0], [0]]), without)


@pytest.mark.parametrize("store", STREAMED, indirect=True)
def test_triples_that_stay_in_a_foreign_database_have_no_lists_of_values(store: Store) -> None:
    for ask in (lambda: store.value_degrees([2], most=1), lambda: store.value_edges([2], np.array([[0]]), no_edges())):
        with pytest.raises(
            UnsupportedQuery, match=r"no second hop over triples that stay in the database: leave \$items"
        ):
            ask()


def test_unknown_items_and_values_are_named(store: Store) -> None:
    with pytest.raises(UnknownItems, match=r"has no item 'nobody', 'A' \(2 unknown of those asked for\)"):
        store.item_ords(["a", "nobody", "A"])
    wrong: Any = ["a", 1, None]
    with pytest.raises(UnknownItems, match=r"has no item 1, None \(2 unknown"):
        store.item_ords(wrong)
    with pytest.raises(UnknownItems, match=r"has no item -1, 4, 5, 6, 7, \.\.\. \(6 unknown of those asked for\)"):
        store.neighbours([-1, 0, 4, 5, 6, 7, 8])
    with pytest.raises(UnknownItems, match=r"has no item 4 \("):
        store.item_features([4], ["title"])
    with pytest.raises(UnknownItems, match=r"has no item 4 \("):
        store.item_ids([4])
    with pytest.raises(UnknownItems, match=r"has no value -1, 6 \(2 unknown of those asked for\)"):
        store.value_texts([0, -1, 6])


def test_item_features_come_in_the_order_asked_for_with_none_where_missing(store: Store) -> None:
    found = store.item_features([3, 1, 1, 0, 2], ["title", "image", "price", "stock", "fresh", "id"])
    assert {name: column.tolist() for name, column in found.items()} == {
        "title": [None, "A red thing", "A red thing", "Zed", None],
        "image": [None, image_key(PICTURE), image_key(PICTURE), None, None],
        "price": [2.0, None, None, 0.0, 1.5],
        "stock": [None, 0, 0, -1, 3],
        "fresh": [False, None, None, True, True],
        "id": ["é", "a", "a", "Z", "b"],
    }
    assert [value is None or type(value) for value in found["fresh"]] == [bool, True, True, bool, bool]
    assert {name: column.tolist() for name, column in store.item_features([], ["title"]).items()} == {"title": []}


def test_fields_are_listed_and_an_unknown_one_is_refused(store: Store) -> None:
    assert sorted(store.item_fields()) == ["category", "fresh", "image", "price", "stock", "title"]
    for ask in (lambda: store.item_features([0], ["weight"]), lambda: store.items(["weight"])):
        with pytest.raises(SchemaError, match=r"no item has the field weight \(fields: id, .*title"):
            ask()


def test_a_field_named_twice_comes_once(store: Store) -> None:
    assert store.items(["title", "id", "title"]).column_names == ["id", "title"]
    assert list(store.item_features([1], ["id", "title", "id"])) == ["id", "title"]


@pytest.mark.parametrize("ords", [[0.5], [True, False], ["1"]])
def test_what_is_no_ordinal_is_refused(store: Store, ords: list[Any]) -> None:
    for ask in (store.neighbours, store.value_texts, store.item_ids):
        with pytest.raises(TypeError, match=r"ordinals are whole numbers \(got an array of (float64|bool|<U1)\)"):
            ask(ords)


def test_items_carry_the_named_fields(store: Store) -> None:
    table = store.items(["stock", "category"])
    assert table.to_pydict() == {
        "id": ["Z", "a", "b", "é"],
        "stock": [-1, 0, 3, None],
        "category": ["hat", "scarf", "hat", None],
    }


def test_triples_are_those_of_the_splits_named(store: Store) -> None:
    training = [
        ("Z", "tag", WIDE_A, "feed", None, None),
        ("Z", "tag", GRIN, "feed", None, WIDE_A),
        ("a", "colour", "blue", None, None, None),
        ("a", "colour", "red", None, None, "Red "),
        ("a", "size", "10", "feed", None, None),
        ("b", "colour", "red", "feed", None, None),
    ]
    assert rows(store.triples()) == training
    assert rows(store.triples(["test"])) == [("é", "brand", "amber", "feed", "test", "AMBER")]
    assert rows(store.triples(["valid", None])) == [
        *training[:2],
        ("a", "colour", "amber", None, "valid", None),
        *training[2:],
    ]
    assert rows(store.triples([])) == rows(store.triples(["cold"])) == []


def test_triples_of_items_are_sorted_and_each_comes_once(store: Store) -> None:
    """Of a (1) and é (3); of consecutive items, which a database may read as a range; of none."""
    amber = ("a", "colour", "amber", None, "valid", None)
    training = [("a", "colour", "blue", None, None, None), ("a", "colour", "red", None, None, "Red ")]
    size, red = ("a", "size", "10", "feed", None, None), ("b", "colour", "red", "feed", None, None)
    assert rows(store.triples_of([3, 1, 3])) == [*training, size]
    kept_back = [amber, ("é", "brand", "amber", "feed", "test", "AMBER")]
    assert rows(store.triples_of([1, 3], ["valid", "test"])) == kept_back
    assert rows(store.triples_of([1, 2], [None, "valid"])) == [amber, *training, size, red]
    assert rows(store.triples_of([3])) == rows(store.triples_of([])) == rows(store.triples_of([1], [])) == []
    assert store.triples_of([]).schema.equals(store.triples().schema)
    with pytest.raises(UnknownItems, match=r"has no item 4 \("):
        store.triples_of([1, 4])


def test_blocks_hold_every_item_in_order(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [block.tolist() for block in store.item_blocks()] == [[0, 1, 2, 3]]
    monkeypatch.setattr("graphstore.store.BLOCK", 3)
    assert [block.tolist() for block in store.item_blocks()] == [[0, 1, 2], [3]]


@pytest.mark.parametrize("block", [1, 3, 10_000])
def test_training_triples_are_counted(store: Store, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In code-point order, null last; Z has a property twice."""
    monkeypatch.setattr("graphstore.store.BLOCK", block)
    assert rows(store.value_counts()) == [
        ("colour", "blue", 1),
        ("colour", "red", 2),
        ("size", "10", 1),
        ("tag", WIDE_A, 1),
        ("tag", GRIN, 1),
    ]
    expected = [("hat", "colour", 1), ("hat", "tag", 1), ("scarf", "colour", 1), ("scarf", "size", 1)]
    assert rows(store.property_counts()) == expected
    assert rows(store.degree_counts()) == [(0, 1), (1, 1), (2, 1), (3, 1)]
    assert rows(store.category_counts()) == [("hat", 2), ("scarf", 1), (None, 1)]


def test_items_without_a_category_are_counted_last(writable: Store) -> None:
    nothing, triples = four_items().items[:0], pd.DataFrame([("é", "tag", "blue"), ("é", "tag", "red")])
    writable.ingest(nothing, triples.set_axis(["item", "property", "value"], axis=1))
    assert rows(writable.property_counts())[-1] == (None, "tag", 1)
    assert rows(writable.degree_counts()) == [(1, 1), (2, 2), (3, 1)]


def test_counts(store: Store) -> None:
    assert store.counts() == COUNTS


@pytest.mark.parametrize("store", KINDS, indirect=True)
def test_groups_and_data_version(store: Store) -> None:
    assert store.property_groups() == {"colour": "picture", "brand": "title"}
    assert store.data_version == 1


def test_images_are_beside_the_store(store: Store) -> None:
    assert store.images.get(store.item_features([1], ["image"])["image"][0]) == PICTURE


def test_a_read_handle_takes_no_rows(store: Store) -> None:
    with pytest.raises(ReadOnlyStore, match=r"was opened to read: ingest needs graphstore.open\(location, 'w'\)"):
        store.ingest(four_items().items, four_items().triples)
    assert store.read_only


def test_a_pickled_store_opens_its_own_handle(store: Store) -> None:
    with pickle.loads(pickle.dumps(store)) as again:
        assert again.location == store.location
        assert again.neighbours([1]).edge_id.tolist() == [2, 3, 4]
        assert again.images.get(image_key(PICTURE)) == PICTURE


def test_closing_twice_does_nothing(store: Store) -> None:
    store.close()
    store.close()


@pytest.mark.parametrize("kind", DATABASES)
def test_a_closed_database_answers_nothing(kind: str, request: pytest.FixtureRequest) -> None:
    store = store_of(kind, four_items(), request)
    store.close()
    with pytest.raises(QueryError, match="the store was closed"):
        store.neighbours([0])


@pytest.mark.parametrize("kind", ["memory", "snapshot"])
def test_stores_of_arrays_answer_no_cypher(kind: str, request: pytest.FixtureRequest) -> None:
    with pytest.raises(UnsupportedQuery, match="answers no Cypher: open the Ladybug file or the Neo4j URL"):
        store_of(kind, four_items(), request).query("MATCH (i:Item) RETURN i.id")


# What is written


def test_an_empty_database(location: Any) -> None:
    with graphstore.open(location, "w") as store:
        assert store.data_version == 0
        assert store.counts() == Counts(0, 0, 0, 0, 0, 0, 0, {})
        assert store.neighbours([]).indptr.tolist() == [0]
        assert rows(store.items()) == rows(store.triples()) == store.property_names() == []
        assert rows(store.value_counts()) == rows(store.property_counts()) == rows(store.degree_counts()) == []
        assert rows(store.category_counts()) == rows(store.triples_of([])) == list(store.item_blocks()) == []
        with pytest.raises(UnknownItems, match="has no item 0"):
            store.neighbours([0])


def test_the_same_tables_twice_change_nothing(writable: Store) -> None:
    tables = four_items()
    shuffled = tables.triples.sample(frac=1, random_state=1), tables.items.sample(frac=1, random_state=1)
    before = writable.query("MATCH (n) RETURN count(*) AS n")["n"].tolist()
    report = writable.ingest(shuffled[1], shuffled[0], tables.properties)
    assert report == IngestReport(0, 0, 4, 0, 0, 8, data_version=1)
    assert writable.query("MATCH (n) RETURN count(*) AS n")["n"].tolist() == before
    assert writable.counts().triples == 8


def test_not_a_number_is_a_missing_value(writable: Store) -> None:
    items = pd.DataFrame({"id": ["a"], "price": [np.nan]})
    table = pa.table({"id": ["a"], "price": [np.nan]})  # pandas' is null before it arrives
    for given in (items, table):
        assert writable.ingest(given, four_items().triples[:0]).items_unchanged == 1
    assert writable.item_features([1], ["price"])["price"].tolist() == [None]


def test_columns_that_are_not_given_stay_as_they_are(writable: Store) -> None:
    tables = four_items()
    report = writable.ingest(tables.items[["id", "price"]], tables.triples[["item", "property", "value"]])
    assert report == IngestReport(0, 0, 4, 0, 0, 8, data_version=1)
    assert writable.counts().splits == {"test": 1, "valid": 1}
    assert writable.item_features([1], ["title"])["title"].tolist() == ["A red thing"]


def test_a_changed_title_and_a_title_taken_away(writable: Store) -> None:
    items = pd.DataFrame({"id": ["a", "b", "Z"], "title": ["New", None, None]})
    report = writable.ingest(items, four_items().triples[:0])
    assert report == IngestReport(0, 2, 1, 0, 0, 0, data_version=2)
    assert writable.item_features([0, 1, 2], ["title"])["title"].tolist() == [None, "New", None]
    assert writable.item_features([1], ["price", "image"])["image"].tolist() == [image_key(PICTURE)]
    assert writable.counts().titles == writable.query("MATCH (i:Item) RETURN count(i.title) AS n")["n"][0] == 1


def test_numbers_and_truths_taken_away_from_all_that_changes(writable: Store) -> None:
    items = pd.DataFrame({"id": ["b"], "price": [None], "stock": [None], "fresh": [None]})
    typed = items.astype({"price": float, "stock": "Int64", "fresh": "boolean"})
    assert writable.ingest(typed, four_items().triples[:0]).items_changed == 1
    found = writable.item_features([0, 2], ["price", "stock", "fresh"])
    assert {name: column.tolist() for name, column in found.items()} == {
        "price": [0.0, None],
        "stock": [-1, None],
        "fresh": [True, None],
    }


def test_a_changed_split_moves_a_triple_and_renumbers(writable: Store) -> None:
    """<Z, tag, Ａ> is kept back: its value moves behind those of training, and every edge id falls by one."""
    triples = pd.DataFrame([("Z", "tag", WIDE_A, "feed", "test", None)], columns=list(TRIPLE_COLUMNS))
    report = writable.ingest(four_items().items, triples)
    assert report == IngestReport(0, 0, 4, 0, 1, 0, data_version=2)
    assert writable.neighbours([0, 1]).edge_id.tolist() == [0, 1, 2, 3]
    assert writable.value_texts(range(6)).tolist() == ["10", "blue", "red", GRIN, "amber", WIDE_A]
    assert writable.counts().splits == {"test": 2, "valid": 1}
    assert writable.num_training_triples == 5


def test_an_original_that_changes_is_a_changed_triple(writable: Store) -> None:
    """One that is not given stays; one that is null goes."""
    nothing = four_items().items[:0]
    triples = four_items().triples.set_index(["item", "property", "value"], drop=False)
    later = triples.loc[[("a", "colour", "red"), ("b", "colour", "red")]].assign(
        original=pd.Series([None, "RED"], dtype=object).values
    )
    assert writable.ingest(nothing, later.drop(columns="original")).data_version == 1
    assert writable.ingest(nothing, later) == IngestReport(0, 0, 0, 0, 2, 0, data_version=2)
    assert writable.ingest(nothing, later).data_version == 2
    asked = writable.query("MATCH (i:Item)-[h:HAS {property: 'colour'}]->() RETURN i.id AS id, h.original AS original")
    assert asked.dropna().values.tolist() == [["b", "RED"]]
    assert [row[:3] for row in rows(writable.triples()) if row[5]] == [("Z", "tag", GRIN), ("b", "colour", "red")]


def test_new_rows_renumber_the_old(writable: Store) -> None:
    items = pd.DataFrame({"id": ["B", "c"], "title": ["Bee", None]}).astype({"title": object})
    triples = pd.DataFrame(
        {"item": ["B", "a", "c"], "property": ["colour", "tag", "age"], "value": ["amber", "blue", "10"]}
    )
    report = writable.ingest(items, triples)
    assert report == IngestReport(2, 0, 0, 3, 0, 0, data_version=2)
    assert writable.items().to_pydict() == {"id": ["B", "Z", "a", "b", "c", "é"]}
    assert writable.property_names() == ["age", "colour", "size", "tag", "brand"]
    assert writable.value_texts(range(6)).tolist() == ["10", "amber", "blue", "red", WIDE_A, GRIN]
    found = writable.neighbours([0, 1, 2, 3, 4, 5])
    assert found.indptr.tolist() == [0, 1, 3, 7, 8, 9, 9]
    assert found.edge_id.tolist() == list(range(9))
    assert found.property.tolist() == [1, 3, 3, 1, 1, 2, 3, 1, 0]
    assert found.value.tolist() == [1, 4, 5, 2, 3, 0, 2, 3, 0]


def test_a_new_item_field(writable: Store) -> None:
    items = pd.DataFrame({"id": ["a", "b"], "group": ["Aldo", "Birk"]})  # a word of Cypher's
    report = writable.ingest(items, four_items().triples[:0])
    assert report == IngestReport(0, 2, 0, 0, 0, 0, data_version=2)
    assert writable.item_features([0, 1, 2], ["group"])["group"].tolist() == [None, "Aldo", "Birk"]
    assert "group" in writable.item_fields()


def test_a_new_group_of_a_property(writable: Store) -> None:
    nothing = four_items()
    groups = pd.DataFrame({"name": ["size"], "group": ["graph"]})
    report = writable.ingest(nothing.items[:0], nothing.triples[:0], groups)
    assert report.data_version == 2
    assert writable.property_groups() == {"colour": "picture", "brand": "title", "size": "graph"}
    assert writable.ingest(nothing.items[:0], nothing.triples[:0], groups).data_version == 2


def test_numbers_are_taken_away_by_nulls_alone(writable: Store) -> None:
    items = pd.DataFrame({"id": ["b", "é"], "price": np.array([np.nan, np.nan])})
    assert writable.ingest(items, four_items().triples[:0]).items_changed == 2
    prices = dict(zip(*writable.items(["price"]).to_pydict().values(), strict=True))
    assert (prices["b"], prices["é"]) == (None, None)
    assert prices["Z"] is not None


def test_without_prune_nothing_is_removed(writable: Store) -> None:
    report = writable.ingest(four_items().items[:1], four_items().triples[:0])
    assert (report.items_removed, report.triples_removed, report.data_version) == (0, 0, 1)
    assert writable.counts() == COUNTS


def test_an_empty_source_is_one(writable: Store) -> None:
    triples = pd.DataFrame([("a", "colour", "red", "", None, None)], columns=list(TRIPLE_COLUMNS))
    assert writable.ingest(four_items().items, triples).triples_changed == 1
    assert writable.ingest(four_items().items, triples).triples_unchanged == 1
    assert writable.triples()["source"].to_pylist()[3] == ""


def test_prune_removes_what_the_tables_lack(writable: Store) -> None:
    """Of a, b, é and Z the item a goes, which alone has size and 10 and blue; Z loses 😀; brand and amber go with é's
    triple."""
    tables = four_items()
    items = tables.items[tables.items["id"] != "a"]
    triples = tables.triples[tables.triples["item"].isin(["b", "Z"]) & (tables.triples["value"] != GRIN)]
    report = writable.ingest(items, triples, tables.properties, prune=True)
    assert report == IngestReport(0, 0, 3, 0, 0, 2, data_version=2, items_removed=1, triples_removed=6)
    assert writable.items(["price"]).to_pydict() == {"id": ["Z", "b", "é"], "price": [0.0, 1.5, 2.0]}
    assert rows(writable.triples([None, "valid", "test"])) == [
        ("Z", "tag", WIDE_A, "feed", None, None),
        ("b", "colour", "red", "feed", None, None),
    ]
    assert writable.property_names() == ["colour", "tag"]
    assert writable.value_texts([0, 1]).tolist() == ["red", WIDE_A]
    assert writable.neighbours([0, 1, 2]).edge_id.tolist() == [0, 1]
    assert (writable.num_values, writable.num_items, writable.num_properties) == (2, 3, 2)
    again = writable.ingest(items, triples, tables.properties, prune=True)
    assert again == IngestReport(0, 0, 3, 0, 0, 2, data_version=2)


def test_prune_takes_completions_of_removed_items(writable: Store) -> None:
    tables = four_items()
    if not graphstore.is_server(writable.location):
        writable.query("CREATE REL TABLE IF NOT EXISTS PREDICTED(FROM Item TO Value, property STRING)")
    predict = "MATCH (i:Item {id: $item}) MATCH (v:Value {text: 'red'}) CREATE (i)-[:PREDICTED {property: 'tag'}]->(v)"
    for item in ("a", "b"):
        writable.query(predict, item=item)
    rest = tables.items["id"] != "a", tables.triples["item"] != "a"
    writable.ingest(tables.items[rest[0]], tables.triples[rest[1]], prune=True)
    left = writable.query("MATCH (i:Item)-[p:PREDICTED]->(v:Value) RETURN i.id AS id, v.text AS text")
    assert left.values.tolist() == [["b", "red"]]


def test_prune_takes_groups_away_where_properties_are_given(writable: Store) -> None:
    tables, picture = four_items(), pd.DataFrame({"name": ["colour"], "group": ["picture"]})
    assert writable.ingest(tables.items, tables.triples, prune=True).data_version == 1
    assert writable.property_groups() == {"colour": "picture", "brand": "title"}
    assert writable.ingest(tables.items, tables.triples, picture, prune=True).data_version == 2
    assert writable.property_groups() == {"colour": "picture"}


def test_prune_refuses_triples_of_items_that_would_go(writable: Store) -> None:
    tables = four_items()
    with pytest.raises(SchemaError, match="triples: item 'a' of <a, colour, amber> is no item"):
        writable.ingest(tables.items[tables.items["id"] != "a"], tables.triples, prune=True)
    assert writable.counts() == COUNTS


def test_prune_with_empty_tables_empties_the_store(writable: Store) -> None:
    tables = four_items()
    report = writable.ingest(tables.items[:0], tables.triples[:0], prune=True)
    assert (report.items_removed, report.triples_removed, report.data_version) == (4, 8, 2)
    assert writable.counts() == Counts(0, 0, 0, 0, 0, 0, 0, {})
    assert writable.ingest(tables.items, tables.triples, tables.properties).data_version == 3
    assert writable.counts() == COUNTS


def test_property_counts_are_those_of_training(writable: Store) -> None:
    found = writable.query(
        "MATCH (p:Property) RETURN p.name AS name, p.items AS items, p.`values` AS n, p.ord AS ord ORDER BY ord"
    )
    assert found.values.tolist() == [["colour", 2, 2, 0], ["size", 1, 1, 1], ["tag", 1, 2, 2], ["brand", 0, 0, 3]]


NO_CATALOGUES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"id": ["x", ""]}, {}, "items: row 1 has an empty id: {'id': ''}"),
    ({"id": ["x", None]}, {}, "items: row 1 has an empty id"),
    ({"id": [1, 2]}, {}, "items: column id must hold strings (got int64)"),
    ({"id": ["x", "y", "x"]}, {}, "items: 'x' occurs 2 times"),
    ({"name": ["x"]}, {}, "items need the columns id (got name)"),
    ({"id": ["x"], "ord": [1]}, {}, "items may not have a column ord"),
    ({"id": ["x"], "Ord": [1]}, {}, "items may not have a column Ord"),
    ({"id": ["x"], "Title": ["t"]}, {}, "items: fields Title and title differ in capitals alone"),
    ({"id": ["x"], "my field": ["t"]}, {}, "a field name is letters, digits and underscores (got 'my field')"),
    ({"id": ["x"], "`; DROP": ["t"]}, {}, "a field name is letters, digits and underscores (got '`; DROP')"),
    ({"id": ["x"], "tags": [["a", "b"]]}, {}, "field tags must hold strings, numbers or booleans (got list<"),
    ({"id": ["x"], "price": ["dear"]}, {}, "field price holds DOUBLE in the store (got string)"),
    ({"id": ["x"], "price": ["1.5"]}, {}, "field price holds DOUBLE in the store (got string)"),
    ({"id": ["x"], "title": [7]}, {}, "field title holds STRING in the store (got int64)"),
    ({"id": ["x"], "stock": [1.5]}, {}, "field stock holds INT64 in the store: Float value 1.500000 was truncated"),
    ({"id": ["x" * 8001]}, {}, "items: row 0 has id of more than 8000 bytes"),
    ({}, {"item": ["a"], "property": ["p"]}, "triples need the columns item, property, value (got item, property)"),
    ({}, {"item": ["a"], "property": ["p"], "value": [""]}, "triples: row 0 has an empty value"),
    ({}, {"item": ["a"], "property": ["p"], "value": ["v"], "split": [""]}, "triples: row 0 has an empty split"),
    ({}, {"item": ["a"] * 2, "property": ["p"] * 2, "value": ["v"] * 2}, "triples: 'a', 'p', 'v' occurs 2 times"),
    ({}, {"item": ["q"], "property": ["p"], "value": ["v"]}, "triples: item 'q' of <q, p, v> is no item"),
]


def test_tables_that_are_no_catalogue_are_refused_whole(writable: Store) -> None:
    good = pd.DataFrame({"item": ["a"], "property": ["new"], "value": ["new"]})
    for items, triples, text in NO_CATALOGUES:
        given = pd.DataFrame(items) if items else pd.DataFrame({"id": ["fine"]})
        with pytest.raises(SchemaError) as refused:
            writable.ingest(given, pd.DataFrame(triples) if triples else good)
        assert text in str(refused.value)
    assert writable.data_version == 1
    assert writable.counts() == COUNTS
    assert writable.property_names() == ["colour", "size", "tag", "brand"]


def test_what_is_no_table_is_refused(writable: Store) -> None:
    nothing: Any = four_items().triples[:0]
    column = pa.array(["x"])
    for items, text in (
        (pd.DataFrame({"id": ["x", 3]}, dtype=object), "items: a column that Arrow cannot hold: "),
        (pd.DataFrame({"id": ["\ud800"]}, dtype=object), "items: a column that Arrow cannot hold: "),
        (pa.table([column, column, column], names=["id", "title", "title"]), "items have the column title more than"),
        ([{"id": "x"}], "items must be a pandas frame or an Arrow table (got list)"),
    ):
        with pytest.raises(SchemaError) as refused:
            writable.ingest(items, nothing)
        assert text in str(refused.value)


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_text_comes_in_any_layout_of_arrow(writable: Store, kind: pa.DataType) -> None:
    items = pa.table({"id": pa.array(["a", "b"]), "title": pa.array(["A red thing", None]).cast(kind)})
    assert writable.ingest(items, four_items().triples[:0]).items_unchanged == 2


def test_properties_that_are_none_are_refused(writable: Store) -> None:
    nothing = four_items()
    for name, text in (("", "properties: row 0 has an empty name"), ("x", "'x' occurs 2 times")):
        groups = pd.DataFrame({"name": [name, name], "group": ["a", "b"]})
        with pytest.raises(SchemaError, match=text):
            writable.ingest(nothing.items[:0], nothing.triples[:0], groups)


HOSTILE = {
    "quotes": 'it\'s "quoted"',
    "backticks": "`tick` ``",
    "newlines": "a\nb\r\n\tc\u2028d",
    "Cypher": "'}) MATCH (n) DETACH DELETE n //",
    "parameter": "$id ${id} $0",
    "backslash": "\\' \\u0041 \\",
    "comment": "/* */ // --",
    "null": "a\x00b",
    "only null": "\x00",
    "spaces": " a  ",
    "word": "NULL",
    "long": "大" * 30_000,
}


def test_hostile_strings_stay_data(location: Any) -> None:
    """As id, title, field, property, value, source, split and original."""
    texts = list(HOSTILE.values())
    names = [text[:1000] for text in texts]
    items = pd.DataFrame({"id": names, "title": texts, "maker": texts[::-1]})
    triples = pd.DataFrame(
        [
            row
            for name, text in zip(names, texts, strict=True)
            for row in (
                (name, name, text, text[:9], None, text[::-1]),
                (name, "kept back", text, None, name, None),
                (name, name, "v", "s", None, text),
            )
        ],
        columns=list(TRIPLE_COLUMNS),
        dtype=object,
    )
    with ingested(location, Tables(items, triples, {})) as store:
        found = rows(store.triples([None, *names]))
        assert sorted(found, key=repr) == sorted(triples.itertuples(index=False, name=None), key=repr)
        assert store.counts().splits == dict.fromkeys(sorted(names), 1)
        for name, text in zip(names, texts, strict=True):
            ords = store.item_ords([name])
            assert store.item_features(ords, ["title"])["title"].tolist() == [text]
            seen = store.neighbours(ords)
            assert set(store.value_texts(seen.value)) == {text, "v"}
            assert [store.property_names()[place] for place in seen.property] == [name, name]
            asked = store.query("MATCH (i:Item)-[h:HAS]->(v:Value) WHERE v.text = $text RETURN i.id AS id", text=text)
            assert asked["id"].tolist() == [name, name]
    with graphstore.open(location, "w") as again:
        assert again.ingest(items, triples) == IngestReport(0, 0, len(texts), 0, 0, 3 * len(texts), data_version=1)
        report = again.ingest(items.assign(title="t"), triples.assign(split="test"))
        assert (report.items_changed, report.triples_changed) == (len(texts), 3 * len(texts))
        assert (again.num_training_triples, again.num_values, again.num_items) == (0, len(texts) + 1, len(texts))


# What is asked by Cypher


def test_query_binds_its_parameters(writable: Store) -> None:
    query = "MATCH (i:Item {id: $id}) RETURN i.title AS title, '$no' AS `$nor`, \"$this\" AS it // $that"
    found = writable.query(query, id="a")
    assert found.to_dict("records") == [{"title": "A red thing", "$nor": "$no", "it": "$this"}]


def test_query_takes_numbers_of_numpy_and_any_name(writable: Store) -> None:
    """Such as the ordinals that `neighbours` returns."""
    ord = writable.item_ords(["a"])[0]
    assert writable.query("MATCH (i:Item {ord: $self}) RETURN i.id AS id", **{"self": ord})["id"].tolist() == ["a"]
    query = "MATCH (i:Item) WHERE i.ord IN $cypher RETURN i.id AS id ORDER BY i.ord"
    for ords in (np.array([1, 3]), (1, 3), [np.int64(1), np.int32(3)]):
        assert writable.query(query, **{"cypher": ords})["id"].tolist() == ["a", "é"]


def test_query_sees_kept_back_triples(writable: Store) -> None:
    found = writable.query(
        "MATCH (i:Item)-[h:HAS]->(v:Value {text: 'amber'}) RETURN i.id AS id, h.split AS split ORDER BY id"
    )
    assert found.values.tolist() == [["a", "valid"], ["é", "test"]]


def test_query_without_rows_keeps_its_columns(writable: Store) -> None:
    found = writable.query("MATCH (i:Item {id: 'nobody'}) RETURN i.id AS id, i.price AS price")
    assert list(found.columns) == ["id", "price"]
    assert len(found) == 0


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({}, r"without a value \['id'\], not in the query \[\]"),
        ({"id": 1, "x": 2}, r"without a value \[\], not in the query \['x'\]"),
    ],
)
def test_unbound_and_unused_parameters_are_refused(writable: Store, parameters: dict[str, Any], text: str) -> None:
    with pytest.raises(QueryParameterError, match=text):
        writable.query("MATCH (i:Item {id: $id}) RETURN i.id", **parameters)


def test_a_query_that_the_database_does_not_understand(writable: Store) -> None:
    with pytest.raises(QueryError, match=r"(?i)retrun"):
        writable.query("MATCH (i:Item) RETRUN i.id")
    assert writable.query("MATCH (i:Item) RETURN count(*) AS n")["n"].tolist() == [4]


@pytest.mark.parametrize(
    ("cypher", "text"),
    [
        ("", "the query is empty"),
        (" \n", "the query is empty"),
        ("MATCH (i:Item)", "(?i)match"),
        ("RETURN 'open", "(?i)return '"),
        ("RETURN nothing", "nothing"),
        ("RETURN fun(1) AS n", "(?i)fun"),
        ("RETURN 1 / 0 AS n", "(?i)zero"),
        ("MATCH (i:Item) RETURN i.id AS a, i.title AS a", "result columns with the same name"),
        ("MATCH (i:Item) RETURN i.id AS id LIMIT -1", "(?i)-1|non-negative"),
        ("MATCH (i:Item) RETURN count(*) AS n; MATCH (i:Item) RETURN 1 AS n", "one statement"),
        ("CREATE (:Value {text: 'one'}); CREATE (:Value {text: 'two'})", "one statement"),
        ("CREATE (:Item {id: 'a'})", "(?i)already exists|duplicated"),
        ("CREATE (:Value {text: 'one'}) WITH 1 AS n RETURN n / 0 AS n", "(?i)zero"),
    ],
)
def test_what_is_no_query_is_refused_and_changes_nothing(writable: Store, cypher: str, text: str) -> None:
    before = writable.query("MATCH (n) RETURN count(*) AS n")["n"].tolist()
    with pytest.raises(QueryError, match=text):
        writable.query(cypher)
    assert writable.query("MATCH (n) RETURN count(*) AS n")["n"].tolist() == before


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, {1: 2}, pd.NA, 2**63, -(2**63) - 1, pd.Series(["a"]), [1, "a"], [True, 1], [{"a": 1}, {"b": 1}]],
    ids=lambda value: type(value).__name__,  # the processes of xdist must agree: an address is another in each
)
def test_a_parameter_that_not_both_databases_take_is_refused(writable: Store, value: Any) -> None:
    with pytest.raises(QueryParameterError, match=r"^\$x (cannot be|must be a list of one type)"):
        writable.query("RETURN $x AS x", x=value)


@pytest.mark.parametrize(
    "value",
    [None, True, 2**63 - 1, -(2**63), 0.5, "", [None, "a"], [1, None, 2.5], {"a": [1]}, [{"a": 1}, {"a": None}]],
)
def test_a_parameter_comes_back_as_it_was(writable: Store, value: Any) -> None:
    assert writable.query("RETURN $x AS x", x=value)["x"].tolist() == [value]


def test_ids_that_are_not_there_write_and_find_nothing(writable: Store) -> None:
    assert len(writable.query("MATCH (i:Item) WHERE i.id IN $ids RETURN i.id AS id", ids=["nobody", "A"])) == 0
    assert len(writable.query("MATCH (i:Item) WHERE i.id IN $ids RETURN i.id AS id", ids=[])) == 0
    writable.query("MATCH (i:Item {id: $id}) SET i.title = 'x'", id="nobody")
    assert writable.counts() == COUNTS


def test_a_long_answer_is_whole(writable: Store) -> None:
    assert writable.query("UNWIND range(1, $n) AS n RETURN n", n=200_000)["n"].tolist() == list(range(1, 200_001))


def test_a_write_by_query(writable: Store) -> None:
    writable.query("MATCH (i:Item {id: $id}) SET i.title = $title", id="b", title="By hand")
    assert writable.item_features([2], ["title"])["title"].tolist() == ["By hand"]


@pytest.mark.parametrize(
    "write",
    [
        "CREATE (:Value {text: 'written'})",
        "MATCH (i:Item {id: 'a'}) SET i.title = 'written'",
        "MATCH (i:Item {id: 'a'})-[h:HAS]->() DELETE h",
        "MERGE (:Value {text: 'written'})",
        "MATCH (i:Item {id: 'a'}) DETACH DELETE i",
        "MATCH (i:Item {id: 'a'})-[h:HAS]->() SET h.split = 'test'",
        "MATCH (i:Item {id: 'a'}), (v:Value {text: '10'}) CREATE (i)-[:PREDICTED {property: 'size'}]->(v)",
    ],
)
def test_a_write_through_a_read_handle_is_refused(location: Any, write: str) -> None:
    with ingested(location, four_items()) as store:
        with pytest.raises(ReadOnlyStore, match=r"was opened to read: writing needs graphstore.open\(location, 'w'\)"):
            store.query(write)
        assert store.item_features([1], ["title"])["title"].tolist() == ["A red thing"]
        assert (store.num_values, store.counts().triples) == (6, 8)
