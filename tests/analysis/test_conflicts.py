"""Conflicts: folds, what a fold's model may know, how well planted values are found, stopping and going on."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import graphstore
from analysis import conflicts
from analysis.conflicts import COLUMNS, NAME, PLANTED, Arguments, fold_of, load_conflicts
from analysis.planting import KEY
from graphstore import Store
from k3m import train
from k3m.ranks import Predictor
from tests.analysis.shop import shop
from tests.k3m.conftest import TINY


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("store") / "shop"
    graphstore.write_snapshot(shop(150), path)
    return str(path)


def _run(location: str, out: Path, *words: str) -> pd.DataFrame:
    conflicts.main(["--store", location, "--out", str(out), *words])
    return pd.read_parquet(out / NAME)


@pytest.fixture(scope="module")
def planted(location: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("planted") / "out"
    _run(location, out, "--model", "tabular", "--folds", "3", "--plant", "0.05")
    return out


def test_folds_divide_the_training_triples_by_their_names(location: str) -> None:
    with graphstore.open(location) as store:
        triples = store.triples((None, "test")).to_pandas()
    fold = fold_of(triples, 4, seed=0)
    assert set(fold[triples["split"].isna()]) == {0, 1, 2, 3}
    assert (fold[triples["split"].notna()] == -1).all()
    sizes = np.bincount(fold[fold >= 0])
    assert sizes.min() > 0.7 * sizes.mean()
    shuffled = triples.sample(frac=1.0, random_state=0)
    np.testing.assert_array_equal(fold_of(shuffled, 4, seed=0), fold[shuffled.index])
    assert (fold_of(triples, 4, seed=1) != fold).any()


def test_every_training_triple_is_judged_once_the_most_suspect_first(planted: Path, location: str) -> None:
    found = pd.read_parquet(planted / NAME)
    assert tuple(found) == COLUMNS
    with graphstore.open(location) as store:
        assert len(found) == store.num_training_triples
    assert not found.duplicated(KEY).any()
    assert found["suspicion"].is_monotonic_decreasing
    assert found["probability"].between(0, 1).all()
    assert (found["suggested"] != found["value"]).all()
    assert not list(planted.glob("fold-*/data"))


def test_planted_values_are_found_far_better_than_by_chance(planted: Path) -> None:
    figures = pd.read_json(planted / "metrics.json")["tabular"]
    assert figures["planted"] == len(pd.read_parquet(planted / PLANTED)) == round(0.05 * figures["judged"])
    assert figures["average_precision"] > 5 * figures["chance"]
    assert "| tabular |" in (planted / "table.md").read_text(encoding="utf-8")


class Watched:
    """A floor that notes what its store has for training."""

    seen: list[set[tuple[str, str, str]]]

    def __init__(self, store: Store, candidates: Any) -> None:
        self.inner = OWN(store, candidates)
        Watched.seen.append(set(store.triples().to_pandas()[KEY].itertuples(index=False, name=None)))

    def score(self, property: str, items: Any) -> np.ndarray:
        return self.inner.score(property, items)


OWN = conflicts.FLOORS["tabular"]


def test_no_model_trains_on_what_it_judges(location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the planted triples too; and what they replaced is seen by none."""
    Watched.seen = []
    monkeypatch.setitem(conflicts.FLOORS, "tabular", Watched)
    _run(location, tmp_path / "out", "--model", "tabular", "--folds", "3", "--plant", "0.1")
    planted = pd.read_parquet(tmp_path / "out" / PLANTED)
    originals = set(planted[["item", "property", "original"]].itertuples(index=False, name=None))
    wrong, judged = set(planted[KEY].itertuples(index=False, name=None)), set()
    assert len(Watched.seen) == 3
    for fold, seen in enumerate(Watched.seen):
        table = pd.read_parquet(tmp_path / "out" / f"fold-{fold}" / "tabular.parquet")
        asked = set(table[KEY].itertuples(index=False, name=None))
        assert not asked & seen
        assert not originals & seen
        assert wrong <= asked | seen  # those of the other folds are facts like any other
        judged |= asked
    assert wrong <= judged


