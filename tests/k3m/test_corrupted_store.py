"""A store with a draw in it is the store of the changed tables, and nothing else is changed."""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import graphstore
from graphstore import Store
from k3m.config import Config
from k3m.corrupted_store import CorruptedStore
from k3m.protocols import PROTOCOLS, Noise, draw
from k3m.streaming import Stream
from tests.catalogues import Tables, tiny_catalogue

ALL = (None, "valid", "test", "cold")
KEY = ["item", "property", "value"]


def _changed(tables: Tables, changes: pd.DataFrame) -> Tables:
    """The tables with a draw's changes, one by one."""
    items, rows = tables.items.set_index("id").to_dict("index"), tables.triples.to_dict("records")
    triples = {tuple(row[name] for name in KEY): row for row in rows}
    for row in changes.to_dict("records"):
        if row["modality"] == "triple":
            triples[tuple(row[name] for name in KEY)]["value"] = row["new"]
        else:
            items[row["item"]][row["modality"]] = row["new"]
    changed = pd.DataFrame.from_dict(items, orient="index").rename_axis("id").reset_index()
    left = pd.DataFrame([row for row in rows if row["value"] is not None])
    return Tables(changed, left, tables.images)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
def test_it_is_the_store_of_the_changed_tables(store: Store, protocol: str, ratio: float) -> None:
    tables = tiny_catalogue()
    ids = sorted(tables.items["id"])
    changes = draw(store, Noise(protocol=protocol, ratio=ratio), ids[3:33])
    found, changed = CorruptedStore(store, changes), _changed(tables, changes)
    expected = graphstore.from_tables(changed.items, changed.triples, images=changed.images)
    ords = np.arange(store.num_items)
    assert found.items(found.item_fields()).equals(expected.items(found.item_fields()))
    assert found.triples(ALL).equals(expected.triples(ALL))
    assert found.counts() == expected.counts()
    assert found.value_counts().equals(expected.value_counts())
    for name in ("indptr", "property", "value", "edge_id"):
        theirs = getattr(expected.neighbours(ords), name)
        np.testing.assert_array_equal(getattr(found.neighbours(ords), name), theirs)
    assert found.property_names() == expected.property_names()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_else_changes(store: Store, protocol: str) -> None:
    ids = sorted(tiny_catalogue().items["id"])
    changes = draw(store, Noise(protocol=protocol, ratio=0.5), ids[3:33])
    before, found = store.items(store.item_fields()).to_pandas(), CorruptedStore(store, changes)
    items = found.items(store.item_fields()).to_pandas()
    touched = {name: set(rows["item"]) for name, rows in changes.groupby("modality")}
    for name in items:
        same = items[name].eq(before[name]) | (items[name].isna() & before[name].isna())
        assert set(items["id"][~same]) <= touched.get(name, set())
    gone = set(map(tuple, changes.loc[changes["modality"] == "triple", KEY].to_numpy()))
    clean, now = (set(map(tuple, each.triples(ALL).to_pandas()[KEY].to_numpy())) for each in (store, found))
    assert clean - now == gone
    assert now - clean == set(
        map(tuple, changes.dropna(subset="property")[["item", "property", "new"]].dropna().to_numpy())
    )
    assert store.items(store.item_fields()).to_pandas().equals(before)


@pytest.mark.parametrize("protocol", ["TINR", "KNR"])
def test_it_travels_to_another_process(tmp_path: Path, store: Store, protocol: str) -> None:
    graphstore.write_snapshot(store, tmp_path / "snapshot")
    with graphstore.open(tmp_path / "snapshot") as snapshot:
        found = CorruptedStore(snapshot, draw(snapshot, Noise(protocol=protocol, ratio=1), ["item-1", "item-5"]))
        there = pickle.loads(pickle.dumps(found))
    assert there.items(("title", "image")).equals(found.items(("title", "image")))
    assert there.triples(ALL).equals(found.triples(ALL))
    assert not there.items(("title",)).equals(store.items(("title",))) or protocol == "KNR"


def test_a_database_beneath_it_gives_the_same(tmp_path: Path, store: Store) -> None:
    tables = tiny_catalogue()
    with graphstore.open(tmp_path / "shop.lbdb", "w") as ladybug:
        for data in tables.images.values():
            ladybug.images.add(data)
        ladybug.ingest(tables.items, tables.triples, tables.properties)
    with graphstore.open(tmp_path / "shop.lbdb") as ladybug:
        for protocol in ("MNR", "KNR"):
            changes = draw(store, Noise(protocol=protocol, ratio=1), ["item-1", "item-5"])
            pd.testing.assert_frame_equal(
                draw(ladybug, Noise(protocol=protocol, ratio=1), ["item-1", "item-5"]), changes
            )
            found = CorruptedStore(ladybug, changes)
            assert found.triples(ALL).select(KEY).equals(CorruptedStore(store, changes).triples(ALL).select(KEY))


@pytest.mark.parametrize("protocol", ["TINR", "IMR", "KMR", "KNR"])
def test_a_model_s_batches_are_of_what_was_changed(store: Store, stream: Stream, config: Config, protocol: str) -> None:
    ids = ["item-1", "item-5", "item-6", "item-10"]
    changes = draw(store, Noise(protocol=protocol, ratio=1), ids)
    corrupted = Stream(CorruptedStore(store, changes), config, stream.tokenizer)
    ords = store.item_ords([*ids, "item-12"])
    clean, found = next(iter(stream.evaluation(ords))), next(iter(corrupted.evaluation(ords)))
    titles = [bool((clean.title[row] == found.title[row]).all()) for row in range(5)]
    assert titles == ([False] * 4 + [True] if protocol == "TINR" else [True] * 5)
    if protocol == "IMR":
        assert not found.photographs.there[:4].any()
    degree = [int((batch.triple_item == row).sum()) for batch in (clean, found) for row in range(5)]
    assert degree[5:] == ([0] * 4 + degree[4:5] if protocol == "KMR" else degree[:5])


def test_changes_of_another_catalogue_are_refused(store: Store) -> None:
    other = tiny_catalogue(seed=1)
    with graphstore.from_tables(other.items, other.triples, images=other.images) as theirs:
        for protocol, message in (("IMR", "the image of item"), ("KMR", "no training triple")):
            changes = draw(theirs, Noise(protocol=protocol, ratio=1), sorted(other.items["id"]))
            with pytest.raises(ValueError, match=f"changes of another catalogue.*{message}"):
                CorruptedStore(store, changes)
