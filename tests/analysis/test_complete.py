"""The completion command: cells, files, figures by hand, refusals; floors and K3M ranked by one function."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import graphstore
from analysis import answers
from analysis import complete as command
from analysis.answers import answers_of, link_completion
from analysis.cells import cells_of
from analysis.complete import Arguments, complete
from analysis.selective import LIKELY
from analysis.splits import Asked, calibrate_part, splits_of
from graphstore import Store
from k3m import ranks, trained_items
from k3m.candidates import Candidates
from k3m.ranks import CannotScore, NonFiniteScores
from tests.analysis.shop import FixedRun, Knowing, shop, tables
from tests.catalogues import KEPT_BACK_ONLY, tiny_catalogue

KEYS = {"mrr", "hits_at_1", "hits_at_3", "hits_at_10", "macro_mrr", "n"}


def _arguments(tmp_path: Path, **others: Any) -> Arguments:
    return Arguments(run=tmp_path / "run", store="shop", **others)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a completion of the shop wrote."""
    tmp_path = tmp_path_factory.mktemp("completion")
    return complete(shop(), FixedRun(tmp_path / "run"), _arguments(tmp_path, top=2), "k3m complete").parent


def test_the_default_folder_is_in_the_run(written: Path) -> None:
    assert written.parts[-2:] == ("run", "complete")
    assert {path.name for path in written.iterdir()} == {"metrics.json", "completions.parquet", "index.html"}


