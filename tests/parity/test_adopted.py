"""The shop of docs/adopt.md in a real Neo4j, adopted: the same batches, losses and weights as from a store in memory,
and nothing that is kept back in any of them."""

import json
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import analysis.complete
import graphstore
import k3m
from graphstore import Store, StoreError
from k3m import train
from k3m.batch import ProductBatch
from k3m.config import Config
from k3m.trainer import Trainer
from tests.catalogues import Tables, tiny_catalogue, without_kept_back
from tests.foreign import plain, shop_graph, shop_mapping
from tests.k3m.conftest import TINY
from tests.parity.test_stores import training_view

pytestmark = pytest.mark.neo4j
SHARE, SEED = 0.3, 7
HOLDOUT = {"share": SHARE, "seed": SEED}
EVERY = (None, "valid", "test")


def split_of(item: str, property: str, value: str, seed: int = SEED) -> str | None:
    """By the rule of docs/adopt.md."""
    text = f"{seed} {len(item)} {len(property)} {item}{property}{value}"
    digest = blake2b(text.encode(), digest_size=8).digest()
    draw = int.from_bytes(digest, "little") / 2**64
    return "valid" if draw < SHARE / 2 else "test" if draw < SHARE else None


def planted() -> str:
    """A value that the hash keeps back for test, of an item that has it alone."""
    return next(text for text in map("planted {}".format, range(99)) if split_of("item-3", "fabric", text) == "test")


def shop() -> Tables:
    """The tiny catalogue without source and splits of its own, with the splits that the mapping will draw."""
    tables = tiny_catalogue()
    triples = tables.triples[["item", "property", "value"]]
    triples.loc[len(triples)] = ["item-3", "fabric", planted()]
    drawn = [split_of(*row) for row in triples.itertuples(index=False, name=None)]
    return Tables(tables.items, triples.assign(split=pd.Series(drawn, dtype=object)), tables.images)


@pytest.fixture
def location(neo4j_url: str) -> str:
    return shop_graph(neo4j_url, shop())


@pytest.fixture(params=[True, False], ids=["streamed", "adopted"])
def mapping(request: pytest.FixtureRequest, location: str, tmp_path: Path) -> Path:
    return shop_mapping(location, shop(), tmp_path / "shop.toml", request.param, holdout=HOLDOUT)


def in_memory(tables: Tables) -> Store:
    return graphstore.from_tables(tables.items, tables.triples, images=tables.images)


def config(*settings: str) -> Config:
    return Config.from_preset(
        "small", [*TINY, "train.steps=10", "train.log_every=1", "train.eval_triples=0", *settings]
    )


def trained(store: Store, run: Path, *settings: str) -> tuple[list[Any], bytes]:
    """Losses and weights."""
    with store:
        train.start(store, run, config(*settings)).fit()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [{key: value for key, value in line.items() if key != "items_per_second"} for line in lines]
    return losses, (run / "weights.safetensors").read_bytes()


def test_every_read_is_that_of_the_store_in_memory(mapping: Path) -> None:
    reference, ords = in_memory(shop()), np.random.default_rng(1).integers(0, 40, 100)
    with graphstore.open(mapping) as store:
        assert training_view(store, ords) == training_view(reference, ords)
        assert store.counts() == reference.counts()
        assert store.property_names() == reference.property_names()
        assert store.triples(EVERY).equals(reference.triples(EVERY))
        every = np.arange(store.num_values)
        assert store.value_texts(every).tolist() == reference.value_texts(every).tolist()


def test_training_is_the_same_to_the_bit_and_sees_nothing_kept_back(mapping: Path, tmp_path: Path) -> None:
    """As from memory, and as from a copy in which the kept-back triples and the planted value never were."""
    found = trained(graphstore.open(mapping), tmp_path / "run")
    assert found == trained(in_memory(shop()), tmp_path / "reference")
    assert found == trained(in_memory(without_kept_back(shop())), tmp_path / "copy")
    candidates = pq.read_table(tmp_path / "run" / "candidates.parquet")
    assert planted() not in candidates["value"].to_pylist()
    assert "planted" not in (tmp_path / "run" / "tokenizer.json").read_text(encoding="utf-8")
    with graphstore.open(mapping) as store:
        assert planted() not in str(training_view(store, range(40)))
        assert planted() in store.triples(["test"])["value"].to_pylist()


@pytest.mark.slow
def test_loader_processes_read_what_the_first_one_read(mapping: Path, tmp_path: Path) -> None:
    found = trained(graphstore.open(mapping), tmp_path / "run", "data.workers=2")
    assert found == trained(in_memory(shop()), tmp_path / "reference")


