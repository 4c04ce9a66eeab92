"""Robustness studies: the grid of a file, figures, areas and verdicts by hand, and a small study of real models."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import graphstore
from analysis import robustness
from analysis.robustness import Arguments, Runner, estimate
from analysis.robustness_grid import Study
from analysis.robustness_page import PUBLISHED
from analysis.robustness_results import Results, counted, difference, figure, judged, verdicts
from graphstore import Store
from loaders import demo, ingest
from tests.k3m.tasks.conftest import untrained

GRID: dict[str, Any] = {
    "seeds": [0, 1],
    "tasks": {"classify": {}, "answer": {"tuning": {"epochs": 2}}},
    "models": {"K3M": {"model": "k3m", "kind": "ours"}, "TF-IDF": {"model": "tfidf"}},
    "grid": [
        {"protocols": ["TMR", "MNR"], "ratios": [0, 0.5, 1]},
        {"setting": "train-corrupt", "protocols": ["MNR"], "ratios": [1], "models": ["K3M"], "donors": "category"},
    ],
}


def test_a_grid_is_its_cells_and_clean_input_is_one_of_them() -> None:
    study = Study.from_dict(GRID)
    # 2 tasks x 2 models x 2 seeds x (clean + 2 x 2), and 2 x 2 of the second block
    assert len(study.cells) == 2 * 2 * 2 * 5 + 2 * 2
    assert len({cell.name for cell in study.cells}) == len(study.cells)
    assert len(study.trainings) == 2 * 2 * 2 + 2 * 2
    assert [cell.protocol for cell in study.cells if cell.setting == "train-corrupt"] == ["MNR category"] * 4
    tuned = [cell.tuned for cell in study.cells]
    assert len(set(tuned)) == 1 + sum(one != next for one, next in itertools.pairwise(tuned))
    assert (study.tasks["classify"].tuning.epochs, study.tasks["answer"].tuning.epochs) == (10, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "unknown key seed in the study: expected one of seeds"),
        ({"grid": []}, r"a study has a \[\[grid\]\] of one cell at least"),
        ({"grid": [{"protocols": ["XYZ"]}]}, r"protocols of a grid are among TMR.* \(got XYZ\)"),
        ({"grid": [{"ratios": [2]}]}, r"ratio is a share, 0 to 1 \(got 2\)"),
        ({"tasks": {"sort": {}}}, r"task is one of classify, align, answer \(got 'sort'\)"),
        ({"models": {"a b": {"model": "k3m"}, "a-b": {"model": "tfidf"}}}, "names differ in letters and digits"),
        ({"tuning": {"seed": 3}}, "unknown key seed in tuning"),
    ],
)
def test_a_bad_study_is_refused_by_name(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        Study.from_dict(GRID | change)


def test_a_file_that_is_no_study_is_named(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("[tuning]\nepochs = 0\n")
    with pytest.raises(ValueError, match=r"s.toml: epochs must be at least 1 \(got 0\)"):
        Study.load(tmp_path / "s.toml")


def test_figures_of_a_task_by_hand() -> None:
    answers = pd.DataFrame({"group": ["a", "a", "b"], "outcome": [1.0, 0.05, 0.1]})
    counts = counted(answers, "answer")  # rank 1 and rank 10 are among the first ten, rank 20 is not
    assert counts.to_numpy().tolist() == [[1, 2], [1, 1]]
    assert figure(counts.to_numpy().sum(0), "answer") == pytest.approx(2 / 3)
    pairs = pd.DataFrame({"group": list("abcd"), "label": [1, 1, 0, 0], "predicted": [1, 0, 0, 0]})
    # positive: 2 / (2 + 0 + 1) = 2/3; negative: 4 / (4 + 1) = 4/5
    assert figure(counted(pairs, "align").to_numpy().sum(0), "align") == pytest.approx((2 / 3 + 4 / 5) / 2)
    nobody = pd.DataFrame({"group": ["a"], "label": [0], "predicted": [0]})
    assert figure(counted(nobody, "align").to_numpy().sum(0), "align") == 0.5


def test_a_difference_is_paired_by_group() -> None:
    """The same errors and one more right in each tenth group: a small gain that is sure, since all else is equal."""
    groups, right = [f"g{n}" for n in range(200)], np.arange(200) % 3 == 0
    better = right | (np.arange(200) % 10 == 1)
    ours, theirs = (
        counted(pd.DataFrame({"group": groups, "outcome": outcome.astype(float)}), "classify")
        for outcome in (better, right)
    )
    n, own, other, gain, low, high, p = difference(ours, theirs, "classify")
    assert (n, own, other) == (200, better.mean(), right.mean())
    assert gain == pytest.approx(better.mean() - right.mean())
    assert 0 < low < gain < high
    assert p < 0.01
    assert difference(ours, ours, "classify")[3:] == (0.0, 0.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="judged on other examples"):
        difference(ours, theirs.iloc[1:], "classify")


def test_holm_by_hand() -> None:
    """Sorted .01, .02, .04 of three: 3 x .01, 2 x .02, and no less than the one before."""
    found = judged(pd.DataFrame({"p": [0.04, 0.01, 0.02], "gain": [1.0, 1.0, -1.0]}))
    assert found["p_holm"].tolist() == pytest.approx([0.04, 0.03, 0.04])
    assert found["verdict"].tolist() == ["won", "won", "lost"]
    table = verdicts(found.assign(model="m", task="t", setting="s"))
    assert table[["won", "tied", "lost"]].to_numpy().tolist() == [[2, 0, 1]]


def test_the_paper_has_a_figure_for_clean_input_and_each_protocol() -> None:
    assert {len(row) for rows in PUBLISHED.values() for row in rows.values()} == {1 + 7}


# Real models on a generated catalogue


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("demo")
    demo.main([str(folder / "catalogue"), "--items", "200", "--seed", "3"])
    ingest.main(["demo", str(folder / "catalogue"), "--store", str(folder / "store.lbdb")])
    return graphstore.open(str(folder / "store.lbdb"))


def _study(folder: Path, store: Store) -> Path:
    if not (folder / "run").exists():
        untrained(store, folder / "run")
    (folder / "study.toml").write_text(
        f"""
        train_examples = 40
        test_examples = 30
        [tuning]
        epochs = 1
        batch_size = 20
        answers = 8
        [tasks.classify]
        [tasks.answer]
        [models.K3M]
        model = "k3m"
        kind = "ours"
        run = '{folder / "run"}'
        [models.TF-IDF]
        model = "tfidf"
        kind = "text"
        [models.open_clip]
        model = "open_clip"
        [[grid]]
        protocols = ["TMR", "KMR"]
        ratios = [0, 0.5, 1]
        [[grid]]
        setting = "train-corrupt"
        protocols = ["MNR"]
        ratios = [1]
        tasks = ["classify"]
        models = ["TF-IDF"]
        """,
        encoding="utf-8",
    )
    return folder / "study.toml"


@pytest.mark.slow
def test_a_small_study_runs_is_gone_on_with_and_says_what_was_not_run(store: Store, tmp_path: Path) -> None:
    path, out = _study(tmp_path, store), tmp_path / "out"
    study = Study.load(path)
    runner = Runner(study, store, out)
    before = estimate(runner)
    assert (before.trainings, before.judgements, before.measured) == (7, len(study.cells), False)
    *_, third = runner.run(study.cells[:3])
    kept = runner.file(third, ".json").stat().st_mtime_ns
    arguments = Arguments(store=store.location, study=path, out=out)
    robustness.main(arguments)

    assert runner.file(third, ".json").stat().st_mtime_ns == kept
    after = estimate(Runner(study, store, out))
    assert (after.trainings, after.judgements) == (0, 0)
    tidy = pd.read_parquet(out / "results.parquet")
    assert tidy.columns.tolist() == ["task", "model", "setting", "protocol", "ratio", "seed", "metric", "value", "n"]
    assert set(tidy["model"]) == {"K3M", "TF-IDF"}
    page = (out / "page.md").read_text(encoding="utf-8")
    assert "- open_clip, classify: not run: no weights" in page
    assert set(pd.read_parquet(out / "compared.parquet")["verdict"]) <= {"won", "tied", "lost"}
    assert (out / "figures" / "classify-train-clean-curves.png").stat().st_size > 1000
    # A title tells the demo's categories to TF-IDF: without any, it must know less.
    figures = tidy[(tidy["model"] == "TF-IDF") & (tidy["metric"] == "accuracy")]
    accuracy = figures.set_index(["protocol", "ratio"])["value"].to_dict()
    assert len(accuracy) == len(figures)
    assert accuracy["TMR", 1.0] < accuracy["clean", 0.0]
    # What was changed can be looked at: the titles of half of the judged items.
    judged_items = Runner(study, store, out).data("classify").test.items.ravel()
    changes = pd.read_parquet(out / "draws" / "classify-TMR-0.5-0.parquet")
    assert set(changes["modality"]) == {"title"}
    assert len(changes) == int(len(set(judged_items)) / 2 + 0.5)


@pytest.mark.slow
def test_a_study_cell_by_cell_gives_the_figures_of_one_go(store: Store, tmp_path: Path) -> None:
    path = _study(tmp_path, store)
    study = Study.load(path)
    cells = [cell for cell in study.cells if cell.task == "answer" and cell.model == "K3M"][:3]
    list(Runner(study, store, tmp_path / "whole").run(cells))
    for cell in cells:
        list(Runner(study, store, tmp_path / "single").run([cell]))
    for cell in cells:
        whole, single = (
            json.loads(Runner(study, store, tmp_path / name).file(cell, ".json").read_text())["metrics"]
            for name in ("whole", "single")
        )
        assert whole == single
    tables = [Results(study, tmp_path / name).tidy for name in ("whole", "single")]
    assert tables[0].equals(tables[1])
