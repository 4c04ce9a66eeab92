"""One training run, several routes to its batches: the losses are the same."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
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


def _losses(store: Store, run: Path, settings: tuple[str, ...] = ()) -> list[dict[str, float]]:
    fixed = (*TINY, f"train.steps={STEPS}", "train.log_every=1", "train.eval_triples=0")
    config = Config.from_preset("small", [*fixed, *settings])
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


REJECTING = ("loss.rejected=1.0",)


def _with_rejections(location: str | Path, tables: Tables, others: bool = True) -> Store:
    """What people rejected, with other statuses beside it or without."""
    rejected = pd.DataFrame(
        {"item": ["item-0", "item-3", "item-3"], "property": "fabric", "value": ["wool", "linen", "no candidate"]}
    )
    _ingested(location, tables).close()
    with graphstore.open(location, "w") as store:
        if others:
            plant(store)
            rest = rejected.assign(item="item-5", rank=1)
            store.write_predictions(rest, run="r", model="m", created=datetime(2026, 1, 2, tzinfo=UTC))
            store.review(rest[:1], "accepted")
            store.query("MATCH ()-[p:PREDICTED]->() WHERE p.status = 'rejected' DELETE p")
        more = rejected.assign(rank=1)
        store.write_predictions(more, run="s", model="m", created=datetime(2026, 1, 2, tzinfo=UTC))
        store.review(more, "rejected")
    return graphstore.open(location)


@pytest.fixture(scope="module")
def rejecting(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """From memory, without any kept-back triple."""
    folder, tables = tmp_path_factory.mktemp("rejecting"), without_kept_back(tiny_catalogue())
    with _with_rejections(folder / "store.lbdb", tables, others=False) as origin:
        rejections = origin.rejections()
    store = graphstore.from_tables(tables.items, tables.triples, images=tables.images, rejections=rejections)
    return _losses(store, folder / "run", REJECTING), (folder / "run" / "weights.safetensors").read_bytes()


def test_rejections_are_read_on_request_and_nothing_else_that_came_back(
    reference: Reference, rejecting: Reference, tmp_path: Path
) -> None:
    """The same to the bit without the kept-back triples, and without the proposals that nobody rejected."""
    store = _with_rejections(tmp_path / "store.lbdb", tiny_catalogue())
    graphstore.write_snapshot(store, tmp_path / "snapshot")
    assert _losses(store, tmp_path / "run", REJECTING) == rejecting[0]
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == rejecting[1]
    assert _losses(graphstore.open(tmp_path / "snapshot"), tmp_path / "from_snapshot", REJECTING) == rejecting[0]
    assert _losses(graphstore.open(tmp_path / "snapshot"), tmp_path / "not_asked") == reference[0]
    assert any(line["rejected"] > 0 for line in rejecting[0])
    assert "rejected" not in reference[0][0]


@pytest.mark.neo4j
def test_neo4j_gives_the_same_losses_with_rejections(
    rejecting: Reference, tmp_path: Path, neo4j_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("K3M_IMAGES", str(tmp_path / "images"))
    store = _with_rejections(neo4j_url, tiny_catalogue())
    assert _losses(store, tmp_path / "from_neo4j", REJECTING) == rejecting[0]


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
