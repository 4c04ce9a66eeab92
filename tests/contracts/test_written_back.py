"""What comes back into a database: completions, reviews and vectors, the same on both; and what the stores that take
none of it say."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest

import graphstore
from graphstore import (
    NoEmbedding,
    PredictionReport,
    ReadOnlyStore,
    SchemaError,
    Store,
    UnknownItems,
    UnknownProposals,
    UnsupportedQuery,
)
from tests.catalogues import Tables, tiny_catalogue
from tests.stores import ADOPTED, DATABASES, KINDS, STREAMED, empty_database, ingested, store_of

NOON = datetime(2026, 1, 2, 13, 4, 5, tzinfo=timezone(timedelta(hours=1)))
LATER = datetime(2026, 2, 3, tzinfo=UTC)
COMPLETIONS = pd.DataFrame(
    [
        ("item-1", "fabric", "wool", 1, 0.5),
        ("item-1", "fabric", "linen", 2, 0.25),
        ("item-2", "brand", "大华", 1, None),
        ("item-2", "tag", "`tick`\nline", 1, 1.0),
        ("item-3", "brand", "no triple's value", 1, 0.0),
    ],
    columns=["item", "property", "value", "rank", "confidence"],
)
ALL = (
    "MATCH (i:Item)-[p:PREDICTED]->(v:Value) RETURN i.id AS item, p.property AS property, v.text AS value, "
    "p.rank AS place, p.confidence AS confidence, p.run AS run, p.model AS model, p.created AS created, "
    "p.status AS status ORDER BY run, item, property, place, value"
)
VECTORS = (
    "MATCH (i:Item) WHERE i.embedding IS NOT NULL RETURN i.id AS id, i.embedding AS vector, i.embedding_run AS run, "
    "i.embedding_model AS model, i.embedding_version AS version ORDER BY id"
)


@pytest.fixture(params=DATABASES)
def location(request: pytest.FixtureRequest) -> Any:
    """Of a database with the tiny catalogue."""
    where = empty_database(request.param, request)
    ingested(where, tiny_catalogue()).close()
    return where


@pytest.fixture
def store(location: Any) -> Iterator[Store]:
    with graphstore.open(location, "w") as opened:
        yield opened


def write(store: Store, completions: pd.DataFrame = COMPLETIONS, run: str = "first", **more: Any) -> PredictionReport:
    given: dict[str, Any] = {"model": "m", "created": NOON} | more
    return store.write_predictions(completions, run=run, **given)


def rows(store: Store, cypher: str = ALL) -> list[list[Any]]:
    found = store.query(cypher)
    return found.astype(object).where(found.notna(), None).values.tolist()


# Completions


def test_completions_become_proposals(store: Store) -> None:
    assert write(store) == PredictionReport(new=5, changed=0, unchanged=0, removed=0, kept=0)
    same = ["first", "m", "2026-01-02T12:04:05Z", "proposed"]
    assert rows(store) == [
        ["item-1", "fabric", "wool", 1, 0.5, *same],
        ["item-1", "fabric", "linen", 2, 0.25, *same],
        ["item-2", "brand", "大华", 1, None, *same],
        ["item-2", "tag", "`tick`\nline", 1, 1.0, *same],
        ["item-3", "brand", "no triple's value", 1, 0.0, *same],
    ]


def test_the_same_again_changes_nothing(store: Store) -> None:
    write(store)
    before = rows(store)
    report = write(store, COMPLETIONS.sample(frac=1, random_state=1).assign(score=7.0), created=LATER)
    assert report == PredictionReport(new=0, changed=0, unchanged=5, removed=0, kept=0)
    assert rows(store) == before


def test_a_runs_other_completions_are_replaced_and_another_runs_are_not(store: Store) -> None:
    write(store)
    write(store, run="second", model="n")
    other = COMPLETIONS.iloc[[0, 2]].assign(rank=[3, 1], confidence=np.nan)
    report = write(store, pd.concat([other, COMPLETIONS.iloc[[1]].assign(item="item-4")]), created=LATER)
    assert report == PredictionReport(new=1, changed=1, unchanged=1, removed=3, kept=0)
    found = rows(store)
    assert [row[:5] + row[7:8] for row in found if row[5] == "first"] == [
        ["item-1", "fabric", "wool", 3, None, "2026-02-03T00:00:00Z"],
        ["item-2", "brand", "大华", 1, None, "2026-01-02T12:04:05Z"],
        ["item-4", "fabric", "linen", 2, 0.25, "2026-02-03T00:00:00Z"],
    ]
    second = [row[:5] for row in found if row[5:7] == ["second", "n"]]
    assert second == COMPLETIONS.astype(object).where(COMPLETIONS.notna(), None).values.tolist()


def test_a_confidence_that_becomes_unknown_is_taken_away(store: Store) -> None:
    write(store)
    assert write(store, COMPLETIONS.drop(columns="confidence")).changed == 4
    assert {row[4] for row in rows(store)} == {None}


def test_what_a_person_said_stays(store: Store) -> None:
    write(store)
    store.review(COMPLETIONS.iloc[[0]], "accepted")
    store.review(COMPLETIONS.iloc[[1]], "rejected")
    assert write(store, COMPLETIONS.iloc[[0]].assign(rank=2)) == PredictionReport(0, 1, 0, removed=3, kept=1)
    assert [row[:4] + row[8:] for row in rows(store)] == [
        ["item-1", "fabric", "linen", 2, "rejected"],
        ["item-1", "fabric", "wool", 2, "accepted"],
    ]
    assert write(store) == PredictionReport(new=3, changed=1, unchanged=1, removed=0, kept=0)
    assert [row[8] for row in rows(store)] == ["accepted", "rejected", "proposed", "proposed", "proposed"]


def test_no_completions_take_the_open_ones_of_the_run_away(store: Store) -> None:
    write(store)
    assert write(store, COMPLETIONS[:0]) == PredictionReport(0, 0, 0, removed=5, kept=0)
    assert rows(store) == []


def test_a_value_of_completions_alone_is_counted_by_nobody_and_numbered_when_a_triple_has_it(store: Store) -> None:
    before = store.counts()
    write(store)
    assert (store.counts(), store.data_version) == (before, 1)
    write(store, COMPLETIONS.assign(item="item-5"), run="second")
    assert rows(store, "MATCH (v:Value) WHERE v.ord IS NULL RETURN v.text AS text") == [["no triple's value"]]
    triples = pd.DataFrame({"item": ["item-3"], "property": ["brand"], "value": ["no triple's value"]})
    assert store.ingest(tiny_catalogue().items[:0], triples).data_version == 2
    assert store.num_values == before.values + 1
    assert len(rows(store)) == 10


def test_values_that_a_query_made_are_found(store: Store) -> None:
    store.query("CREATE (:Value {text: $text})", text="by hand")
    write(store, COMPLETIONS[:1].assign(value="by hand"))
    assert rows(store, "MATCH (v:Value) WHERE v.text = 'by hand' RETURN count(*) AS n") == [[1]]
    assert [row[2] for row in rows(store)] == ["by hand"]


@pytest.mark.parametrize("prune", [False, True])
def test_an_ingest_leaves_completions_and_prune_takes_those_of_what_it_removes(store: Store, prune: bool) -> None:
    """item-1 goes with --prune; so does the value that no triple has."""
    write(store)
    store.review(COMPLETIONS.iloc[[2]], "accepted")
    tables = tiny_catalogue()
    kept = tables.items["id"] != "item-1", tables.triples["item"] != "item-1"
    store.ingest(tables.items[kept[0]].assign(title="x"), tables.triples[kept[1]], tables.properties, prune=prune)
    left = [[row[0], row[1], row[8]] for row in rows(store)]
    two = [["item-2", "brand", "accepted"], ["item-2", "tag", "proposed"]]
    first, last = [["item-1", "fabric", "proposed"]] * 2, [["item-3", "brand", "proposed"]]
    assert left == (two if prune else [*first, *two, *last])


NO_COMPLETIONS: list[tuple[dict[str, Any], str]] = [
    ({"rank": None}, "completions: row 0 has a rank below 1"),
    ({"rank": 0}, "completions: row 0 has a rank below 1"),
    ({"rank": 1.5}, "completions: column rank must hold numbers (int64)"),
    ({"rank": "first"}, "completions: column rank must hold numbers (int64)"),
    ({"confidence": 1.01}, "completions: row 0 has a confidence that is not 0 to 1"),
    ({"confidence": -0.5}, "completions: row 0 has a confidence that is not 0 to 1"),
    ({"confidence": "sure"}, "completions: column confidence must hold numbers (double)"),
    ({"value": ""}, "completions: row 0 has an empty value: {'item': 'item-1', 'property': 'fabric', 'value': ''"),
    ({"item": None}, "completions: row 0 has an empty item"),
    ({"property": 7}, "completions: column property must hold strings (got int64)"),
]


def test_completions_that_are_none_are_refused_whole(store: Store) -> None:
    good = COMPLETIONS.iloc[[2]]
    for wrong, text in NO_COMPLETIONS:
        rest = good.assign(**wrong) if isinstance(next(iter(wrong.values())), str | float | int) else good
        with pytest.raises(SchemaError) as refused:
            write(store, pd.concat([COMPLETIONS[:1].assign(**wrong), rest]) if "must" not in text else rest)
        assert text in str(refused.value)
    with pytest.raises(SchemaError, match="'item-1', 'fabric', 'wool' occurs 2 times"):
        write(store, pd.concat([COMPLETIONS[:1], COMPLETIONS[:1].assign(rank=2)]))
    with pytest.raises(SchemaError, match=r"completions need the columns item, property, value, rank \(got item"):
        write(store, COMPLETIONS.drop(columns="rank"))
    with pytest.raises(UnknownItems, match=r"has no item 'item-77', 'q' \(2 unknown"):
        write(store, COMPLETIONS.assign(item=["item-1", "q", "item-77", "item-1", "item-1"]).sort_values("item"))
    with pytest.raises(ValueError, match=r"run must have a name \(got ''\)"):
        write(store, run="")
    assert rows(store) == []
    assert rows(store, "MATCH (v:Value) WHERE v.ord IS NULL RETURN v.text AS text") == []


# Reviews


def test_a_review_is_of_one_run_or_of_all(store: Store) -> None:
    for run in ("first", "second"):
        write(store, COMPLETIONS[:2], run=run)
    assert store.review(COMPLETIONS[:1].assign(run="second"), "accepted") == 1
    assert [row[5] for row in rows(store) if row[8] == "accepted"] == ["second"]
    assert store.review(COMPLETIONS[:2], "accepted") == 3
    assert store.review(COMPLETIONS[:2], "accepted") == 0
    changed_mind = COMPLETIONS[:2].assign(run=pd.Series(["first", None], dtype=object))
    assert store.review(changed_mind, "rejected") == 3
    assert [(row[5], row[2], row[8]) for row in rows(store)] == [
        ("first", "wool", "rejected"),
        ("first", "linen", "rejected"),
        ("second", "wool", "accepted"),
        ("second", "linen", "rejected"),
    ]


def test_a_review_by_cypher_is_the_same(store: Store) -> None:
    """As docs/cypher.md has it; and a proposal that a query made has no run."""
    write(store)
    store.query("MATCH (i:Item {id: 'item-1'})-[p:PREDICTED]->() WHERE p.rank = 1 SET p.status = 'accepted'")
    assert store.review(COMPLETIONS[:1], "accepted") == 0
    store.query(
        "MATCH (i:Item {id: 'item-9'}) MATCH (v:Value {text: 'wool'}) "
        "CREATE (i)-[:PREDICTED {property: 'fabric', rank: 1}]->(v)"
    )
    assert store.review(COMPLETIONS[:1].assign(item="item-9"), "rejected") == 1
    assert rows(store, "MATCH ({id: 'item-9'})-[p:PREDICTED]->() RETURN p.status AS status") == [["rejected"]]


def test_a_proposal_that_is_not_there_is_named_and_nothing_is_changed(store: Store) -> None:
    write(store)
    absent = pd.concat([COMPLETIONS[:1], COMPLETIONS[:1].assign(item="nobody"), COMPLETIONS[:1].assign(value="silk")])
    expected = r"has no proposal <nobody, fabric, wool> \(2 unknown of 3 asked for; nothing was changed\)"
    with pytest.raises(UnknownProposals, match=expected):
        store.review(absent, "accepted")
    with pytest.raises(
        UnknownProposals, match=r"has no proposal <item-1, fabric, wool> of run second \(1 unknown of 1"
    ):
        store.review(COMPLETIONS[:1].assign(run="second"), "accepted")
    assert {row[8] for row in rows(store)} == {"proposed"}
    with pytest.raises(SchemaError, match="proposals: row 0 has an empty value"):
        store.review(COMPLETIONS[:1].assign(value=None), "accepted")
    unclear: Any = "accept"
    with pytest.raises(ValueError, match=r"accepted or rejected \(got 'accept'\)"):
        store.review(COMPLETIONS, unclear)


# Vectors


def embed(store: Store, vectors: Any, ids: list[str] | None = None, **more: Any) -> int:
    chosen = [f"item-{number}" for number in range(len(vectors))] if ids is None else ids
    given: dict[str, Any] = {"run": "first", "model": "m", "data_version": 1} | more
    half = len(chosen) // 2
    return store.write_embeddings([(chosen[:half], vectors[:half]), (chosen[half:], vectors[half:])], **given)


FOUR = np.array([[1, 0], [0, 2], [3, 3], [-1, 0]], dtype=np.float32)


def test_vectors_come_with_what_they_are_of(store: Store) -> None:
    assert embed(store, FOUR) == 4
    held = ["first", "m", "1"]
    assert rows(store, VECTORS) == [[f"item-{n}", FOUR[n].tolist(), *held] for n in range(4)]
    assert embed(store, FOUR[:2] + 1, ["item-3", "item-9"], run="again", data_version=12) == 2
    assert [row[2:] for row in rows(store, VECTORS)] == [held, held, held, ["again", "m", "12"], ["again", "m", "12"]]


def test_similar_is_by_cosine_the_nearest_first(store: Store) -> None:
    """Ties by id; an item without a vector is not there, nor the item itself."""
    embed(store, np.concatenate([FOUR, FOUR[2:3] / 7]))
    found = store.similar("item-0")
    assert list(found) == ["id", "title", "similarity"]
    assert found["id"].tolist() == ["item-2", "item-4", "item-1", "item-3"]
    np.testing.assert_allclose(found["similarity"], [0.5**0.5, 0.5**0.5, 0, -1], atol=1e-6)
    titles = dict(zip(*store.items(["title"]).to_pydict().values(), strict=True))
    shown = found["title"].astype(object).where(found["title"].notna(), None).tolist()
    assert shown == [titles[item] for item in found["id"]]
    assert titles["item-4"] is None
    assert store.similar("item-0", k=2)["id"].tolist() == ["item-2", "item-4"]
    with pytest.raises(ValueError, match=r"k of at least 1 \(got 0\)"):
        store.similar("item-0", 0)


def test_vectors_of_another_model_take_the_place_of_all(store: Store) -> None:
    """Of another width, too; and of the same one."""
    embed(store, FOUR)
    assert embed(store, np.eye(3, 5), ["item-1", "item-7", "item-8"], model="other", run="second") == 3
    assert [row[0] for row in rows(store, VECTORS)] == ["item-1", "item-7", "item-8"]
    assert store.similar("item-7")["similarity"].tolist() == [0, 0]
    embed(store, np.eye(2, 5), ["item-1", "item-2"], model="third", run="third")
    assert store.similar("item-2")["id"].tolist() == ["item-1"]
    store.query("MATCH (i:Item {id: 'item-5'}) SET i.embedding = $vector", vector=[1.0, 2.0])  # of nobody knows what
    embed(store, np.eye(2, 5), ["item-1", "item-2"], model="third", run="third")
    assert [row[0] for row in rows(store, VECTORS)] == ["item-1", "item-2"]


def test_an_item_without_a_vector_is_named(store: Store) -> None:
    for wrote in (False, True):
        with pytest.raises(NoEmbedding, match=r"item 'item-9' has no vector: k3m embed --run RUN --store "):
            store.similar("item-9")
        if not wrote:
            embed(store, FOUR)
    with pytest.raises(UnknownItems, match="has no item 'nobody'"):
        store.similar("nobody")


def test_vectors_that_are_none_are_refused(store: Store) -> None:
    ids = ["item-1", "item-2"]
    for vectors, text in (
        (np.ones((3, 2)), r"vectors of 1 items must be of the shape (1, 2) (got (2, 2))"),
        (np.ones(2), "vectors of 1 items must be of the shape (1, 1) (got (1,))"),
        (np.array([[0, 1], [0, 0]]), "that of item 'item-2' is not finite, or has no direction"),
        (np.array([[np.nan, 1], [0, 1]]), "that of item 'item-1' is not finite, or has no direction"),
        (np.array([[1, 1], [np.inf, 1]]), "that of item 'item-2' is not finite"),
        (np.array([[1, 1], [1e300, 1]]), "that of item 'item-2' is not finite"),
    ):
        with pytest.raises(SchemaError) as refused:
            embed(store, vectors, ids)
        assert text in str(refused.value)
    with pytest.raises(SchemaError, match=r"vectors of 1 items must be of the shape \(1, 2\) \(got \(1, 3\)\)"):
        store.write_embeddings([(ids[:1], FOUR[:1]), (ids[1:], np.ones((1, 3)))], run="r", model="m", data_version=1)
    with pytest.raises(UnknownItems, match="has no item 'nobody'"):
        embed(store, FOUR[:2], ["item-1", "nobody"])


def test_vectors_are_no_field_and_no_version_and_an_ingest_leaves_them(store: Store) -> None:
    tables = tiny_catalogue()
    before = store.item_fields(), store.counts(), store.items(store.item_fields())
    embed(store, FOUR)
    assert (store.item_fields(), store.counts(), store.items(store.item_fields())) == before
    assert store.data_version == store.ingest(tables.items, tables.triples, tables.properties).data_version == 1
    new = pd.DataFrame({"id": ["new"], "title": ["New"], "weight": [1.5]})
    kept = tables.items["id"] != "item-3"
    everything = pd.concat([tables.items[kept].assign(title="x"), new])
    triples = tables.triples[tables.triples["item"] != "item-3"]
    assert store.ingest(everything, triples, tables.properties, prune=True).data_version == 2
    assert [row[:2] for row in rows(store, VECTORS)] == [[f"item-{n}", FOUR[n].tolist()] for n in range(3)]
    assert store.similar("item-0")["id"].tolist() == ["item-2", "item-1"]
    with pytest.raises(NoEmbedding):
        store.similar("new")


@pytest.mark.parametrize("name", ["embedding", "Embedding_run", "embedding_model", "embedding_version"])
def test_the_names_of_vectors_are_no_fields(store: Store, name: str) -> None:
    items = pd.DataFrame({"id": ["item-1"], name: ["x"]})
    with pytest.raises(SchemaError, match=f"items may not have a column {name}: the store keeps its own there"):
        store.ingest(items, tiny_catalogue().triples[:0])


# Stores that take nothing back


def writes(store: Store) -> list[tuple[str, Any]]:
    return [
        ("write_predictions", lambda: write(store)),
        ("review", lambda: store.review(COMPLETIONS, "accepted")),
        ("write_embeddings", lambda: embed(store, FOUR)),
    ]


@pytest.mark.parametrize("kind", [*KINDS, *ADOPTED, *STREAMED])
def test_a_handle_that_reads_takes_nothing_back(kind: str, request: pytest.FixtureRequest) -> None:
    with store_of(kind, tiny_catalogue(), request) as store:
        for name, ask in writes(store):
            with pytest.raises(
                ReadOnlyStore, match=rf"was opened to read: {name} needs graphstore.open\(location, 'w'\)"
            ):
                ask()


@pytest.mark.parametrize("kind", ["memory", "snapshot", *ADOPTED, *STREAMED])
def test_stores_without_vectors_say_so(kind: str, request: pytest.FixtureRequest) -> None:
    with store_of(kind, tiny_catalogue(), request) as store:
        with pytest.raises(UnsupportedQuery, match="holds no vectors: ask the Ladybug file or the Neo4j URL that has"):
            store.similar("item-1")
        with pytest.raises(UnknownItems, match="has no item 'nobody'"):
            store.similar("nobody")


def test_a_read_handle_answers_similar(location: Any) -> None:
    with graphstore.open(location, "w") as store:
        embed(store, FOUR)
    with graphstore.open(location) as store:
        assert store.similar("item-0", 1)["id"].tolist() == ["item-2"]


# Both databases


def clustered(n: int = 3000, width: int = 48) -> np.ndarray:
    random = np.random.default_rng(5)
    centres = random.normal(size=(30, width))
    return centres[random.integers(0, 30, n)] + 0.3 * random.normal(size=(n, width))


def nearest(vectors: np.ndarray, asked: int, k: int) -> list[str]:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    alike = unit @ unit[asked]
    alike[asked] = -np.inf
    return [f"item-{place}" for place in np.argsort(-alike)[:k]]


def test_nine_and_a_half_of_the_ten_nearest_are_found(request: pytest.FixtureRequest, location: Any) -> None:
    """By Neo4j's index; by Ladybug's comparison all."""
    vectors = clustered()
    ids = [f"item-{n}" for n in range(len(vectors))]
    none = Tables(pd.DataFrame({"id": ids}), tiny_catalogue().triples[:0], {})
    with graphstore.open(location, "w") as store:
        store.ingest(none.items, none.triples)
        assert embed(store, vectors) == len(vectors)
        asked = np.random.default_rng(6).choice(len(vectors), 50, replace=False).tolist()
        found = [set(store.similar(ids[place])["id"]) & set(nearest(vectors, place, 10)) for place in asked]
        recall = sum(map(len, found)) / 500
        assert recall == 1 if not graphstore.is_server(store.location) else recall >= 0.95
        assert len(store.similar(ids[0], 500)) == 500


def test_without_its_index_a_database_says_what_makes_it(neo4j_url: str, request: pytest.FixtureRequest) -> None:
    ingested(empty_database("neo4j", request), tiny_catalogue()).close()
    with graphstore.open(neo4j_url, "w") as store:
        embed(store, FOUR)
        store.query("DROP INDEX k3m_item_embedding")
        with pytest.raises(NoEmbedding, match="has vectors of width 2 without their index: the k3m embed"):
            store.similar("item-0")
        embed(store, FOUR[:0], [])
        assert store.similar("item-0", 1)["id"].tolist() == ["item-2"]
