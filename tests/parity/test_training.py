"""One training run, several routes to its batches: the losses are the same."""

import json
from pathlib import Path

import pytest

import graphstore
from graphstore import Store
from k3m.config import Config
from k3m.train import start
from tests.catalogues import Tables, tiny_catalogue, without_kept_back
from tests.completions import come_back, plant
from tests.k3m.conftest import TINY

STEPS = 20
Reference = tuple[list[dict[str, float]], bytes]


def _memory(tables: Tables) -> Store:
    return graphstore.from_tables(tables.items, tables.triples, images=tables.images)


def _ingested(location: str | Path, tables: Tables) -> Store:
    with graphstore.open(location, "w") as store:
        for data in tables.images.values():
            store.images.add(data)
        store.ingest(tables.items, tables.triples)
    return graphstore.open(location)


def _losses(store: Store, run: Path) -> list[dict[str, float]]:
    config = Config.from_preset("small", [*TINY, f"train.steps={STEPS}", "train.log_every=1", "train.eval_triples=0"])
    with store:
        start(store, run, config).fit()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key != "items_per_second"} for line in lines]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    run = tmp_path_factory.mktemp("reference") / "run"
    return _losses(_memory(tiny_catalogue()), run), (run / "weights.safetensors").read_bytes()


def test_kept_back_triples_change_no_batch_no_loss_and_no_weight(reference: Reference, tmp_path: Path) -> None:
    """design.md, The graph: the same to the bit from a copy without kept-back triples and the values they alone
    have."""
    losses = _losses(_memory(without_kept_back(tiny_catalogue())), tmp_path / "run")
    assert len(losses) == STEPS
    assert (losses, (tmp_path / "run" / "weights.safetensors").read_bytes()) == reference


def test_ladybug_and_its_snapshot_give_the_same_losses(reference: Reference, tmp_path: Path) -> None:
    store = _ingested(tmp_path / "store.lbdb", tiny_catalogue())
    graphstore.write_snapshot(store, tmp_path / "snapshot")
    assert _losses(store, tmp_path / "from_ladybug") == reference[0]
    assert _losses(graphstore.open(tmp_path / "snapshot"), tmp_path / "from_snapshot") == reference[0]


def test_completions_and_vectors_change_no_loss(reference: Reference, tmp_path: Path) -> None:
    _ingested(tmp_path / "store.lbdb", tiny_catalogue()).close()
    with graphstore.open(tmp_path / "store.lbdb", "w") as store:
        plant(store)
        come_back(store)
    assert _losses(graphstore.open(tmp_path / "store.lbdb"), tmp_path / "run") == reference[0]
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == reference[1]


@pytest.mark.neo4j
def test_neo4j_and_its_snapshot_give_the_same_losses(
    reference: Reference, tmp_path: Path, neo4j_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("K3M_IMAGES", str(tmp_path / "images"))
    store = _ingested(neo4j_url, tiny_catalogue())
    graphstore.write_snapshot(store, tmp_path / "snapshot")
    assert _losses(store, tmp_path / "from_neo4j") == reference[0]
    assert _losses(graphstore.open(tmp_path / "snapshot"), tmp_path / "from_snapshot") == reference[0]


@pytest.mark.slow
def test_loader_processes_change_nothing(reference: Reference, tmp_path: Path) -> None:
    store = _ingested(tmp_path / "store.lbdb", tiny_catalogue())
    config = Config.from_preset(
        "small", [*TINY, f"train.steps={STEPS}", "train.log_every=1", "train.eval_triples=0", "data.workers=2"]
    )
    with store:
        start(store, tmp_path / "run", config).fit()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["loss"] for line in lines] == [line["loss"] for line in reference[0]]
