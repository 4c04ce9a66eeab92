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
    AppliedReport,
    IngestUnderWay,
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


def test_open_proposals_are_withdrawn_and_reviewed_ones_are_not(store: Store) -> None:
    for run in ("first", "second"):
        write(store, run=run)
    store.review(COMPLETIONS[:1].assign(run="first"), "accepted")
    asked = pd.concat([COMPLETIONS[:2].assign(run="first"), COMPLETIONS[2:3], COMPLETIONS[:1].assign(item="nobody")])
    assert store.withdraw(asked) == 3
    assert store.withdraw(asked) == store.withdraw(asked[:0]) == 0
    left = [(row[5], row[0], row[2]) for row in rows(store)]
    of_second = [(item, value) for item, value in COMPLETIONS[["item", "value"]].drop(2).to_numpy().tolist()]
    of_first = [("item-1", "wool"), *of_second[2:]]
    assert sorted(left) == sorted([("first", *row) for row in of_first] + [("second", *row) for row in of_second])


# What was accepted becomes triples

TRIPLES = (
    "MATCH (i:Item)-[h:HAS]->(v:Value) WHERE h.source STARTS WITH 'k3m:' "
    "RETURN i.id AS item, h.property AS property, v.text AS value, h.source AS source, h.split AS split "
    "ORDER BY item, property, value"
)
STATUSES = "MATCH (i:Item)-[p:PREDICTED]->(v:Value) RETURN v.text AS value, p.status AS status ORDER BY value, status"


def as_ingested(extra: list[tuple[str, str, str]], source: str = "k3m:first") -> Store:
    """The tiny catalogue as if it had had these triples from the beginning."""
    tables = tiny_catalogue()
    more = pd.DataFrame(extra, columns=["item", "property", "value"]).assign(source=source, split=None)
    return graphstore.from_tables(tables.items, pd.concat([tables.triples, more]), tables.properties, tables.images)


def seen(store: Store) -> list[Any]:
    """All that an ingest numbers, and what training reads of it."""
    neighbours = vars(store.neighbours(range(40))).values()
    values = store.value_texts(range(store.num_values)).tolist()
    read = [store.value_counts().to_pylist(), store.property_names(), values, store.counts()]
    return [
        *(array.tolist() for array in neighbours),
        *read,
        store.triples((None, "valid", "test", "cold")).to_pylist(),
    ]


NEW = [("item-0", "fabric", "wool"), ("item-0", "brand", "no triple's value")]
PROPOSED = pd.DataFrame(NEW, columns=["item", "property", "value"]).assign(rank=1)


def test_accepted_completions_become_triples_numbered_as_by_an_ingest(store: Store) -> None:
    tables, before = tiny_catalogue(), store.counts()
    write(store, PROPOSED)
    store.review(PROPOSED, "accepted")
    report = store.apply_reviews()
    assert report == AppliedReport(added=2, there=0, removed=0, contradicted=0, data_version=2)
    assert seen(store) == seen(as_ingested(NEW))
    assert store.counts().training_triples == before.training_triples + 2
    assert rows(store, TRIPLES) == [
        ["item-0", "brand", "no triple's value", "k3m:first", None],
        ["item-0", "fabric", "wool", "k3m:first", None],
    ]
    assert rows(store, STATUSES) == [["no triple's value", "accepted"], ["wool", "accepted"]]
    assert store.apply_reviews() == AppliedReport(added=0, there=2, removed=0, contradicted=0, data_version=2)
    assert store.ingest(tables.items, tables.triples, tables.properties).data_version == 2


