"""The completion command: cells, files, figures by hand, refusals; floors and K3M ranked by one function."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import graphstore
from analysis import complete as command
from analysis.complete import Arguments, cells_of, complete, link_completion, ranked, splits_of
from k3m import ranks
from k3m.candidates import Candidates
from k3m.ranks import NonFiniteScores
from tests.analysis.shop import FixedRun, shop
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
    assert set(metrics) == {"link_completion", "run"}
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
    assert list(table) == ["item", "property", "value", "rank", "score", "split"]
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


class _Spy:
    """Counts the calls of the one ranking function."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []

    def __call__(self, scores: np.ndarray, true: np.ndarray, known: np.ndarray) -> np.ndarray:
        self.calls.append(scores.shape)
        return _original(scores, true, known)


_original = ranks.filtered_ranks


def test_floors_and_k3m_share_one_code_path_of_ranking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = _Spy()
    monkeypatch.setattr(ranks, "filtered_ranks", spy)
    complete(shop(), FixedRun(tmp_path), _arguments(tmp_path), "")
    per_predictor = len({"colour", "shape", "length"})
    assert len(spy.calls) == 4 * per_predictor
    assert spy.calls[:per_predictor] * 4 == spy.calls


def test_the_same_predictor_has_the_same_figures_as_k3m_and_as_a_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    store = shop()
    candidates = Candidates.from_store(store)
    triples = store.triples((None, "test")).to_pandas()
    ours, same = FixedRun(Path()).predictor(store), FixedRun(Path()).predictor(store)
    predictors: Any = {"k3m": ours, "majority": same}
    found = ranked(predictors, triples[triples["split"] == "test"], triples, candidates)
    assert found["k3m"].tolist() == found["majority"].tolist()
    metrics = link_completion(found, ["majority"], {})["test"]
    assert {key: metrics[key] for key in KEYS} == metrics["floors"]["majority"]


def test_default_splits_are_those_of_test_and_cold_that_the_store_has() -> None:
    assert splits_of(shop(), FixedRun(Path()), None) == ["test"]


def test_a_run_that_was_refitted_on_all_triples_evaluates_nothing() -> None:
    run = FixedRun(Path("run/refit"))
    run.info = {"data_version": 1, "refit_of": "run"}
    assert splits_of(shop(), run, None) == []
    with pytest.raises(ValueError, match="run/refit was refitted on all triples: evaluate run instead"):
        splits_of(shop(), run, ["test"])


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
    assert capsys.readouterr().out == f"{tmp_path / 'out'}: metrics.json, completions.parquet and index.html\n"
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert list(metrics["link_completion"]["test"]["floors"]) == ["majority"]
    assert set(pd.read_parquet(tmp_path / "out" / "completions.parquet")["rank"]) == {1}
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "k3m complete --run" in page


def test_top_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--top must be at least 1 \(got 0\)"):
        _arguments(tmp_path, top=0)
