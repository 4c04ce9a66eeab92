"""Every store gives the same answers as the one in memory; and training sees the same in a catalogue with kept-back
triples and in its copy without them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import graphstore
from analysis.floors import FLOORS
from graphstore import Store, StoreError
from k3m.applicability import Applicability
from k3m.candidates import Candidates
from tests.catalogues import KEPT_BACK_ONLY, Tables, tiny_catalogue, without_kept_back
from tests.completions import NUMBER, PLANT, PLANTED, come_back, plant
from tests.stores import DATABASES, KINDS, empty_database, ingested, store_of


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def store(kind: str, request: pytest.FixtureRequest) -> Iterator[Store]:
    with store_of(kind, tiny_catalogue(), request) as opened:
        yield opened


def in_memory() -> Store:
    tables = tiny_catalogue()
    return graphstore.from_tables(tables.items, tables.triples, tables.properties, tables.images)


def training_view(store: Store, ords: Any) -> dict[str, Any]:
    """All that training reads."""
    found = store.neighbours(ords)
    training_values = np.unique(found.value)
    return {
        "neighbours": {name: array.tolist() for name, array in vars(found).items()},
        "triples": store.triples().to_pylist(),
        "items": store.items(("title", "category", "image", "price")).to_pylist(),
        "item_features": {name: v.tolist() for name, v in store.item_features(ords, ["title", "image"]).items()},
        "values": dict(zip(training_values.tolist(), store.value_texts(training_values), strict=True)),
        "properties": [store.property_names()[place] for place in np.unique(found.property)],
        "numbers": (store.num_items, store.num_training_triples),
    }


def test_every_read_is_that_of_the_store_in_memory(store: Store) -> None:
    reference, ords = in_memory(), np.random.default_rng(1).integers(0, 40, 100)
    assert training_view(store, ords) == training_view(reference, ords)
    assert store.counts() == reference.counts()
    assert store.property_names() == reference.property_names()
    assert store.property_groups() == reference.property_groups()
    assert sorted(store.item_fields()) == sorted(reference.item_fields())
    everything = (None, "valid", "test", "cold")
    assert store.triples(everything).equals(reference.triples(everything))
    assert store.items(["price", "title"]).equals(reference.items(["price", "title"]))
    values = np.random.default_rng(2).permutation(store.num_values)
    assert store.value_texts(values).tolist() == reference.value_texts(values).tolist()
    ids = store.item_ids(ords)
    assert ids.tolist() == reference.item_ids(ords).tolist()
    assert store.item_ords(ids.tolist()).tolist() == ords.tolist()
    for key in store.items(["image"])["image"].drop_null().to_pylist():
        assert store.images.get(key) == reference.images.get(key)
    assert store.data_version == reference.data_version


def test_training_sees_the_same_in_a_copy_without_kept_back_triples(
    store: Store, request: pytest.FixtureRequest
) -> None:
    seen = training_view(store, range(40))
    copy = without_kept_back(tiny_catalogue())
    deleted = graphstore.from_tables(copy.items, copy.triples, copy.properties, copy.images)
    assert seen == training_view(deleted, range(40))
    assert store.counts().triples == deleted.counts().triples + 55


def test_a_planted_value_is_in_no_training_answer(store: Store) -> None:
    seen = str(training_view(store, range(40)))
    assert KEPT_BACK_ONLY not in seen
    assert "大华" in seen
    [planted] = [row for row in store.triples(["test"]).to_pylist() if row["value"] == KEPT_BACK_ONLY]
    assert (planted["item"], planted["property"]) == ("item-1", "fabric")
    training_values = store.neighbours(range(40)).value.max() + 1
    assert KEPT_BACK_ONLY in store.value_texts(range(training_values, store.num_values))


@pytest.mark.parametrize("kind", DATABASES)
def test_cypher_sees_the_planted_value_and_property_counts_do_not(store: Store) -> None:
    planted = store.query(
        "MATCH (i:Item)-[h:HAS]->(v:Value) WHERE v.text = $text RETURN i.id AS id, h.split AS split",
        text=KEPT_BACK_ONLY,
    )
    assert planted.values.tolist() == [["item-1", "test"]]
    counts = store.query("MATCH (p:Property) RETURN p.name AS name, p.items AS items, p.`values` AS n ORDER BY name")
    training = without_kept_back(tiny_catalogue()).triples.groupby("property")
    expected = pd.DataFrame({"items": training["item"].nunique(), "n": training["value"].nunique()}).reset_index()
    assert counts.values.tolist() == expected.values.tolist()


@pytest.mark.parametrize("kind", DATABASES)
def test_completions_are_in_no_answer_but_cypher(kind: str, request: pytest.FixtureRequest) -> None:
    """PREDICTED, to values of the catalogue and to one that it has not, reviews and vectors: as in design.md, training
    never reads them."""
    tables, location = tiny_catalogue(), empty_database(kind, request)
    ingested(location, tables).close()
    with graphstore.open(location, "w") as store:
        plant(store)
        store.query("CREATE (:Value {text: 'proposed alone'})")
        store.query(PLANT, id="item-0", property="fabric", value="proposed alone", confidence=0.5, rank=1, status="new")
        come_back(store)
    snapshot = request.getfixturevalue("tmp_path") / "from-planted"
    with graphstore.open(location) as store:
        graphstore.write_snapshot(store, snapshot)
        assert store.query("MATCH ()-[p:PREDICTED]->() RETURN count(*) AS n")["n"].tolist() == [
            len(PLANTED) + 1 + NUMBER
        ]
        for planted in (store, graphstore.open(snapshot)):
            _require_equal(planted, in_memory())
    with graphstore.open(location, "w") as store:
        assert store.ingest(tables.items, tables.triples, tables.properties).data_version == 1
        _require_equal(store, in_memory())
        assert store.query("MATCH ()-[p:PREDICTED]->() RETURN count(*) AS n")["n"].tolist() == [
            len(PLANTED) + 1 + NUMBER
        ]


def _require_equal(store: Store, reference: Store) -> None:
    """To training, candidate lists, what may be asked, and the floors."""
    assert training_view(store, range(40)) == training_view(reference, range(40))
    assert store.counts() == reference.counts()
    assert store.num_values == reference.num_values
    every = (None, *store.counts().splits)
    assert store.triples(every).equals(reference.triples(every))
    candidates, expected = Candidates.from_store(store), Candidates.from_store(reference)
    pd.testing.assert_frame_equal(candidates.table, expected.table)
    pd.testing.assert_frame_equal(Applicability.from_store(store).table, Applicability.from_store(reference).table)
    items = reference.items()["id"].to_pylist()
    for floor in FLOORS.values():
        ours, theirs = floor(store, candidates), floor(reference, expected)
        for name in candidates.properties:
            np.testing.assert_array_equal(ours.score(name, items), theirs.score(name, items))


@pytest.mark.parametrize("kind", DATABASES)
def test_a_catalogue_that_grew_equals_one_made_at_once(kind: str, request: pytest.FixtureRequest) -> None:
    """Half of the items first, and with every triple for training; then all of it."""
    tables, location = tiny_catalogue(), empty_database(kind, request)
    half = tables.items["id"].iloc[::2]
    with graphstore.open(location, "w") as store:
        early = tables.triples[tables.triples["item"].isin(half)].assign(split=None)
        store.ingest(tables.items[tables.items["id"].isin(half)].assign(title="early"), early)
    with ingested(location, tables) as grown:
        assert grown.data_version == 2
        assert training_view(grown, range(40)) == training_view(in_memory(), range(40))
        assert grown.property_names() == in_memory().property_names()
        assert grown.counts() == in_memory().counts()


@pytest.mark.parametrize("kind", DATABASES)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_catalogue_that_shrank_and_changed_equals_one_made_at_once(
    kind: str, seed: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """New, changed and removed items and triples in one delta: the snapshots are equal to the byte but for the data
    version and the place."""
    before, after = tiny_catalogue(60, seed), changed_catalogue(tiny_catalogue(50, seed + 10), seed)
    location = empty_database(kind, request)
    ingested(location, before).close()
    with graphstore.open(location, "w") as store:
        for data in after.images.values():
            store.images.add(data)
        report = store.ingest(after.items, after.triples, after.properties, prune=True)
        assert report.data_version == 2
        assert min(report.items_removed, report.items_changed, report.triples_removed, report.triples_new) > 0
        graphstore.write_snapshot(store, tmp_path / "delta")
    with ingested(tmp_path / "fresh.lbdb", after) as fresh:
        graphstore.write_snapshot(fresh, tmp_path / "fresh")
    assert snapshot_files(tmp_path / "delta") == snapshot_files(tmp_path / "fresh")


def changed_catalogue(tables: Tables, seed: int) -> Tables:
    """Less a fifth of the items, some triples moved to other splits."""
    random = np.random.default_rng(seed)
    items = tables.items[random.random(len(tables.items)) < 0.8]
    triples = tables.triples[tables.triples["item"].isin(items["id"])].copy()
    triples.loc[random.random(len(triples)) < 0.1, "split"] = "valid"
    return Tables(items, triples, tables.images, tables.properties)


def snapshot_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "snapshot.json"}


@pytest.mark.parametrize("kind", DATABASES)
def test_an_ingest_that_was_cut_off_is_completed_by_the_same_again(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables, location = tiny_catalogue(), empty_database(kind, request)
    for step in ("_add_triples", "_update_triples"):
        with graphstore.open(location, "w") as store, monkeypatch.context() as cut:
            cut.setattr(type(store), step, _cut_off)
            with pytest.raises(InterruptedError):
                store.ingest(tables.items, tables.triples, tables.properties)
            assert store.data_version == 0
        _require_refused(location)
    with ingested(location, tables) as store:
        assert store.data_version == 1
        assert training_view(store, range(40)) == training_view(in_memory(), range(40))
        assert store.counts() == in_memory().counts()


DELETED_BY_HAND = {
    "some triples": "MATCH (i:Item)-[h:HAS {property: 'colour'}]->(:Value) WHERE i.id < 'item-2' DELETE h",
    "all of a value": "MATCH (:Item)-[h:HAS]->(v:Value {text: 'Aldo'}) DELETE h",
    "a value": "MATCH (v:Value {text: 'Aldo'}) DETACH DELETE v",
    "all of a property": "MATCH (:Item)-[h:HAS {property: 'brand'}]->(:Value) DELETE h",
    "an item": "MATCH (i:Item {id: 'item-3'}) DETACH DELETE i",
    "all triples": "MATCH (:Item)-[h:HAS]->(:Value) DELETE h",
}


@pytest.mark.parametrize("deleted", DELETED_BY_HAND.values(), ids=DELETED_BY_HAND)
@pytest.mark.parametrize("kind", DATABASES)
def test_ordinals_of_what_a_query_deleted_are_repaired_by_the_next_ingest(
    kind: str, deleted: str, request: pytest.FixtureRequest
) -> None:
    tables, location = tiny_catalogue(), empty_database(kind, request)
    ingested(location, tables).close()
    with graphstore.open(location, "w") as store:
        plant(store)  # completions hang on values, and stay
        store.query(deleted)
        kept = store.query(
            "MATCH (i:Item)-[p:PREDICTED]->(v:Value) RETURN i.id AS id, v.text AS text ORDER BY id, text"
        )
        assert store.ingest(tables.items[:0], tables.triples[:0]).data_version == 2
        left = store.items(["title", "category", "image", "price"]), store.triples((None, *store.counts().splits))
        expected = graphstore.from_tables(*left, tables.properties, tables.images)
        assert training_view(store, range(store.num_items)) == training_view(expected, range(store.num_items))
        assert store.counts() == expected.counts()
        assert store.property_names() == expected.property_names()
        every = np.arange(expected.num_values)
        assert store.value_texts(every).tolist() == expected.value_texts(every).tolist()
        assert store.value_degrees(every, 99).tolist() == expected.value_degrees(every, 99).tolist()
        assert store.query(
            "MATCH (i:Item)-[p:PREDICTED]->(v:Value) RETURN i.id AS id, v.text AS text ORDER BY id, text"
        ).equals(kept)
        assert store.ingest(tables.items[:0], tables.triples[:0]).data_version == 2
        store.ingest(tables.items, tables.triples, tables.properties)
        assert training_view(store, range(40)) == training_view(in_memory(), range(40))
        assert store.counts() == in_memory().counts()


def _require_refused(location: str | Path) -> None:
    """Half of an ingest is answered to Cypher, and to nothing that training reads."""
    with graphstore.open(location) as store:
        assert store.query("MATCH (i:Item) RETURN count(*) AS n")["n"].tolist() == [40]
        for read in (store.property_names, store.triples, lambda: store.neighbours([0])):
            with pytest.raises(StoreError, match="an ingest is under way or was cut off; the same ingest again"):
                read()


def _cut_off(*_: Any) -> None:
    raise InterruptedError
