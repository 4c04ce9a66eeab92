"""Snapshots: replaced whole, refused when older than the store beside them."""

import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

import graphstore
from graphstore import SchemaError, StaleSnapshot, StoreError
from graphstore.images import UnknownImage
from tests.catalogues import tiny_catalogue
from tests.stores import ingested


def test_a_snapshot_older_than_its_store_is_refused_with_the_command(tmp_path: Path) -> None:
    path, snapshot = tmp_path / "store.lbdb", tmp_path / "snapshot"
    with ingested(path, tiny_catalogue(8)) as store:
        graphstore.write_snapshot(store, snapshot)
        with graphstore.open(snapshot, beside=store) as fresh:
            assert fresh.data_version == 1
    with graphstore.open(path, "w") as store:
        store.ingest(pd.DataFrame({"id": ["item-1"], "title": ["new"]}), tiny_catalogue(8).triples[:0])
        with pytest.raises(StaleSnapshot) as refused:
            graphstore.open(snapshot, beside=store)
        assert str(refused.value) == (
            f"{snapshot} is a snapshot of data version 1, {path} is at 2: renew it with k3m snapshot {path} {snapshot}"
        )
        graphstore.write_snapshot(store, snapshot)
        with graphstore.open(snapshot, beside=store) as renewed:
            assert renewed.item_features([1], ["title"])["title"].tolist() == ["new"]
    assert sorted(found.name for found in tmp_path.iterdir()) == [
        "snapshot",
        "store.lbdb",
        "store.lbdb.images",
        "store.lbdb.lock",
    ]


def test_a_snapshot_of_some_items_has_all_that_is_known_of_them(tmp_path: Path) -> None:
    tables = tiny_catalogue()
    with graphstore.from_tables(tables.items, tables.triples, images=tables.images) as store:
        for number in (5, 9):
            graphstore.write_snapshot(store, tmp_path / str(number), items=number)
        splits = (None, *store.counts().splits)
        every, triples = store.items(("image",)).to_pandas(), store.triples(splits).to_pandas()
    with graphstore.open(tmp_path / "9") as some, graphstore.open(tmp_path / "5") as fewer:
        ids = some.items()["id"].to_pylist()
        assert len(ids) == 9
        assert set(fewer.items()["id"].to_pylist()) < set(ids)
        expected = triples[triples["item"].isin(ids)].reset_index(drop=True)
        pd.testing.assert_frame_equal(some.triples(splits).to_pandas(), expected)
        keys = every[every["id"].isin(ids)]["image"].dropna()
        assert [some.images.get(key) for key in keys] == [tables.images[key] for key in keys]


