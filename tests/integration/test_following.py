"""An ingest into Neo4j beside a training run that streams from it: both go on."""

import dataclasses
import json
import threading
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import graphstore
import k3m
from graphstore import IngestUnderWay, StoreError
from k3m import following, train
from k3m.batch import ProductBatch
from k3m.trainer import Trainer
from tests.catalogues import Tables, tiny_catalogue
from tests.k3m.conftest import TINY

pytestmark = [pytest.mark.neo4j, pytest.mark.slow]
OWN_STEP = Trainer._train_step
NEW = "a value that training has not seen before"


def _later() -> Tables:
    """The catalogue a day later: five items less, ten more, a new value, another colour for everybody's scarf."""
    tables = tiny_catalogue(n_items=50, seed=0)
    items, triples = tables.items.iloc[5:], tables.triples
    triples = triples[triples["item"].isin(items["id"])]
    more = pd.DataFrame({"item": items["id"], "property": "colour", "value": NEW, "source": "later", "split": None})
    return dataclasses.replace(tables, items=items, triples=pd.concat([triples, more], ignore_index=True))


def _ingest(url: str, tables: Tables, prune: bool = False) -> None:
    with graphstore.open(url, "w") as store:
        for data in tables.images.values():
            store.images.add(data)
        store.ingest(tables.items, tables.triples, prune=prune)


@pytest.fixture
def url(neo4j_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("K3M_IMAGES", str(tmp_path / "images"))
    _ingest(neo4j_url, tiny_catalogue())
    return neo4j_url


def _train(url: str, run: Path, *words: str, workers: int = 0) -> None:
    settings = [*TINY, "train.log_every=1", "train.epochs=4", f"data.workers={workers}"]
    train.main(["--store", url, "--run", str(run), *words, "--set", *settings])


def _info(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("workers", [0, 2])
def test_both_go_on(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    ingests: list[threading.Thread] = []

    def step(self: Trainer, batch: ProductBatch) -> dict[str, float]:
        if self.state.step == 3 and not ingests:
            ingests.append(threading.Thread(target=_ingest, args=(url, _later(), True)))
            ingests[0].start()
        if self.state.step == 12:  # however quick the training is
            ingests[0].join()
        return OWN_STEP(self, batch)

    monkeypatch.setattr(Trainer, "_train_step", step)
    _train(url, tmp_path / "run", workers=workers)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 21))  # four epochs of 40 items by 8
    first, second = _info(tmp_path / "run")["data_versions"]
    assert (first, second["version"]) == ({"version": 1, "from_step": 0}, 2)
    assert 3 < second["from_step"] <= 13
    run = k3m.load(tmp_path / "run")
    assert NEW in run.candidates.of("colour")
    with graphstore.open(url) as store:
        assert store.num_items == 45
        assert len(run.embed(store)) == 45


def test_resume_goes_on_with_what_a_live_store_has_by_then(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(self: Trainer, batch: ProductBatch) -> dict[str, float]:
        if self.state.step == 7:
            raise KeyboardInterrupt
        return OWN_STEP(self, batch)

    monkeypatch.setattr(Trainer, "_train_step", step)
    with pytest.raises(SystemExit, match="stopped after step 7"):
        _train(url, tmp_path / "run")
    monkeypatch.setattr(Trainer, "_train_step", OWN_STEP)
    _ingest(url, _later(), prune=True)
    _train(url, tmp_path / "run", "--resume")
    assert _info(tmp_path / "run")["data_versions"] == [
        {"version": 1, "from_step": 0},
        {"version": 2, "from_step": 7},
    ]


def _mark(url: str, state: str) -> None:
    with graphstore.open(url, "w") as store:
        store.query("MATCH (m:Metadata {key: 'ingest'}) SET m.value = $state RETURN m.value AS value", state=state)


def test_a_run_waits_for_an_ingest_that_is_under_way(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _mark(url, "unfinished")

    def finish() -> None:
        time.sleep(2)
        _mark(url, "finished")

    ending = threading.Thread(target=finish)
    ending.start()
    _train(url, tmp_path / "run")
    ending.join()
    assert capsys.readouterr().out.count("an ingest is under way or was cut off") == 1


def test_after_the_limit_it_says_so(url: str) -> None:
    _mark(url, "unfinished")
    with graphstore.open(url) as store, pytest.raises(IngestUnderWay, match="under way or was cut off"):
        following.wait_until_settled(store, limit=1.0)


def test_a_reader_that_does_not_follow_refuses_to_mix(url: str) -> None:
    with graphstore.open(url) as store:
        assert not store.changed()
        store.neighbours([0])
        _ingest(url, _later(), prune=True)
        assert store.changed()
        with pytest.raises(StoreError, match="was changed by another ingest"):
            store.neighbours([0])
        store.catch_up()
        assert not store.changed()
        assert len(store.neighbours([0]).value) > 0