def test_stopped_and_repeated_equals_undisturbed(
    location: str, planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def second_fails(*arguments: Any) -> Predictor:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return OWN(*arguments)

    words = ("--model", "tabular", "--folds", "3", "--plant", "0.05")
    with monkeypatch.context() as patched:
        patched.setitem(conflicts.FLOORS, "tabular", second_fails)
        with pytest.raises(KeyboardInterrupt):
            _run(location, tmp_path, *words)
        assert not (tmp_path / NAME).exists()
        _run(location, tmp_path, *words)
    assert len(calls) == 4  # the first fold's judgement was kept
    for name in (NAME, PLANTED, "metrics.json"):
        assert (tmp_path / name).read_bytes() == (planted / name).read_bytes()


def test_a_share_of_no_triple_is_refused_before_anything_is_done(location: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to plant"):
        _run(location, tmp_path / "out", "--model", "tabular", "--plant", "1e-6")
    assert not (tmp_path / "out").exists()


def test_a_folder_belongs_to_one_question(planted: Path, location: str) -> None:
    with pytest.raises(ValueError, match="begun with another folds, plant: name another folder"):
        _run(location, planted, "--model", "tabular", "--folds", "4")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 1}, "--folds must be at least 2"),
        ({"plant": 1.0}, r"--plant must be in \[0, 1\)"),
        ({"model": ("tabular", "tabular")}, "distinct names of k3m, tabular, visual"),
        ({"model": ("k3m",)}, "name one by --run"),
    ],
)
def test_words_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Arguments(store="s", out=Path("o"), **({"model": ("tabular",)} | options))


def test_reports_read_a_finished_catalogue_s_alone(planted: Path, location: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"conflicts\.parquet is missing"):
        load_conflicts(tmp_path)
    with pytest.raises(ValueError, match="has planted values"):
        load_conflicts(planted)
    found = _run(location, tmp_path / "out", "--model", "tabular", "--folds", "2")
    pd.testing.assert_frame_equal(load_conflicts(tmp_path / "out"), found)


@pytest.fixture(scope="module")
def run(location: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained without link prediction."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    train.main(["--store", location, "--run", str(folder), "--set", *TINY, "train.steps=2", "loss.lpm=0"])
    return folder


@pytest.mark.slow
def test_k3m_judges_stops_in_time_and_goes_on_to_the_same(
    run: Path, location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--run", str(run), "--from", str(run), "--folds", "2", "--set", "loss.lpm=30", "train.steps=4")
    whole = _run(location, tmp_path / "whole", *words)
    assert len(whole) == graphstore.open(location).num_training_triples
    monkeypatch.setattr(conflicts, "_left", lambda plan, arguments: 1e-9)  # not one step of time
    with pytest.raises(SystemExit, match="the same command goes on"):
        _run(location, tmp_path / "stopped", *words, "--max-minutes", "1")
    monkeypatch.undo()
    pd.testing.assert_frame_equal(_run(location, tmp_path / "stopped", *words), whole)
    with pytest.raises(ValueError, match="begun with another config"):
        _run(location, tmp_path / "whole", *words, "--epochs", "2")


@pytest.mark.slow
def test_weights_that_know_the_triples_are_refused(run: Path, location: str, tmp_path: Path) -> None:
    knowing = tmp_path / "knowing"
    knowing.mkdir()
    text = (run / "config.toml").read_text(encoding="utf-8").replace("lpm = 0.0", "lpm = 1.0")
    (knowing / "config.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"was trained on the triples that are to be judged \(loss.lpm = 1.0\)"):
        _run(location, tmp_path / "out", "--run", str(run), "--from", str(knowing), "--set", "loss.lpm=30")
    with pytest.raises(ValueError, match="learns nothing of the triples"):
        _run(location, tmp_path / "out", "--run", str(run), "--from", str(run))
    with pytest.raises(ValueError, match=r"holds no run: config\.toml is missing"):
        _run(location, tmp_path / "out", "--run", str(tmp_path))