def test_a_snapshot_of_other_triples_trains_on_those(tmp_path: Path) -> None:
    """Values and splits are those given, in any order; a triple of an item that is not there is refused."""
    tables = tiny_catalogue(8)
    store = graphstore.from_tables(tables.items, tables.triples, images=tables.images)
    given = tables.triples[tables.triples["split"].isna()].iloc[::-1].reset_index(drop=True)
    given["split"] = pd.Series("other", given.index, dtype=object).where(given.index % 2 == 1, None)
    given.loc[0, "value"] = "planted"
    graphstore.write_snapshot(store, tmp_path / "snapshot", triples=given)
    key = ["item", "property", "value"]
    with graphstore.open(tmp_path / "snapshot") as snapshot:
        for split in (None, "other"):
            of_split = given[given["split"].isna() if split is None else given["split"] == split]
            expected = of_split[key].sort_values(key, ignore_index=True)
            assert snapshot.triples((split,)).to_pandas()[key].values.tolist() == expected.values.tolist()
        assert snapshot.data_version == store.data_version
        assert "planted" in snapshot.value_counts()["value"].to_pylist()
    with pytest.raises(SchemaError, match="nobody"):
        graphstore.write_snapshot(store, tmp_path / "wrong", triples=given.assign(item="nobody"))


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    tables = tiny_catalogue(4)
    store = graphstore.from_tables(tables.items, tables.triples, images=tables.images)
    with pytest.raises(StoreError, match="is not empty and no snapshot: name another directory"):
        graphstore.write_snapshot(store, tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_store_that_changes_under_the_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ingested(tmp_path / "store.lbdb", tiny_catalogue(8)).close()
    with graphstore.open(tmp_path / "store.lbdb", "w") as store:
        triples = store.triples

        def meanwhile(splits: Collection[str | None]) -> pa.Table:
            new = pd.DataFrame({"item": ["new"], "property": ["colour"], "value": ["red"]})
            store.ingest(pd.DataFrame({"id": ["new"]}), new)
            return triples(splits)

        monkeypatch.setattr(store, "triples", meanwhile)
        with pytest.raises(StoreError, match="was changed by an ingest while it was read: write the snapshot again"):
            graphstore.write_snapshot(store, tmp_path / "snapshot")
    assert not (tmp_path / "snapshot").exists()


def test_an_image_that_the_store_lost_is_named_and_the_old_snapshot_stays(tmp_path: Path) -> None:
    tables = tiny_catalogue(8)
    whole = graphstore.from_tables(tables.items, tables.triples, images=tables.images)
    graphstore.write_snapshot(whole, tmp_path / "snapshot")
    with pytest.raises(UnknownImage, match="memory has no image sha256:"):
        graphstore.write_snapshot(graphstore.from_tables(tables.items, tables.triples), tmp_path / "snapshot")
    assert len(graphstore.open(tmp_path / "snapshot").images) == len(tables.images)


def test_reading_a_snapshot_needs_no_database_and_no_torch(tmp_path: Path) -> None:
    tables = tiny_catalogue(8)
    graphstore.write_snapshot(
        graphstore.from_tables(tables.items, tables.triples, images=tables.images), tmp_path / "s"
    )
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['ladybug', 'neo4j', 'torch', 'torch_geometric']))\n"
        f"import graphstore; store = graphstore.open({str(tmp_path / 's')!r})\n"
        "print(store.num_items, len(store.images), store.neighbours([1]).edge_id.tolist()[:2])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "8 2 [0, 1]\n"


def test_rejections_travel_with_the_snapshot(tmp_path: Path) -> None:
    tables = tiny_catalogue(8)
    rejections = pd.DataFrame(
        [("item-3", "tag", "sale"), ("item-2", "fabric", "tweed"), ("item-2", "fabric", "silk")],
        columns=["item", "property", "value"],
    )
    with graphstore.from_tables(tables.items, tables.triples, images=tables.images, rejections=rejections) as store:
        graphstore.write_snapshot(store, tmp_path / "all")
        graphstore.write_snapshot(store, tmp_path / "some", items=4)
        chosen = graphstore.open(tmp_path / "some").items()["id"].to_pylist()
    rows = [("item-2", "fabric", "silk"), ("item-2", "fabric", "tweed"), ("item-3", "tag", "sale")]
    for name, kept in (("all", rows), ("some", [row for row in rows if row[0] in chosen])):
        found = graphstore.open(tmp_path / name).rejections()
        assert [tuple(row.values()) for row in found.to_pylist()] == kept
    assert 0 < len(kept) < 3


def test_a_snapshot_of_before_there_were_rejections_is_refused(tmp_path: Path) -> None:
    tables = tiny_catalogue(8)
    with graphstore.from_tables(tables.items, tables.triples, images=tables.images) as store:
        graphstore.write_snapshot(store, tmp_path / "s")
    (tmp_path / "s" / "rejections.arrow").unlink()
    with pytest.raises(StaleSnapshot, match=r"of an older release \(no rejections\): renew it with k3m snapshot"):
        graphstore.open(tmp_path / "s")


def test_a_snapshot_of_an_older_release_is_refused_with_the_command(tmp_path: Path) -> None:
    with ingested(tmp_path / "store.lbdb", tiny_catalogue(8)) as store:
        graphstore.write_snapshot(store, tmp_path / "s")
    for name in ("value_edge", "place"):
        (tmp_path / "s" / f"{name}.npy").unlink()
    with pytest.raises(StaleSnapshot) as refused:
        graphstore.open(tmp_path / "s")
    assert str(refused.value) == (
        f"{tmp_path}/s is a snapshot of an older release (no value_edge, place): "
        f"renew it with k3m snapshot {tmp_path}/store.lbdb {tmp_path}/s"
    )
