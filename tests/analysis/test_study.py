"""Studies: what a file may say, cells trained and ranked side by side, stopped and gone on with."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import tomli_w

import graphstore
import k3m
from analysis import study as command
from analysis.study import RANKS, Arguments, Study, run_cell, table
from k3m.candidates import Candidates
from k3m.ranks import link_metrics, rank_triples
from tests.catalogues import tiny_catalogue
from tests.k3m.conftest import TINY

SPLIT = "valid"


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder, tables = tmp_path_factory.mktemp("store") / "snapshot", tiny_catalogue()
    with graphstore.from_tables(tables.items, tables.triples, images=tables.images) as store:
        graphstore.write_snapshot(store, folder)
    return str(folder)


def _file(folder: Path, rows: dict[str, dict], **more: object) -> Path:
    file = folder / "study.toml"
    common = {"evaluate": [SPLIT], "settings": [*TINY, "train.epochs=1"]}
    file.write_text(tomli_w.dumps(common | more | {"rows": rows}), encoding="utf-8")
    return file


@pytest.mark.slow
def test_every_cell_is_trained_and_ranked_once(location: str, tmp_path: Path) -> None:
    rows = {"as it is": {}, "no image": {"settings": ["visible.without=image"]}}
    arguments = Arguments(store=location, study=_file(tmp_path, rows, seeds=[0, 1]), out=tmp_path / "out", jobs=2)
    command.main(arguments)
    found = pd.read_csv(tmp_path / "out" / "results.csv")
    assert set(zip(found["row"], found["seed"], strict=True)) == {(row, seed) for row in rows for seed in (0, 1)}
    mrr = found[found["metric"] == "mrr"].set_index(["row", "seed"])["value"]
    assert mrr.nunique() == 4
    with graphstore.open(location) as store:
        triples = store.triples((None, *store.counts().splits)).to_pandas()
        asked = triples[triples["split"] == SPLIT]
        predictor = k3m.load(tmp_path / "out" / "runs" / "no-image-1").predictor(store)
        ranks = rank_triples(predictor, asked, triples, Candidates.from_store(store))
    assert mrr["no image", 1] == pytest.approx(link_metrics(ranks, asked["property"].to_numpy())["mrr"])
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").rglob("*")}
    command.main(arguments)
    assert written == {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").rglob("*")}


def test_a_cell_that_was_stopped_goes_on_to_the_ranks_of_an_undisturbed_one(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [cell] = Study.load(_file(tmp_path, {"row": {}})).cells
    run_cell(location, cell, [SPLIT], tmp_path / "undisturbed")
    take = command.train.Trainer._take

    def stopped(self: command.train.Trainer, *step: object) -> None:
        take(self, *step)  # type: ignore[arg-type]
        if self.state.step == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(command.train.Trainer, "_take", stopped)
        with pytest.raises(SystemExit, match="stopped after step 1"):
            run_cell(location, cell, [SPLIT], tmp_path / "stopped")
    assert not (tmp_path / "stopped" / RANKS).exists()
    run_cell(location, cell, [SPLIT], tmp_path / "stopped")
    undisturbed = pd.read_parquet(tmp_path / "undisturbed" / RANKS)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "stopped" / RANKS), undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_ends_what_runs_and_begins_nothing_more(number: signal.Signals, location: str, tmp_path: Path) -> None:
    """The signal reaches the study alone: its cells get it from there, leave a checkpoint and end."""
    file = _file(tmp_path, {"first": {}, "second": {}}, settings=[*TINY, "train.epochs=500", "train.log_every=1"])
    words = ["--store", location, "--study", str(file), "--out", str(tmp_path / "out")]
    started = subprocess.Popen(
        [sys.executable, "-m", "analysis.study", *words],
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        stderr=subprocess.DEVNULL,
    )
    lines = tmp_path / "out" / "runs" / "first-0" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (lines.exists() and lines.read_text().count("\n") > 3):
        assert time.monotonic() < deadline
        assert started.poll() is None
        time.sleep(0.1)
    started.send_signal(number)
    assert started.wait(timeout=120) != 0
    steps = lines.read_text()
    assert (lines.parent / "checkpoint.safetensors").exists()
    time.sleep(2)
    assert lines.read_text() == steps
    assert not (tmp_path / "out" / "runs" / "second-0").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rows": {"a": {"setting": []}}}, "unknown key setting in row a: expected one of preset, settings"),
        ({"rows": {"a": {}}, "row": {}}, "unknown key row in the study"),
        ({"rows": {"a": {"settings": ["model.fusion=glue"]}}}, "model.fusion must be one of"),
        ({"rows": {"a": {"preset": "huge"}}}, "unknown preset 'huge'"),
        ({"rows": {"a b": {}, "a-b": {}}}, "whose names differ"),
        ({}, "a study has one row or more"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(values: dict, message: str, tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(tomli_w.dumps(values), encoding="utf-8")
    with pytest.raises(ValueError, match=message) as refused:
        Study.load(file)
    assert str(file) in str(refused.value)


def test_the_table_has_means_and_deviations() -> None:
    found = pd.DataFrame(
        [("a", 0, "test", "mrr", 0.8, 10.0), ("a", 1, "test", "mrr", 0.9, 20.0), ("b", 0, "test", "mrr", 0.5, 5.0)],
        columns=["row", "seed", "split", "metric", "value", "minutes"],
    )
    assert table(found, ["test"]).splitlines()[2:] == [
        "| a | 2 | .8500 ± .0707 |  | 15 |",
        "| b | 1 | .5000 |  | 5 |",
    ]