def test_metrics_have_the_keys_of_the_interface(written: Path) -> None:
    metrics = json.loads((written / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics) == {"link_completion", "evaluation", "calibration", "reliability", "selective", "run"}
    assert metrics["calibration"] == metrics["reliability"] == metrics["selective"] == {}  # the shop has no split valid
    figures = metrics["link_completion"]["test"]
    assert set(figures) == KEYS | {"floors", "groups"}
    assert {name: set(floor) for name, floor in figures["floors"].items()} == dict.fromkeys(
        ("majority", "tabular", "visual"), KEYS
    )
    assert set(figures["groups"]) == {"title", "graph", "picture"}
    assert all(set(group) == KEYS | {"floors"} for group in figures["groups"].values())
    assert figures["n"] == sum(group["n"] for group in figures["groups"].values()) == 32
    described = metrics["run"]
    assert (described["name"], described["visible"], described["without"]) == ("run", ["title", "image", "price"], [])
    assert described["seconds"] > 0


def test_outside_predictors_stand_beside_the_floors(tmp_path: Path) -> None:
    store = shop()
    right = store.triples(("test",)).to_pandas().assign(score=1.0)[["item", "property", "value", "score"]]
    right.to_parquet(tmp_path / "oracle.parquet", index=False)
    arguments = _arguments(tmp_path, floors=("majority",), external=(tmp_path / "oracle.parquet",))
    folder = complete(store, FixedRun(tmp_path / "run"), arguments, "").parent
    found = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["link_completion"]["test"]["floors"]
    assert set(found) == {"majority", "oracle"}
    assert found["oracle"]["mrr"] == 1.0
    assert "oracle" in (folder / "index.html").read_text(encoding="utf-8")


def test_an_outside_predictor_takes_no_other_s_name(tmp_path: Path) -> None:
    for name in ("k3m", "majority", "split"):
        path = tmp_path / f"{name}.parquet"
        pd.DataFrame(columns=["item", "property", "value", "score"]).to_parquet(path, index=False)
        with pytest.raises(ValueError, match=f"the name {name} is taken; rename the file"):
            complete(shop(), FixedRun(tmp_path), _arguments(tmp_path, floors=("majority",), external=(path,)), "")


def test_completions_hold_the_best_of_each_kept_back_and_missing_cell(written: Path) -> None:
    table = pd.read_parquet(written / "completions.parquet")
    assert list(table) == ["item", "property", "value", "rank", "score", "split", "confidence", "applies"]
    assert table["confidence"].isna().all()
    assert (table["applies"].notna() == (table["split"] == "missing")).all()
    assert table["applies"].dropna().between(0.05, 1).all()
    triples = shop().triples((None, "test")).to_pandas()
    kept_back = set(triples.loc[triples["split"] == "test", ["item", "property"]].itertuples(index=False, name=None))
    every = {
        (item, property) for item in shop().items()["id"].to_pylist() for property in ("colour", "shape", "length")
    }
    missing = every - set(triples[["item", "property"]].itertuples(index=False, name=None))
    for split, cells in (("test", kept_back), ("missing", missing)):
        of_split = table[table["split"] == split]
        assert set(of_split[["item", "property"]].itertuples(index=False, name=None)) == cells
        assert len(of_split) == 2 * len(cells)
    firsts, seconds = (table[table["rank"] == rank].reset_index(drop=True) for rank in (1, 2))
    assert (firsts["score"] >= seconds["score"]).all()


def test_a_missing_cell_has_no_triple_in_any_split_and_a_property_that_applies() -> None:
    coats, hats = [f"c{number:02}" for number in range(31)], [f"h{number:02}" for number in range(12)]
    items = pd.DataFrame([*((coat, "coat") for coat in coats), *((hat, "hat") for hat in hats)])
    triples = pd.DataFrame(
        [
            ("c00", "rare", "yes", None),
            ("c01", "collar", "wide", "valid"),
            *((coat, "collar", "wide", None) for coat in coats[2:27]),
            *((hat, "brim", "wide", None) for hat in hats),
        ],
        columns=["item", "property", "value", "split"],
    )
    store = graphstore.from_tables(items.set_axis(["id", "category"], axis=1).assign(title="t"), triples)
    cells = cells_of(store, store.triples((None, "valid")).to_pandas(), ["valid"])
    assert cells["valid"].to_numpy().tolist() == [["c01", "collar"]]
    # 1 described coat of 26 has `rare`: below 5 %. 25 have `collar`; c01's is kept back. No hat has either.
    assert set(cells["missing"][["item", "property"]].itertuples(index=False, name=None)) == {
        (coat, "collar") for coat in (coats[0], *coats[27:])
    }


def test_values_that_training_has_for_a_cell_are_not_proposed_again(tmp_path: Path) -> None:
    items = pd.DataFrame([("a", "t", "c"), ("b", "t", "c")], columns=["id", "title", "category"])
    triples = pd.DataFrame(
        [("a", "p", "x", None), ("b", "p", "x", None), ("b", "p", "y", None), ("a", "p", "y", "test")],
        columns=["item", "property", "value", "split"],
    )
    store = graphstore.from_tables(items, triples)
    folder = complete(store, FixedRun(tmp_path), _arguments(tmp_path), "").parent
    table = pd.read_parquet(folder / "completions.parquet")
    assert table[["item", "value", "rank", "split"]].to_numpy().tolist() == [["a", "y", 1, "test"]]


def test_figures_of_splits_and_groups_by_hand() -> None:
    found = pd.DataFrame(
        {
            "property": ["p", "p", "q", "q"],
            "split": ["test", "test", "test", "cold"],
            "k3m": [1.0, 2.0, 4.0, 1.0],
            "majority": [2.0, 2.0, 2.0, 5.0],
        }
    )
    metrics = link_completion(found, ["majority"], {"p": "title"})
    assert metrics["test"]["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 4) / 3)
    assert metrics["test"]["floors"]["majority"]["mrr"] == 0.5
    assert metrics["test"]["groups"] == {
        "title": {
            **{"mrr": 0.75, "hits_at_1": 0.5, "hits_at_3": 1.0, "hits_at_10": 1.0, "macro_mrr": 0.75, "n": 2},
            "floors": {
                "majority": {
                    "mrr": 0.5,
                    "hits_at_1": 0.0,
                    "hits_at_3": 1.0,
                    "hits_at_10": 1.0,
                    "macro_mrr": 0.5,
                    "n": 2,
                }
            },
        }
    }
    assert metrics["cold"]["floors"]["majority"]["mrr"] == 0.2
    assert "groups" not in metrics["cold"]


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Store]]:
    """The folder of a completion with confidences and proposals, and the store that these are in."""
    tmp_path = tmp_path_factory.mktemp("calibrated")
    items, triples, properties, _ = tables(300, valid=True)
    with graphstore.open(tmp_path / "shop.lbdb", "w") as store:
        store.ingest(items.assign(image=None), triples, properties)
        run = FixedRun(tmp_path / "run", Knowing(Candidates.from_store(store)))
        arguments = _arguments(tmp_path, floors=("majority",), write=True)
        folder = complete(store, run, arguments, "").parent
    with graphstore.open(tmp_path / "shop.lbdb") as store:
        yield folder, store


