"""A Neo4j server that goes away while a run streams from it: a server of these tests' own, which they stop."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import graphstore
from graphstore import neo4j_store
from k3m import train
from k3m.batch import ProductBatch
from k3m.trainer import Trainer
from tests.catalogues import tiny_catalogue
from tests.conftest import skip_or_fail
from tests.k3m.conftest import TINY
from tools.neo4j import server

pytestmark = [pytest.mark.neo4j, pytest.mark.slow]
OWN_STEP = Trainer._train_step


@dataclass
class OwnServer:
    home: Path
    running: server.Server

    def stop(self) -> None:
        server.stop(self.running, self.home)

    def start(self) -> None:
        url = self.running.url
        self.running = server.start(self.home, self.running)
        assert self.running.url == url


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    home = tmp_path_factory.mktemp("neo4j")
    try:
        own = OwnServer(home, server.start(home))
    except server.NoServer as reason:
        skip_or_fail(str(reason), "K3M_REQUIRE_NEO4J")
    yield own
    own.stop()


@pytest.fixture(scope="module")
def undisturbed(own_server: OwnServer, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, float]]:
    """Metrics of a whole run."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        _environment(patch, own_server, folder)
        tables = tiny_catalogue()
        with graphstore.open(own_server.running.url, "w") as store:
            for data in tables.images.values():
                store.images.add(data)
            store.ingest(tables.items, tables.triples)
        return _train(own_server, folder)


def _environment(patch: pytest.MonkeyPatch, own_server: OwnServer, folder: Path) -> None:
    patch.setenv(server.PASSWORD, own_server.running.password)
    patch.setenv("K3M_IMAGES", str(own_server.home / "images"))


def _train(own_server: OwnServer, folder: Path, *words: str) -> list[dict[str, float]]:
    where = ("--store", own_server.running.url, "--run", str(folder / "run"))
    train.main([*where, *words, "--set", *TINY, "train.log_every=1", "train.epochs=2"])
    lines = (folder / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) | {"items_per_second": 0.0} for line in lines]


def test_training_waits_for_a_server_that_comes_back(
    own_server: OwnServer, undisturbed: list[dict[str, float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _environment(monkeypatch, own_server, tmp_path)
    back: list[threading.Thread] = []

    def come_back() -> None:
        time.sleep(2)
        own_server.start()

    def step(self: Trainer, batch: ProductBatch) -> dict[str, float]:
        if self.state.step == 3:
            own_server.stop()
            back.append(threading.Thread(target=come_back))
            back[0].start()
        return OWN_STEP(self, batch)

    monkeypatch.setattr(Trainer, "_train_step", step)
    metrics = _train(own_server, tmp_path)
    back[0].join()
    assert metrics == undisturbed


def test_after_the_limit_it_stops_with_a_checkpoint(
    own_server: OwnServer, undisturbed: list[dict[str, float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _environment(monkeypatch, own_server, tmp_path)

    def step(self: Trainer, batch: ProductBatch) -> dict[str, float]:
        if self.state.step == 6:
            own_server.stop()
        return OWN_STEP(self, batch)

    monkeypatch.setattr(Trainer, "_train_step", step)
    monkeypatch.setattr(neo4j_store, "WAIT_SECONDS", 2.0)
    with pytest.raises(SystemExit, match=r"stopped after step 7 \(neo4j://.*: --resume goes on from there"):
        _train(own_server, tmp_path)
    monkeypatch.undo()
    own_server.start()
    _environment(monkeypatch, own_server, tmp_path)
    assert _train(own_server, tmp_path, "--resume") == undisturbed
