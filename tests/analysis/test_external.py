"""Outside predictors: what a file says, what it does not say, what is refused and where."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import graphstore
from analysis.calibration import NAME, TooFewQuestions
from analysis.external import External, covered
from analysis.floors import Majority
from analysis.trust import Trust
from k3m.candidates import Candidates
from k3m.ranks import rank_triples

STORE = graphstore.from_tables(
    pd.DataFrame({"id": ["a", "b", "c"]}),
    pd.DataFrame(
        [
            ("a", "colour", "red", None),
            ("b", "colour", "blue", None),
            ("c", "colour", "green", None),
            ("a", "size", "M", None),
            ("b", "length", "long", "test"),
        ],
        columns=["item", "property", "value", "split"],
    ),
)
CANDIDATES = Candidates.from_store(STORE)
ROWS: list[tuple[Any, ...]] = [("a", "colour", "red", 0.9), ("a", "colour", "blue", 0.1), ("b", "colour", "green", 0.5)]


def _file(folder: Path, rows: list[tuple[Any, ...]], columns: str = "item property value score") -> Path:
    pd.DataFrame(rows, columns=columns.split()).to_parquet(folder / "llm.parquet")
    return folder / "llm.parquet"


def test_missing_candidates_lie_as_far_below_the_lowest_as_the_highest_above_it(tmp_path: Path) -> None:
    found = External.load(_file(tmp_path, ROWS), STORE, CANDIDATES)
    # Columns blue, green, red; the file has .1 to .9 for the property, so that what it lacks has .1 - .8.
    expected = [[-0.7, 0.5, -0.7], [-0.7, -0.7, -0.7], [0.1, -0.7, 0.9]]
    np.testing.assert_allclose(found.score("colour", ["b", "c", "a"]), expected)
    np.testing.assert_array_equal(found.score("size", ["a"]), [[-1.0]])
    assert found.score("length", ["a"]).shape == (1, 0)


def test_candidates_without_a_score_tie(tmp_path: Path) -> None:
    found = External.load(_file(tmp_path, ROWS), STORE, CANDIDATES)
    asked = pd.DataFrame([("b", "colour", "red"), ("c", "colour", "red")], columns=["item", "property", "value"])
    # One of three is better and two tie: 2 or 3. All three tie: 1, 2 or 3.
    np.testing.assert_array_equal(rank_triples(found, asked, asked, CANDIDATES), [2.5, 2.0])


def test_a_single_score_has_the_rest_one_below(tmp_path: Path) -> None:
    found = External.load(_file(tmp_path, ROWS[:1]), STORE, CANDIDATES)
    np.testing.assert_allclose(found.score("colour", ["a"]), [[-0.1, -0.1, 0.9]])


def test_values_that_training_has_not_are_counted_and_rank_nothing(tmp_path: Path) -> None:
    path = _file(tmp_path, [*ROWS, ("a", "colour", "puce", 2.0), ("b", "length", "long", 1.0)])
    with pytest.warns(UserWarning, match=r"2 of 5 rows name values .* the first: 'colour', 'puce'"):
        found = External.load(path, STORE, CANDIDATES)
    np.testing.assert_allclose(found.score("colour", ["a"]), [[0.1, -0.7, 0.9]])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("a", "colour", "green", np.nan), "row 4: expected a finite score, got item 'a', .* score nan"),
        (("a", "colour", "green", -np.inf), "row 4: expected a finite score"),
        (("d", "colour", "green", 1.0), "row 4: expected an item of the store, got item 'd'"),
        (("a", "taste", "sweet", 1.0), "row 4: expected a property of the store, got item 'a', property 'taste'"),
        (("a", "colour", "red", 0.8), "row 4: expected each value of an item and property once"),
        (("a", None, "red", 0.8), "row 4: expected no empty cell"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, row: tuple[Any, ...], said: str) -> None:
    with pytest.raises(ValueError, match=f"llm.parquet, {said}"):
        External.load(_file(tmp_path, [*ROWS, row]), STORE, CANDIDATES)


def test_other_columns_and_types_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="expected the columns item, property, value, score, got item, property, value, p"
    ):
        External.load(_file(tmp_path, ROWS, "item property value p"), STORE, CANDIDATES)
    with pytest.raises(ValueError, match="expected strings in column value, got int64"):
        External.load(_file(tmp_path, [("a", "colour", 1, 1.0)]), STORE, CANDIDATES)
    with pytest.raises(ValueError, match=r"expected numbers in column score, got (large_)?string"):
        External.load(_file(tmp_path, [("a", "colour", "red", "high")]), STORE, CANDIDATES)


def test_confidences_are_fitted_on_what_the_file_answers(tmp_path: Path) -> None:
    """Right on `test`, silent on `valid`: its ties there are no answers that could be wrong. Where it answers 40 of 60
    cells of `valid`, what is fitted is that of these alone."""
    colours = ["red", "blue", "green"]
    rows = [(f"i{n:03}", "colour", colours[n % 3], ["valid", "test", None][n // 60]) for n in range(180)]
    triples = pd.DataFrame(rows, columns=["item", "property", "value", "split"])
    store = graphstore.from_tables(pd.DataFrame({"id": triples["item"]}), triples)
    candidates, valid = Candidates.from_store(store), triples[triples["split"] == "valid"]
    right = [(item, property, value, 1.0) for item, property, value, _ in rows]
    silent = External.load(_file(tmp_path, right[60:120]), store, candidates)
    assert len(covered(silent, valid)) == 0
    with pytest.raises(TooFewQuestions, match=r"expected 20 or more .* \(got 0\)"):
        Trust.fit(silent, valid, triples, candidates, pd.Series(dtype=object))
    partly = External.load(_file(tmp_path, right[:40]), store, candidates)
    fitted = [Trust.fit(partly, asked, triples, candidates, pd.Series(dtype=object)) for asked in (valid, valid[:40])]
    for name, trust in zip(("all", "answered"), fitted, strict=True):
        (tmp_path / name).mkdir()
        trust.save(tmp_path / name)
    assert (tmp_path / "all" / NAME).read_text() == (tmp_path / "answered" / NAME).read_text()
    assert fitted[0].calibration.confidence("colour", np.array([0.9])) > 0.9
    assert len(covered(Majority(store, candidates), valid)) == 60