def _proposed(store: Store) -> pd.DataFrame:
    found = store.query(
        "MATCH (i:Item)-[p:PREDICTED]->(v:Value) "
        "RETURN i.id AS item, p.property AS property, v.text AS value, p.confidence AS confidence"
    )
    return found.sort_values(["item", "property"], ignore_index=True)


def test_confidences_are_as_often_right_as_they_say(calibrated: tuple[Path, Store]) -> None:
    folder, _ = calibrated
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    figures = metrics["calibration"]["test"]
    asked = {"ece", "ece_before", "brier", "log_loss", "coverage_95", "coverage_99", "set_size_95", "set_size_99"}
    assert asked <= set(figures)
    assert figures["log_loss"] < figures["log_loss_before"] - 0.05
    assert figures["brier"] < figures["brier_before"]
    assert figures["coverage_95"] >= 0.95
    assert set(figures["floors"]) == {"majority"}
    assert metrics["selective"]["test"][-1] == [1.0, pytest.approx(metrics["link_completion"]["test"]["hits_at_1"])]
    assert set(metrics["reliability"]["test"]["k3m"]) == {"before", "after"}
    table = pd.read_parquet(folder / "completions.parquet")
    firsts = table[table["rank"] == 1].groupby("property")["confidence"].mean()
    assert firsts["colour"] == pytest.approx(2 / 3, abs=0.1)
    assert firsts["shape"] > 0.9
    sums = table[table["property"] == "colour"].groupby(["item", "split"])["confidence"].sum()
    assert sums.to_numpy() == pytest.approx(np.ones(len(sums)))


def test_only_what_reaches_the_precision_and_likely_applies_is_written_with_its_confidence(
    calibrated: tuple[Path, Store],
) -> None:
    folder, store = calibrated
    table = pd.read_parquet(folder / "completions.parquet")
    firsts = table[(table["split"] == "missing") & (table["rank"] == 1)]
    likely = (firsts["property"] != "colour") & (firsts["applies"] >= LIKELY)
    own = firsts[likely].sort_values(["item", "property"], ignore_index=True)
    assert 0 < len(own) < len(firsts)
    columns = ["item", "property", "value", "confidence"]
    assert _proposed(store)[columns].equals(own[columns])


def test_an_earlier_calibration_serves_where_nothing_is_kept_back(
    calibrated: tuple[Path, Store], tmp_path: Path
) -> None:
    folder, _ = calibrated
    store = shop(kept_back=False)
    run = FixedRun(tmp_path / "run", Knowing(Candidates.from_store(store)))
    again = complete(store, run, _arguments(tmp_path, floors=(), calibration=folder), "").parent
    table = pd.read_parquet(again / "completions.parquet")
    before = pd.read_parquet(folder / "completions.parquet").groupby("property")["confidence"].max()
    assert table.groupby("property")["confidence"].max().to_dict() == pytest.approx(before.to_dict())
    assert json.loads((again / "calibration.json").read_text()) == json.loads((folder / "calibration.json").read_text())


def test_a_calibration_of_other_weights_is_refused(calibrated: tuple[Path, Store], tmp_path: Path) -> None:
    folder, _ = calibrated
    run = FixedRun(tmp_path / "run")
    run.fingerprint = "other"
    with pytest.raises(ValueError, match=rf"--calibration {folder} is of run run \(fixed\), not of other"):
        complete(shop(), run, _arguments(tmp_path, calibration=folder), "")
    run.info["refit_of"] = "runs/run"  # the refit of the run that it is of
    complete(shop(), run, _arguments(tmp_path, calibration=folder, floors=()), "")


