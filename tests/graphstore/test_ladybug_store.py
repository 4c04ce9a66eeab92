"""The Ladybug file: its lock, seen from a second process, and what is no store."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ladybug
import numpy as np
import pytest

import graphstore
from graphstore import BrokenStore, NoEmbedding, QueryError, StoreError, StoreLocked, StoreNotFound, ladybug_store
from tests.catalogues import tiny_catalogue
from tests.stores import ingested

HOLD = """
import sys, graphstore
store = graphstore.open(sys.argv[1], sys.argv[2])
print(store.num_items, flush=True)
sys.stdin.read()
store.close()
print("closed", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    ingested(tmp_path / "store.lbdb", tiny_catalogue(8)).close()
    return tmp_path / "store.lbdb"


@contextmanager
def held(path: Path, mode: str) -> Iterator[subprocess.Popen[str]]:
    """Another process with the store open; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "8\n"
            yield process
        finally:
            process.kill()


def test_a_writer_beside_a_reader_is_refused_by_process(path: Path) -> None:
    with held(path, "r") as other, pytest.raises(StoreLocked) as refused:
        graphstore.open(path, "w")
    assert str(refused.value) == f"{path} is in use by process {other.pid}: writing needs it alone"


@pytest.mark.parametrize("mode", ["r", "w"])
def test_a_file_that_has_lost_its_tables_is_no_empty_store(path: Path, mode: graphstore.Mode) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:4096] + bytes(len(data) - 4096))
    for _ in range(2):  # the lock was given back
        with pytest.raises(
            BrokenStore, match=rf"store.lbdb does not open: no tables in {len(data)} bytes \(k3m ingest"
        ):
            graphstore.open(path, mode)
    assert path.read_bytes()[4096:] == bytes(len(data) - 4096)


@pytest.mark.parametrize("moment", ["open", "closed", "empty"])
def test_a_file_without_tables_yet_takes_its_first_ingest(tmp_path: Path, moment: str) -> None:
    """What a process leaves that was killed before it made them."""
    path = tmp_path / "new.lbdb"
    database = ladybug.Database(str(path))
    left = {"open": path.read_bytes(), "empty": b""}
    database.close()
    left["closed"] = path.read_bytes()
    assert 0 < len(left["open"]) < len(left["closed"]) == ladybug_store.EMPTY_BYTES
    path.write_bytes(left[moment])
    with ingested(path, tiny_catalogue(8)) as store:
        assert store.num_items == 8


@pytest.mark.parametrize("mode", ["r", "w"])
def test_nobody_opens_what_is_being_written(path: Path, mode: graphstore.Mode) -> None:
    with held(path, "w") as other, pytest.raises(StoreLocked, match=f"store.lbdb is in use by process {other.pid}: "):
        graphstore.open(path, mode)


def test_readers_stand_side_by_side(path: Path) -> None:
    with held(path, "r"), held(path, "r"), graphstore.open(path) as store:
        assert store.num_items == 8


def test_two_handles_of_one_process_read(path: Path) -> None:
    with graphstore.open(path) as one:
        with graphstore.open(path) as other:
            assert one.neighbours([1]).edge_id.tolist() == other.neighbours([1]).edge_id.tolist()
        assert one.num_items == 8
        with pytest.raises(StoreLocked, match=f"in use by process {os.getpid()}: writing needs it alone"):
            graphstore.open(path, "w")
    graphstore.open(path, "w").close()


def test_two_writers_of_one_process_are_refused(path: Path) -> None:
    with graphstore.open(path, "w"), pytest.raises(StoreLocked, match=f"in use by process {os.getpid()}: "):
        graphstore.open(path, "w")


def test_the_lock_ends_with_the_process(path: Path) -> None:
    with held(path, "w") as other:
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        with graphstore.open(path, "w") as store:
            assert store.num_items == 8


def test_processes_that_ended_are_not_named(path: Path) -> None:
    with held(path, "r") as one, held(path, "r") as other:
        one.kill()
        one.wait()
        with pytest.raises(StoreLocked, match=f"in use by process {other.pid}: "):
            graphstore.open(path, "w")


def test_a_handle_from_before_a_fork_is_refused_in_the_child(path: Path) -> None:
    """It would hang."""
    with graphstore.open(path) as store:
        context = multiprocessing.get_context("fork")
        answers = context.Queue()

        def ask() -> None:
            try:
                store.neighbours([0])
            except StoreError as error:
                answers.put(str(error))
            with graphstore.open(path) as own:
                answers.put(own.num_items)
            store.close()

        child = context.Process(target=ask)
        child.start()
        assert answers.get(timeout=60) == f"{path}: a handle opened before a fork; open the store in this process"
        assert answers.get(timeout=60) == 8
        child.join(60)
        assert child.exitcode == 0
        assert store.num_items == 8


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound, match=r"nothing.lbdb: no store there \(python -m loaders.ingest SOURCE PATH"):
        graphstore.open(tmp_path / "nothing.lbdb")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["r", "w"])
def test_a_file_that_is_no_store_is_refused_and_left(tmp_path: Path, mode: graphstore.Mode) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes " * 1000)
    with pytest.raises(StoreNotFound, match=r"notes.txt does not open as a Ladybug database: .*not a valid"):
        graphstore.open(path, mode)
    assert path.read_text() == "my notes " * 1000


def test_two_statements_are_no_query(path: Path) -> None:
    with graphstore.open(path) as store:
        with pytest.raises(graphstore.QueryError, match=r"one statement a query \(got 2\)"):
            store.query("MATCH (i:Item) RETURN i.id; MATCH (v:Value) RETURN v.text;")


def test_a_file_of_before_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.lbdb"
    with monkeypatch.context() as before:
        before.setattr(ladybug_store, "SCHEMA", [line for line in ladybug_store.SCHEMA if "embedding" not in line])
        ingested(path, tiny_catalogue(8)).close()
    with graphstore.open(path) as store, pytest.raises(NoEmbedding, match="item 'item-1' has no vector"):
        store.similar("item-1")
    with graphstore.open(path, "w") as store:
        parts = [(["item-1", "item-2"], np.eye(2))]
        assert store.write_embeddings(parts, run="r", model="m", data_version=1) == 2
        assert store.similar("item-1")["id"].tolist() == ["item-2"]


def test_a_file_of_before_completions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no PREDICTED until it is next opened to write, and says so."""
    path, asked = tmp_path / "store.lbdb", "MATCH (:Item)-[p:PREDICTED]->(:Value) RETURN count(*) AS n"
    with monkeypatch.context() as before:
        before.setattr(ladybug_store, "SCHEMA", [line for line in ladybug_store.SCHEMA if "PREDICTED" not in line])
        ingested(path, tiny_catalogue(8)).close()
    with graphstore.open(path) as store:
        assert store.num_items == 8
        with pytest.raises(QueryError, match="Table PREDICTED does not exist"):
            store.query(asked)
    graphstore.open(path, "w").close()
    with graphstore.open(path) as store:
        assert store.query(asked)["n"].tolist() == [0]
        assert store.num_items == 8


def test_a_pool_that_is_too_small_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K3M_LADYBUG_POOL", "64")
    with graphstore.open(path) as store:
        with pytest.raises(
            QueryError, match=r"buffer pool is full.* \(K3M_LADYBUG_POOL gives a process that reads more"
        ):
            store.query("UNWIND range(1, $n) AS n RETURN n, n + 1 AS m", n=10_000_000)
        assert store.num_items == 8
    for wrong in ("63", "", "4 GB", "-1"):
        monkeypatch.setenv("K3M_LADYBUG_POOL", wrong)
        with pytest.raises(ValueError, match=rf"whole number of MiB, 64 or more \(got '{wrong}'\)"):
            graphstore.open(path)


def test_a_file_of_before_there_were_proposals_has_no_rejections(tmp_path: Path) -> None:
    ingested(tmp_path / "store.lbdb", tiny_catalogue(8)).close()
    with graphstore.open(tmp_path / "store.lbdb", "w") as store:
        store.query("DROP TABLE PREDICTED")
    with graphstore.open(tmp_path / "store.lbdb") as store:
        assert store.rejections().to_pylist() == []
        graphstore.write_snapshot(store, tmp_path / "snapshot")
