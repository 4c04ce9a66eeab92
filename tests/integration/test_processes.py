"""Two processes under torchrun, on a CPU: the same training as one process with the double batch."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import graphstore
from k3m import train
from tests.catalogues import tiny_catalogue
from tests.k3m.conftest import TINY

pytestmark = pytest.mark.slow
# Gumbel noise and dropout are each process's own, and replaced items come from its own part of the batch.
SAME = ("model.fusion=soft", "model.dropout=0", "loss.item_negatives=0", "train.log_every=1", "train.epochs=2")


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, tables = tmp_path_factory.mktemp("store") / "store.lbdb", tiny_catalogue(n_items=42)
    with graphstore.open(path, "w") as store:
        for data in tables.images.values():
            store.images.add(data)
        store.ingest(tables.items, tables.triples)
    return path


def _command(location: Path, run: Path, *words: str) -> list[str]:
    given = [*TINY, *SAME, "data.batch_size=4"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return [*torchrun, "-m", "k3m.train", "--", "--store", str(location), "--run", str(run), *words, "--set", *given]


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}


def _metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def alone(location: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("alone") / "run"
    train.main(["--store", str(location), "--run", str(run), "--set", *TINY, *SAME, "data.batch_size=8"])
    return run


@pytest.fixture(scope="module")
def shared(location: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("shared") / "run"
    subprocess.run(_command(location, run), env=_environment(), check=True, timeout=600)
    return run


def test_two_processes_have_the_losses_of_one_with_the_double_batch(alone: Path, shared: Path) -> None:
    """42 items in batches of 8: the last batch of an epoch has two, one a process."""
    ours, theirs = _metrics(shared), _metrics(alone)
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    assert max(line["step"] for line in ours) == 12
    for one, other in zip(ours, theirs, strict=True):
        for name in ("lpm", "mlm", "mom", "loss", "valid_mrr"):
            assert one.get(name) == pytest.approx(other.get(name), rel=2e-4), (one["step"], name)


def test_and_its_weights(alone: Path, shared: Path) -> None:
    ours, theirs = (load_file(run / "checkpoint.safetensors") for run in (shared, alone))
    for name in theirs:
        if name.startswith("model."):
            assert torch.allclose(ours[name], theirs[name], atol=2e-3), name  # AdamW steps of 1e-3


def test_a_stop_of_both_leaves_a_checkpoint_and_resume_ends_as_if_undisturbed(
    location: Path, shared: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with subprocess.Popen(_command(location, run), env=_environment(), start_new_session=True) as process:
        _wait_for_a_line(run / "metrics.jsonl", process)
        process.send_signal(signal.SIGTERM)  # torchrun hands it on
        process.wait(timeout=300)
    subprocess.run(_command(location, run, "--resume"), env=_environment(), check=True, timeout=600)
    ours, theirs = (load_file(folder / "checkpoint.safetensors") for folder in (run, shared))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs if name.startswith("model."))


def _wait_for_a_line(path: Path, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(3000):
        if path.exists() and path.stat().st_size:
            return
        assert process.poll() is None
        time.sleep(0.1)
    raise AssertionError("no step was taken")