def test_a_precision_that_the_calibration_lacks_is_refused_before_the_work(
    calibrated: tuple[Path, Store], tmp_path: Path
) -> None:
    arguments = _arguments(tmp_path, calibration=calibrated[0], floors=(), write=True, precision=0.9)
    with pytest.raises(ValueError, match=r"has thresholds for a precision of 0.95, 0.99 \(got 0.9\)"):
        complete(shop(), FixedRun(tmp_path / "run"), arguments, "")
    assert not (tmp_path / "run").exists()


def test_without_a_calibration_nothing_is_written_unasked(tmp_path: Path) -> None:
    run = FixedRun(tmp_path / "run")
    with pytest.raises(ValueError, match="--uncalibrated writes all without a confidence"):
        complete(shop(), run, _arguments(tmp_path, write=True), "")
    assert run.asked == []  # before the long work


def test_a_refitted_run_is_not_calibrated_on_what_it_was_trained_on() -> None:
    store = shop(300, valid=True)
    assert len(calibrate_part(store, {"refit_of": "run"})) == 0
    part = calibrate_part(store, {})
    assert 0 < len(part) < store.counts().splits["valid"]
    assert set(part["split"]) == {"valid"}


class _Stranger:
    """Cannot score what it has never seen."""

    def score(self, property: str, items: Sequence[str]) -> np.ndarray:
        raise CannotScore(f"{items[0]} is a stranger")


def test_a_predictor_that_cannot_answer_a_split_has_no_figures_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = Asked.of(shop(), tmp_path, {}, None, False)
    ours = FixedRun(tmp_path).predictor(shop())
    found = answers.answered({"k3m": ours, "other": _Stranger()}, asked.kept_back, asked.triples, asked.candidates, {})
    assert "other cannot answer split test: " in capsys.readouterr().out
    metrics, tables = answers.figures_of(asked, found, {})
    assert metrics["link_completion"]["test"]["floors"] == {}
    assert set(tables["evaluation"]["predictor"]) == {"k3m"}


def test_new_items_are_a_split_of_their_own(tmp_path: Path) -> None:
    """Ingested after the training, which saw the first 50 items."""
    store, run = shop(60), FixedRun(tmp_path / "run")
    run.directory.mkdir()
    trained_items.record(shop(50), run.directory)
    folder = complete(store, run, _arguments(tmp_path, inductive=True, floors=("majority",)), "").parent
    figures = json.loads((folder / "metrics.json").read_text())["link_completion"]
    kept_back = store.triples(("test",)).to_pandas()
    new = (kept_back["item"] >= "i050").sum()
    assert {split: own["n"] for split, own in figures.items()} == {"test": len(kept_back) - new, "inductive": new}
    table = pd.read_parquet(folder / "completions.parquet")
    assert set(table.loc[table["split"] == "inductive", "item"]) == set(
        kept_back.loc[kept_back["item"] >= "i050", "item"]
    )


def test_inductive_asks_for_new_items_and_for_a_run_that_knows_its_own(tmp_path: Path) -> None:
    run = FixedRun(tmp_path)
    with pytest.raises(ValueError, match=r"does not say which items its store had \(items.npy is missing\)"):
        complete(shop(), run, _arguments(tmp_path, inductive=True), "")
    trained_items.record(shop(), tmp_path)
    with pytest.raises(ValueError, match="no kept-back triple of test is of an item that came after the training"):
        complete(shop(), run, _arguments(tmp_path, inductive=True), "")


