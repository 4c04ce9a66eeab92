"""What goes wrong around an ingest: processes that are killed or meet, servers with limits, files that do not open."""

import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import graphstore
from graphstore import BrokenStore, IngestReport, ReadOnlyStore, Store, StoreLocked, TransactionTooLarge
from graphstore.locks import Mark
from graphstore.neo4j_import import write_import
from k3m import train
from k3m.trainer import Trainer
from loaders import demo, ingest
from tests.catalogues import Tables, tiny_catalogue
from tests.contracts.test_store import HOSTILE
from tests.k3m.conftest import TINY
from tests.parity.test_stores import snapshot_files
from tests.stores import DATABASES, empty_database, ingested
from tools.neo4j import server

INGEST = """
import pickle, sys, time
import graphstore
from graphstore import neo4j_store

neo4j_store._BATCH = 1000
location, tables, stop = sys.argv[1:]
store = graphstore.open(location, "w")
step = getattr(type(store), stop)

def announced(self, *arguments):
    print("now", flush=True)
    step(self, *arguments)
    sys.stdin.readline()

setattr(type(store), stop, announced)
items, triples, properties = pickle.load(open(tables, "rb"))
store.ingest(items, triples, properties)
"""


@contextmanager
def ingesting(location: object, tables: Tables, folder: Path, stop: str) -> Iterator[subprocess.Popen[str]]:
    """Another process in the middle of an ingest: its step `stop` has begun, and it waits after it. Killed at the
    end."""
    file = folder / "tables.pickle"
    file.write_bytes(pickle.dumps((tables.items, tables.triples, tables.properties)))
    process = subprocess.Popen(
        [sys.executable, "-c", INGEST, str(location), str(file), stop],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "now\n"
            yield process
        finally:
            process.kill()


def many_triples(n_items: int = 2500) -> Tables:
    """Batches enough that some are written and some not when the process ends."""
    random = np.random.default_rng(1)
    items = pd.DataFrame({"id": [f"item-{k}" for k in range(n_items)], "title": "a thing"})
    triples = pd.DataFrame(
        {
            "item": np.repeat(items["id"].to_numpy(), 12),
            "property": [f"property {k}" for k in range(12)] * n_items,
            "value": [f"value {k}" for k in random.integers(0, 900, 12 * n_items)],
        }
    )
    return Tables(items, triples, {}, pd.DataFrame({"name": ["property 1"], "group": ["graph"]}))


@pytest.mark.slow
@pytest.mark.parametrize("kind", DATABASES)
@pytest.mark.parametrize("stop", ["_add_nodes", "_add_triples", "_require_triples"])
def test_an_ingest_that_was_killed_is_completed_by_the_same_again(
    kind: str, stop: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    tables, location = many_triples(), empty_database(kind, request)
    with ingesting(location, tables, tmp_path, stop) as process:
        if (kind, stop) == ("neo4j", "_add_triples"):
            wait_for_triples(str(location))
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    with graphstore.open(location, "w") as store:
        if (kind, stop) == ("neo4j", "_add_triples"):
            assert 0 < store.counts().triples < len(tables.triples)
        store.ingest(tables.items, tables.triples, tables.properties)
        assert store.data_version == 1
        graphstore.write_snapshot(store, tmp_path / "again")
    with ingested(tmp_path / "undisturbed.lbdb", tables) as undisturbed:
        graphstore.write_snapshot(undisturbed, tmp_path / "undisturbed")
    assert snapshot_files(tmp_path / "again") == snapshot_files(tmp_path / "undisturbed")


def wait_for_triples(url: str) -> None:
    with graphstore.open(url) as store:
        while store.query("MATCH ()-[h:HAS]->() RETURN count(*) AS n")["n"][0] == 0:
            time.sleep(0.01)


@pytest.mark.parametrize("kind", DATABASES)
def test_a_prune_that_was_killed_is_completed_by_the_same_again(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the process itself: between two steps a kill and an exception leave the same."""
    tables, location = tiny_catalogue(30), empty_database(kind, request)
    items, triples = tables.items[:20], tables.triples[tables.triples["item"].isin(tables.items["id"][:20])]
    ingested(location, tables).close()
    with graphstore.open(location, "w") as store:
        for step in ("_remove_triples", "_remove_nodes", "_add_nodes"):
            with monkeypatch.context() as cut:
                cut.setattr(type(store), step, _cut_off)
                with pytest.raises(InterruptedError):
                    store.ingest(items, triples, tables.properties, prune=True)
        store.ingest(items, triples, tables.properties, prune=True)
        graphstore.write_snapshot(store, tmp_path / "pruned")
    with ingested(tmp_path / "fresh.lbdb", Tables(items, triples, tables.images, tables.properties)) as fresh:
        graphstore.write_snapshot(fresh, tmp_path / "fresh")
    assert snapshot_files(tmp_path / "pruned") == snapshot_files(tmp_path / "fresh")


def _cut_off(*_: object) -> None:
    raise InterruptedError


# Two at once


def test_a_second_ingest_into_neo4j_is_refused_until_the_first_has_ended(
    neo4j_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tables = tiny_catalogue(20)
    with graphstore.open(neo4j_url, "w") as store:
        with ingesting(neo4j_url, tables, tmp_path, "_add_triples") as other:
            with pytest.raises(StoreLocked) as refused:
                store.ingest(tables.items, tables.triples)
            today = datetime.now(UTC).date().isoformat()
            expected = f"process {other.pid} on {socket.gethostname()} began an ingest at {today}T"
            assert f"{neo4j_url}: {expected}" in str(refused.value)
            assert "if it was stopped, ingest with --take-over" in str(refused.value)
        report = store.ingest(tables.items, tables.triples, tables.properties)  # the other was killed
        assert report.data_version == 1
        assert store.counts().triples == len(tables.triples)
        assert store.ingest(tables.items, tables.triples).data_version == 1  # the mark went with the ingest


def test_an_ingest_of_another_machine_is_taken_over_on_request_only(
    neo4j_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tables = tiny_catalogue(20)
    mark = Mark("elsewhere", 1, "2026-01-02T03:04:05+00:00")
    with graphstore.open(neo4j_url, "w") as store:
        store.query("CREATE (:Metadata {key: 'ingester', value: $mark})", mark=str(mark))
        with pytest.raises(StoreLocked, match="process 1 on elsewhere began an ingest at 2026-01-02T03:04:05"):
            store.ingest(tables.items, tables.triples)
        assert store.num_items == 0
        assert store.ingest(tables.items, tables.triples, take_over=True).items_new == 20
        assert store.query("MATCH (m:Metadata {key: 'ingester'}) RETURN m.value AS held").empty


def test_a_second_ingest_into_a_file_is_refused(tmp_path: Path) -> None:
    location = tmp_path / "store.lbdb"
    with ingesting(location, tiny_catalogue(20), tmp_path, "_add_triples") as other:
        with pytest.raises(StoreLocked, match=f"store.lbdb is in use by process {other.pid}: writing needs it alone"):
            graphstore.open(location, "w")


# Beside a training run


def _train_with(neo4j_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch, tables: Tables) -> list[int]:
    """Train; another handle ingests `tables` after the second step. The steps taken."""
    steps: list[int] = []
    take = Trainer._take

    def taken(self: Trainer, *arguments: object) -> None:
        take(self, *arguments)  # type: ignore[arg-type]
        steps.append(self.state.step)
        if self.state.step == 2:
            with graphstore.open(neo4j_url, "w") as other:
                other.ingest(tables.items, tables.triples, tables.properties)

    monkeypatch.setattr(Trainer, "_take", taken)
    train.main(["--store", neo4j_url, "--run", str(folder / "run"), "--set", *TINY, "train.epochs=1"])
    return steps


def test_training_goes_on_beside_an_ingest_that_changes_nothing(
    neo4j_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ingested(neo4j_url, tiny_catalogue()).close()
    assert _train_with(neo4j_url, tmp_path, monkeypatch, tiny_catalogue()) == [1, 2, 3, 4, 5]


# Servers with limits


@contextmanager
def own_server(home: Path, settings: Mapping[str, str]) -> Iterator[str]:
    """The URL of a server with these settings, and data that stay in `home`; its password in the environment."""
    try:
        running = server.start(home, server.load(home), settings)
    except server.NoServer as reason:
        pytest.skip(str(reason))
    server.save(running, home)
    before = os.environ.get(server.PASSWORD)
    os.environ[server.PASSWORD] = running.password
    try:
        yield running.url
    finally:
        server.stop(running, home)
        os.environ.pop(server.PASSWORD)
        os.environ |= {server.PASSWORD: before} if before is not None else {}


@pytest.mark.slow
@pytest.mark.neo4j
def test_a_server_with_little_memory_and_then_one_that_takes_no_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    home, tables = tmp_path / "home", many_triples(1500)
    with own_server(home, {"db.memory.transaction.max": "4m"}) as url, graphstore.open(url, "w") as store:
        assert store.ingest(tables.items, tables.triples).triples_new == 18_000
        assert store.counts().triples == 18_000
        with pytest.raises(TransactionTooLarge, match="more than the limit 4"):
            store.query("UNWIND range(1, 1000000) AS k RETURN collect(toString(k) + 'text') AS all")
        one_too_large = pd.DataFrame({"id": ["huge"], "title": ["x" * 9_000_000]})
        with pytest.raises(TransactionTooLarge, match="more than the limit 4"):
            store.ingest(one_too_large, tables.triples[:0])
    with own_server(home, {"server.databases.read_only": "neo4j"}) as url:
        with graphstore.open(url) as store:
            assert store.counts().triples == 18_000
        with pytest.raises(ReadOnlyStore, match=r"\(server.databases.read_only\): No write operations are allowed"):
            graphstore.open(url, "w")


def hostile() -> Tables:
    """The tiny catalogue, and an item for each string that could break a file of import."""
    tables, texts = tiny_catalogue(), [*HOSTILE.values(), '"', '""', ",", "a;b|c", "\\", "\r", "\ufeff", "true", "1"]
    ids = [f"{text[:1000]} " for text in texts]
    items = pd.DataFrame({"id": ids, "title": texts, "maker": ["", *texts[1:]], "price": float("inf"), "ok": True})
    triples = pd.DataFrame({"item": ids, "property": ids, "value": texts, "source": "", "split": [None, *ids[1:]]})
    return Tables(pd.concat([tables.items, items]), pd.concat([tables.triples, triples]), {}, tables.properties)


@pytest.mark.slow
@pytest.mark.neo4j
def test_an_offline_import_gives_the_graph_of_an_ingest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    home, files, tables = tmp_path / "home", tmp_path / "files", hostile()
    with own_server(home, {}) as url, graphstore.open(url, "w") as store:
        given = tables.items, tables.triples, tables.properties
        store.ingest(*given)
        online = whole(url)
        with pytest.raises(server.Refused, match=r"holds \d+ nodes: an import is for an empty database"):
            server.import_kept(home, files)
        store.query("MATCH (n) DETACH DELETE n")
        assert write_import(store, files, *given) == IngestReport(len(given[0]), 0, 0, len(given[1]), 0, 0, 1)
        assert server.import_kept(home, files) == 0
        moved = server.load(home)
        assert moved is not None
        try:
            assert whole(moved.url) == online
            with graphstore.open(moved.url, "w") as again:
                report = again.ingest(*given, prune=True)
                assert (report.items_unchanged, report.data_version) == (len(given[0]), 1)
        finally:
            server.stop(moved, home)


def whole(url: str) -> dict[str, list[str]]:
    """Nodes, relationships, constraints and indexes."""
    asked = {
        "nodes": "MATCH (n) RETURN labels(n) AS labels, properties(n) AS held",
        "triples": "MATCH (i)-[h]->(v) RETURN i.id AS item, type(h) AS kind, properties(h) AS held, v.text AS value",
        "constraints": "SHOW CONSTRAINTS YIELD name, type, labelsOrTypes, properties",
        "indexes": "SHOW INDEXES YIELD name, type, labelsOrTypes, properties, state",
    }
    with graphstore.open(url) as store:
        found = {name: store.query(cypher).to_dict("records") for name, cypher in asked.items()}
    rows = {name: sorted(repr(_ordered(row)) for row in records) for name, records in found.items()}
    assert min(map(len, rows.values())) > 3
    return rows


def _ordered(row: dict[Any, Any]) -> list[tuple[str, object]]:
    return [(k, sorted(v.items()) if isinstance(v, dict) else v) for k, v in sorted(row.items())]


# Files that do not open


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("cut off", lambda data: data[: len(data) // 2]),
        ("zeros at the head", lambda data: bytes(4096) + data[4096:]),
        ("one page", lambda data: data[:4096]),
        ("zeros after the first page", lambda data: data[:4096] + bytes(len(data) - 4096)),
        ("ones after the first page", lambda data: data[:4096] + b"\xff" * (len(data) - 4096)),
    ],
)
def test_a_file_that_does_not_open_is_set_aside_and_built_anew(
    name: str, damage: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(damage)
    demo.main([str(tmp_path / "shop"), "--items", "20", "--seed", "1"])
    location = tmp_path / "store.lbdb"
    command = ["demo", str(tmp_path / "shop"), "--store", str(location)]
    ingest.main(command)
    with graphstore.open(location) as store:
        counts = asdict(store.counts())
    broken = damage(location.read_bytes())
    location.write_bytes(broken)
    with pytest.raises(BrokenStore, match=r"store.lbdb does not open: .* \(k3m ingest sets it aside and builds it"):
        graphstore.open(location)
    capsys.readouterr()
    assert ingest.main(command) == 0
    [aside] = [path for path in tmp_path.glob("store.lbdb.broken-*") if path.suffix != ".wal"]
    assert aside.read_bytes() == broken
    assert re.search(rf"does not open: .*\nset aside: {aside}\n", capsys.readouterr().err)
    with graphstore.open(location) as store:
        assert asdict(store.counts()) == counts
        assert store.data_version == 1


def require_counts(store: Store, triples: int, training: int) -> None:
    assert (store.counts().triples, store.counts().training_triples) == (triples, training)


@pytest.mark.parametrize("kind", DATABASES)
def test_ten_thousand_triples_on_one_item(kind: str, request: pytest.FixtureRequest) -> None:
    items = pd.DataFrame({"id": ["all", "none"]})
    triples = pd.DataFrame({"item": "all", "property": "p", "value": [f"v{k:05}" for k in range(10_000)]})
    with graphstore.open(empty_database(kind, request), "w") as store:
        store.ingest(items, triples)
        require_counts(store, 10_000, 10_000)
        assert store.neighbours([0]).edge_id.tolist() == list(range(10_000))
        kept_back = triples.assign(split=np.array(["test"] * 1000 + [None] * 9000, dtype=object))
        assert store.ingest(items, kept_back).triples_changed == 1000
        require_counts(store, 10_000, 9000)
        assert store.ingest(items, kept_back[5000:], prune=True).triples_removed == 5000
        require_counts(store, 5000, 5000)
        assert store.value_texts(store.neighbours([0]).value).tolist() == triples["value"][5000:].tolist()