def test_train_and_complete_by_command(mapping: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = [*TINY, "train.steps=10", "train.eval_triples=20"]
    train.main(["--store", str(mapping), "--run", str(run), "--set", *settings])
    drawn = shop().triples["split"].value_counts().to_dict()
    manifest = json.loads((run / "run.json").read_text(encoding="utf-8"))["split_manifest"]
    assert manifest.pop("mapping")
    assert manifest == {"share": SHARE, "seed": SEED, "splits": drawn}
    complete(run, mapping, "--evaluate", "test")
    metrics = json.loads((run / "complete" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["link_completion"]["test"]["n"] == drawn["test"]
    with graphstore.open(mapping) as store:
        assert len(k3m.load(run).embed(store)) == 40
        graphstore.write_snapshot(store, tmp_path / "snapshot")
    complete(run, tmp_path / "snapshot", "--evaluate", "test")  # the same split


def complete(run: Path, store: Path, *words: str) -> None:
    floors = ["--floors", "majority", "--top", "2"]
    analysis.complete.main(["--run", str(run), "--store", str(store), *floors, *words])


def test_another_split_is_refused(location: str, tmp_path: Path) -> None:
    run, tables = tmp_path / "run", shop()
    mapping = shop_mapping(location, tables, tmp_path / "shop.toml", holdout=HOLDOUT)
    trained(graphstore.open(mapping), run)
    other = shop_mapping(location, tables, tmp_path / "other.toml", holdout=HOLDOUT | {"seed": 8})
    for store in (other, _ingested(tables, tmp_path / "store.lbdb")):
        with pytest.raises(ValueError, match=r"was trained on a mapping's split \(triples \w{8}, share 0.3, seed 7\)"):
            complete(run, store)


def _ingested(tables: Tables, path: Path) -> Path:
    with graphstore.open(path, "w") as store:
        store.ingest(tables.items.assign(image=None), tables.triples)
    return path


CHANGES = {
    "added": "MATCH (p:Product {sku: 'item-5'}) SET p.tag = p.tag + 'late'",
    "removed": "MATCH (p:Product {sku: 'item-5'}) REMOVE p.size",
    "replaced": "MATCH (p:Product {sku: 'item-5'}) SET p.size = CASE p.size WHEN 'S' THEN 'M' ELSE 'S' END",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_graph_that_changes_is_noticed(change: str, location: str, tmp_path: Path) -> None:
    mapping = shop_mapping(location, shop(), tmp_path / "shop.toml", holdout=HOLDOUT)
    with graphstore.open(mapping) as store:
        trained(store, tmp_path / "run")
    with graphstore.open(mapping) as store:
        fifth, version = store.item_ords(["item-5"]), store.data_version
        with plain(location) as run:
            run(change)
        store.neighbours([0, 1])  # of items that stayed as they were
        for read in (lambda: store.neighbours(fifth), lambda: store.triples(EVERY)):
            with pytest.raises(StoreError, match="the graph behind it was changed since it was opened"):
                read()
    with graphstore.open(mapping) as again:
        assert again.data_version != version
        with pytest.raises(ValueError, match=f"was begun on data version {version}, .* start a new run"):
            train.resume(again, tmp_path / "run", config())


def test_a_change_during_training_leaves_a_checkpoint(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapping = shop_mapping(location, shop(), tmp_path / "shop.toml", holdout=HOLDOUT)
    own_step = Trainer._train_step

    def changed_after_the_third(self: Trainer, batch: ProductBatch) -> dict[str, float]:
        if self.state.step == 2:
            with plain(location) as run:
                run("MATCH (p:Product) SET p.size = 'other'")
        return own_step(self, batch)

    monkeypatch.setattr(Trainer, "_train_step", changed_after_the_third)
    with pytest.raises(SystemExit, match=r"stopped after step \d+ \(.*graph behind it was changed since it was opened"):
        trained(graphstore.open(mapping), tmp_path / "run")
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_the_graph_is_as_it_was(mapping: Path, location: str, tmp_path: Path) -> None:
    """No node, relationship, constraint or index more."""
    asked = "MATCH (n) OPTIONAL MATCH (n)-[r]->() RETURN count(DISTINCT n) AS nodes, count(r) AS relationships"
    with graphstore.open(location) as server:
        before = (
            server.query(asked).values.tolist(),
            len(server.query("SHOW INDEXES")),
            len(server.query("SHOW CONSTRAINTS")),
        )
        trained(graphstore.open(mapping), tmp_path / "run")
        after = (
            server.query(asked).values.tolist(),
            len(server.query("SHOW INDEXES")),
            len(server.query("SHOW CONSTRAINTS")),
        )
    assert before == after