def test_what_is_only_proposed_or_contradicted_or_there_already_is_not_applied(store: Store) -> None:
    """item-1's kept-back fabric stays kept back, though a proposal guessed it; two runs' people disagree on wool."""
    tables = tiny_catalogue()
    held = tables.triples[(tables.triples["item"] == "item-1") & (tables.triples["split"] == "test")].iloc[:1]
    there = held[["item", "property", "value"]].assign(rank=1)
    write(store, pd.concat([PROPOSED, there, COMPLETIONS[:1].assign(item="item-0", value="cotton")]))
    write(store, PROPOSED[:1], run="second")
    before = store.triples((None, "valid", "test", "cold")).to_pylist()
    store.review(there, "accepted")
    store.review(PROPOSED[:1].assign(run="first"), "accepted")
    store.review(PROPOSED[:1].assign(run="second"), "rejected")
    assert store.apply_reviews() == AppliedReport(added=0, there=1, removed=0, contradicted=1, data_version=1)
    assert store.triples((None, "valid", "test", "cold")).to_pylist() == before
    assert store.rejections().to_pylist() == []


def test_what_two_runs_proposed_is_of_the_first_by_name(store: Store) -> None:
    for run in ("second", "first"):
        write(store, PROPOSED[:1], run=run)
    store.review(PROPOSED[:1], "accepted")
    assert store.apply_reviews().added == 1
    assert [row[3] for row in rows(store, TRIPLES)] == ["k3m:first"]


def test_what_is_rejected_after_it_was_applied_goes_again(store: Store) -> None:
    """But not a triple that the catalogue had of itself."""
    own = store.triples().slice(0, 1).to_pandas()[["item", "property", "value"]].assign(rank=1)
    unapplied = seen(store)
    write(store, pd.concat([PROPOSED, own]))
    store.review(PROPOSED, "accepted")
    store.apply_reviews()
    store.review(pd.concat([PROPOSED, own]), "rejected")
    assert store.apply_reviews() == AppliedReport(added=0, there=0, removed=2, contradicted=0, data_version=3)
    assert seen(store) == unapplied
    assert rows(store, TRIPLES) == []
    assert len(rows(store, STATUSES)) == 3


@pytest.mark.parametrize("prune", [False, True])
def test_no_ingest_keeps_an_applied_completion_back_or_takes_it_away(store: Store, prune: bool) -> None:
    """The files have one of the two by now, drawn for the split test; the other they lack."""
    write(store, PROPOSED)
    store.review(PROPOSED, "accepted")
    store.apply_reviews()
    tables, applied = tiny_catalogue(), rows(store, TRIPLES)
    theirs = pd.DataFrame([NEW[0]], columns=["item", "property", "value"]).assign(source="generated", split="test")
    given = tables.items, pd.concat([tables.triples, theirs]), tables.properties
    report = store.ingest(*given, prune=prune)
    assert (report.data_version, report.triples_changed, report.triples_removed) == (2, 0, 0)
    assert report.triples_unchanged == len(given[1])
    assert rows(store, TRIPLES) == applied
    if prune:  # but not without its item
        without = tables.items["id"] != "item-0"
        report = store.ingest(tables.items[without], tables.triples, tables.properties, prune=True)
        assert (report.items_removed, report.triples_removed) == (1, 2)
        assert rows(store, TRIPLES) == rows(store, STATUSES) == []


def test_nothing_is_applied_beside_a_cut_off_ingest(store: Store) -> None:
    write(store, PROPOSED)
    store.review(PROPOSED, "accepted")
    store.query("MATCH (m:Metadata {key: 'ingest'}) SET m.value = 'unfinished'")
    with pytest.raises(IngestUnderWay, match="the same ingest again completes it"):
        store.apply_reviews()
    assert rows(store, TRIPLES) == []


def test_rejections_are_those_that_nobody_accepted(store: Store) -> None:
    assert store.rejections().to_pylist() == []
    write(store)
    write(store, COMPLETIONS[1:2], run="second")
    store.review(COMPLETIONS[:3].assign(run="first"), "rejected")
    assert store.rejections().to_pylist() == [
        {"item": "item-1", "property": "fabric", "value": "linen"},
        {"item": "item-1", "property": "fabric", "value": "wool"},
        {"item": "item-2", "property": "brand", "value": "大华"},
    ]
    store.review(COMPLETIONS[1:2].assign(run="second"), "accepted")
    assert store.rejections()["value"].to_pylist() == ["wool", "大华"]


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
        ("withdraw", lambda: store.withdraw(COMPLETIONS)),
        ("apply_reviews", store.apply_reviews),
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
