"""Thresholds and precision-coverage curves: by hand, and whether the promise holds."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest  # type: ignore[import-untyped]

from analysis.selective import Thresholds, curve, lower_bound, threshold


def _answers(confidence: np.ndarray, right: np.ndarray, property: str = "p") -> pd.DataFrame:
    return pd.DataFrame({"property": property, "confidence": confidence, "right": right})


def test_the_bound_is_that_of_clopper_and_pearson() -> None:
    expected = binomtest(57, 60, alternative="greater").proportion_ci(0.95, "exact").low
    assert lower_bound(57, 60) == pytest.approx(expected)
    assert lower_bound(0, 10) == 0
    # 59 right answers of 59 show 95 %, 58 do not.
    assert lower_bound(59, 59) >= 0.95 > lower_bound(58, 58)
    assert lower_bound(299, 299) >= 0.99 > lower_bound(298, 298)


def test_a_threshold_by_hand() -> None:
    """100 right answers, then wrong ones: 100 of 100 bound .9705, of 101 .9538, of 102 .9394."""
    confidence = np.concatenate([np.full(100, 0.9), [0.8, 0.7]])
    right = np.concatenate([np.full(100, True), [False, False]])
    assert threshold(_answers(confidence, right), 0.95) == 0.8
    assert threshold(_answers(confidence, right), 0.96) == 0.9
    assert np.isnan(threshold(_answers(confidence, right), 0.98))


def test_answers_of_one_confidence_stand_or_fall_together() -> None:
    confidence, right = np.full(200, 0.9), np.arange(200) < 180
    assert np.isnan(threshold(_answers(confidence, right), 0.95))


def test_properties_that_can_show_it_have_their_own_and_the_rest_share_one() -> None:
    good = _answers(np.linspace(0.5, 1, 59), np.full(59, True), "good")
    bad = _answers(np.linspace(0.5, 1, 80), np.full(80, False), "bad")
    small = _answers(np.linspace(0.4, 1, 58), np.full(58, True), "small")
    tiny = _answers(np.array([0.3]), np.array([True]), "tiny")
    found = Thresholds.fit(pd.concat([good, bad, small, tiny]), 0.95)
    assert found.own["good"] == 0.5
    assert np.isnan(found.own["bad"])  # enough to show it, and does not: nothing of it is written
    assert (found.pooled, found.n) == (0.3, 59)
    asked = _answers(np.array([0.5, 0.49, 1, 0.3, 0.3]), np.full(5, True))
    asked["property"] = ["good", "good", "bad", "small", "never seen"]
    assert found.passed(asked).tolist() == [True, False, False, True, True]
    table = found.table().set_index("property")
    assert list(table.loc["good", ["n", "pooled"]]) == [59, False]
    assert list(table.loc["small", ["confidence", "n", "pooled"]]) == [0.3, 59, True]


def test_where_the_rest_is_too_small_it_has_the_threshold_of_all() -> None:
    good = _answers(np.linspace(0.5, 1, 59), np.full(59, True), "good")
    found = Thresholds.fit(pd.concat([good, _answers(np.array([0.2]), np.array([False]), "tiny")]), 0.95)
    assert (found.pooled, found.n) == (0.5, 60)


def test_of_questions_that_were_not_seen_as_many_are_right_as_promised() -> None:
    """40 draws of 500 calibration questions; answers are right as often as they are confident."""
    draws, missed = np.random.default_rng(0), 0
    for _ in range(40):
        confidence = draws.beta(6, 1, 5500)
        right = draws.random(5500) < confidence
        found = Thresholds.fit(_answers(confidence[:500], right[:500]), 0.95)
        chosen = found.passed(_answers(confidence[500:], right[500:]))
        missed += bool(chosen.any() and right[500:][chosen].mean() < 0.95)
    assert missed <= 4


def test_precision_must_lie_between_0_and_1() -> None:
    with pytest.raises(ValueError, match=r"a precision lies between 0 and 1 \(got 1\)"):
        Thresholds.fit(_answers(np.ones(1), np.ones(1)), 1)


def test_the_curve_by_hand() -> None:
    found = curve(np.array([0.9, 0.8, 0.8, 0.1]), np.array([True, True, False, False]))
    assert found.to_numpy() == pytest.approx(np.array([[0.25, 1, 0.9], [0.75, 2 / 3, 0.8], [1, 0.5, 0.1]]))
    many = curve(np.linspace(0, 1, 5000), np.full(5000, True))
    assert len(many) == 100
    assert many["coverage"].iloc[[0, -1]].tolist() == [1 / 5000, 1]
    assert curve(np.empty(0), np.empty(0, dtype=bool)).empty


def test_it_comes_back_from_json() -> None:
    found = Thresholds(0.95, np.nan, 3, {"p": np.nan, "q": 0.5}, {"p": 70, "q": 60, "r": 3})
    again = Thresholds.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
    assert again.table().equals(found.table())
    assert np.isnan(again.pooled)


def test_what_most_likely_does_not_apply_is_not_written_however_sure_its_value() -> None:
    best = pd.DataFrame({"property": "waterproof", "confidence": [1.0, 1.0, 0.8], "applies": [0.08, 0.6, 0.9]})
    assert list(Thresholds(0.95, 0.9, 100).proposed(best).index) == [1]
