"""Probabilities of triples by a predictor that has not seen them, worked out by hand."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from analysis.judging import JUDGED, judge
from k3m.candidates import Candidates
from k3m.ranks import NonFiniteScores

KEY = ["item", "property", "value"]


class LogPredictor:
    """The logarithm of fixed chances, sharpened by `power`."""

    def __init__(self, chances: Sequence[float], power: float = 1.0) -> None:
        self.scores = power * np.log(np.array(chances))

    def score(self, property: str, items: Sequence[str]) -> np.ndarray:
        return np.tile(self.scores, (len(items), 1))


def _candidates(values: Sequence[str]) -> Candidates:
    return Candidates.from_triples(pd.DataFrame({"property": "colour", "value": values}))


def _as_often(counts: dict[str, int]) -> pd.DataFrame:
    values = [value for value, count in counts.items() for _ in range(count)]
    return pd.DataFrame({"item": [f"i{n:04}" for n in range(len(values))], "property": "colour", "value": values})


@pytest.mark.parametrize("power", [0.01, 1.0, 30.0])
def test_a_temperature_makes_true_chances_of_any_scale(power: float) -> None:
    """The triples are as often blue, green and red as the predictor says at its true temperature."""
    asked = _as_often({"blue": 600, "green": 300, "red": 100})
    candidates = _candidates(["blue", "green", "red"])
    found = judge(LogPredictor([0.6, 0.3, 0.1], power), asked, asked, candidates)
    assert list(found) == list(JUDGED)
    own = found.groupby("value")["probability"].first()
    np.testing.assert_allclose(own[["blue", "green", "red"]], [0.6, 0.3, 0.1], atol=0.05)
    best = found.groupby("value")[["suggested", "suggested_probability"]].first()
    assert best["suggested"].to_dict() == {"blue": "green", "green": "blue", "red": "blue"}
    np.testing.assert_allclose(best.loc[["blue", "red"], "suggested_probability"], [0.3, 0.6], atol=0.05)


def test_a_value_of_nobody_else_is_as_probable_as_such_values_are() -> None:
    asked = _as_often({"blue": 60, "green": 30, "mauve": 4, "taupe": 6})
    found = judge(LogPredictor([2 / 3, 1 / 3]), asked, asked, _candidates(["blue", "green"]))
    assert found.loc[found["value"].isin(["mauve", "taupe"]), "probability"].unique().tolist() == [0.1]
    blue = found[found["value"] == "blue"].iloc[0]
    assert blue["probability"] + blue["suggested_probability"] == pytest.approx(0.9)


def test_the_item_s_other_values_do_not_compete() -> None:
    asked = pd.DataFrame([("a", "colour", "red"), ("b", "colour", "red")], columns=KEY)
    known = pd.DataFrame(
        [("a", "colour", "red"), ("a", "colour", "blue"), ("b", "colour", "red"), ("b", "colour", "green")],
        columns=KEY,
    )
    found = judge(LogPredictor([0.5, 0.3, 0.2]), asked, known, _candidates(["blue", "green", "red"]))
    assert found["suggested"].tolist() == ["green", "blue"]
    np.testing.assert_allclose(found["probability"] + found["suggested_probability"], 1.0)
    every = pd.concat([known, pd.DataFrame([("a", "colour", "green")], columns=KEY)])
    alone = judge(LogPredictor([0.5, 0.3, 0.2]), asked.iloc[:1], every, _candidates(["blue", "green", "red"]))
    assert alone["suggested"].tolist() == [None]
    assert alone[["probability", "suggested_probability"]].values.tolist() == [[1.0, 0.0]]


def test_where_there_is_no_candidate_nothing_is_said() -> None:
    asked = pd.DataFrame([("a", "shape", "round")], columns=KEY)
    found = judge(LogPredictor([]), asked, asked, _candidates(["blue"]))
    assert found[["probability", "suggested_probability"]].values.tolist() == [[1.0, 0.0]]
    assert found["suggested"].tolist() == [None]
    assert judge(LogPredictor([]), asked.iloc[:0], asked, _candidates(["blue"])).empty


def test_scores_that_are_not_finite_are_refused() -> None:
    asked = _as_often({"blue": 2, "green": 1})
    with pytest.raises(NonFiniteScores, match="property 'colour'"):
        judge(LogPredictor([np.nan, 1.0]), asked, asked, _candidates(["blue", "green"]))