class _Spy:
    """Counts the calls of the one ranking function."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []

    def __call__(self, scores: np.ndarray, true: np.ndarray, known: np.ndarray) -> ranks.Ranks:
        self.calls.append(scores.shape)
        return _original(scores, true, known)


_original = ranks.three_ranks


def test_floors_and_k3m_share_one_code_path_of_ranking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = _Spy()
    monkeypatch.setattr(answers, "three_ranks", spy)
    complete(shop(), FixedRun(tmp_path), _arguments(tmp_path), "")
    per_predictor = len({"colour", "shape", "length"})
    assert len(spy.calls) == 4 * per_predictor
    assert spy.calls[:per_predictor] * 4 == spy.calls


def test_the_same_predictor_has_the_same_figures_as_k3m_and_as_a_floor() -> None:
    store = shop()
    candidates = Candidates.from_store(store)
    triples = store.triples((None, "test")).to_pandas()
    asked = triples[triples["split"] == "test"]
    found = {
        name: answers_of(FixedRun(Path()).predictor(store), asked, triples, candidates, None)["rank"]
        for name in ("k3m", "majority")
    }
    metrics = link_completion(asked.assign(**found), ["majority"], {})["test"]
    assert {key: metrics[key] for key in KEYS} == metrics["floors"]["majority"]


def test_default_splits_are_those_of_test_and_cold_that_the_store_has() -> None:
    assert splits_of(shop(), Path(), {}, None) == ["test"]


def test_a_run_that_was_refitted_on_all_triples_evaluates_nothing() -> None:
    info = {"data_version": 1, "refit_of": "run"}
    assert splits_of(shop(), Path("run/refit"), info, None) == []
    with pytest.raises(ValueError, match="run/refit was refitted on all triples: evaluate run instead"):
        splits_of(shop(), Path("run/refit"), info, ["test"])


def test_an_absent_split_is_refused_with_those_there_are(tmp_path: Path) -> None:
    run = FixedRun(tmp_path)
    with pytest.raises(ValueError, match=r"has no split cold, valid; it has: test$"):
        complete(shop(), run, _arguments(tmp_path, evaluate=("test", "cold", "valid")), "")
    assert run.asked == []  # before the long work


def test_without_and_floors_are_handed_on(tmp_path: Path) -> None:
    run = FixedRun(tmp_path)
    folder = complete(shop(), run, _arguments(tmp_path, without=("image",), floors=()), "").parent
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert run.asked[0][1] == ("image",)
    assert metrics["run"]["without"] == ["image"]
    assert metrics["link_completion"]["test"]["floors"] == {}


def test_a_catalogue_without_kept_back_triples_is_completed_all_the_same(tmp_path: Path) -> None:
    folder = complete(shop(kept_back=False), FixedRun(tmp_path), _arguments(tmp_path), "").parent
    assert json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["link_completion"] == {}
    assert set(pd.read_parquet(folder / "completions.parquet")["split"]) == {"missing"}


def test_a_catalogue_of_odd_cases_is_completed(tmp_path: Path) -> None:
    """Items without triples, title, category or picture; cells of several values; a value that is kept back only."""
    tables = tiny_catalogue()
    store = graphstore.from_tables(tables.items, tables.triples, images=tables.images)
    folder = complete(store, FixedRun(tmp_path), _arguments(tmp_path, evaluate=("test", "valid")), "").parent
    figures = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["link_completion"]
    assert {split: found["n"] for split, found in figures.items()} == {
        split: number for split, number in store.counts().splits.items() if split != "cold"
    }
    assert KEPT_BACK_ONLY not in set(pd.read_parquet(folder / "completions.parquet")["value"])


class _Broken:
    def score(self, property: str, items: Sequence[str]) -> np.ndarray:
        return np.full((len(items), 2 if property != "colour" else 3), np.nan)


def test_a_score_that_is_not_finite_ends_the_command(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteScores, match="scores of property 'colour'"):
        complete(shop(), FixedRun(tmp_path, _Broken()), _arguments(tmp_path), "")
    assert list(tmp_path.iterdir()) == []


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command.k3m, "load", FixedRun)
    monkeypatch.setattr(command.graphstore, "open", lambda location: shop())
    words = ["--run", str(tmp_path / "run"), "--store", "shop", "--evaluate", "test", "--report", str(tmp_path / "out")]
    assert command.main([*words, "--floors", "majority", "--top", "1"]) == 0
    said, last = capsys.readouterr().out.splitlines()
    assert said == "confidences need 20 triples of split valid to calibrate on (got 0)"
    assert last == f"{tmp_path / 'out'}: metrics.json, completions.parquet and index.html"
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert list(metrics["link_completion"]["test"]["floors"]) == ["majority"]
    assert set(pd.read_parquet(tmp_path / "out" / "completions.parquet")["rank"]) == {1}
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "k3m complete --run" in page


def test_top_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--top must be at least 1 \(got 0\)"):
        _arguments(tmp_path, top=0)
