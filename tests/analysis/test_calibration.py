"""Probabilities from scores: what is shrunk by hand, what always holds, what is recovered."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from analysis import calibration as module
from analysis.calibration import Calibration, Curve, TooFewQuestions, gathered
from analysis.reliability import calibration_error, judged
from k3m.candidates import Candidates
from k3m.ranks import UNSEEN, NonFiniteScores, Questions


def part(property: str, n: int, temperature: float, seed: int, k: int = 4) -> Questions:
    """Questions whose true values are drawn by the softmax of score / temperature."""
    draws = np.random.default_rng(seed)
    scores = draws.normal(scale=3.0, size=(n, k))
    weights = np.exp(scores / temperature)
    true = (draws.random((n, 1)) > (weights / weights.sum(axis=1, keepdims=True)).cumsum(axis=1)).sum(axis=1)
    triples = pd.DataFrame({"item": [f"{property}{row}" for row in range(n)], "property": property, "value": "v"})
    return Questions(property, triples, scores, true, np.zeros((n, k), dtype=bool))


def test_the_temperature_that_the_answers_were_drawn_by_is_found() -> None:
    found = Calibration.of([part("p", 4000, 2.5, seed=1)])
    assert found.temperatures["p"] == pytest.approx(2.5, rel=0.1)
    assert found.temperature == pytest.approx(2.5, rel=0.1)


def test_a_property_has_its_own_temperature_as_far_as_there_is_data() -> None:
    """n = 100 counts half: the geometric mean of the own and the pooled one."""
    many, few = part("many", 3000, 1.0, seed=1), part("few", 100, 4.0, seed=2)
    found = Calibration.of([many, few])
    alone = Calibration.of([few]).temperature
    assert found.temperatures["few"] == pytest.approx(np.sqrt(alone * found.temperature), rel=0.02)
    assert "other" not in found.temperatures  # has the pooled one


def test_a_curve_by_hand() -> None:
    """Five bins of 20: 40 % of the less confident answers were right, all of the others."""
    right = ([True] * 8 + [False] * 12) * 2 + [True] * 60
    curve = Curve.fit(pd.DataFrame({"confidence": np.repeat([0.2, 0.3, 0.6, 0.7, 0.8], 20), "right": right}))
    assert curve.probability.tolist() == pytest.approx([0.2, 0.3, 0.6, 0.7, 0.8])
    most = 101 / 102  # 1 is never promised
    assert curve.precision.tolist() == pytest.approx([0.4, 0.4, most, most, most])
    assert curve(np.array([0.1, 0.45, 0.9])) == pytest.approx([0.4, (0.4 + most) / 2, most])


def test_a_curve_of_equal_probabilities_has_their_share_in_whatever_order() -> None:
    """Sorted, the first of the five bins would be all right and the last all wrong."""
    right = np.arange(300) < 150
    for order in (right, ~right):
        curve = Curve.fit(pd.DataFrame({"confidence": 0.5, "right": order}))
        assert curve.precision == pytest.approx(np.full(6, 0.5))


def test_a_curve_never_falls() -> None:
    right = [True] * 15 + [False] * 5 + ([True] * 10 + [False] * 10) * 4  # more confident, but less often right
    curve = Curve.fit(pd.DataFrame({"confidence": np.linspace(0.1, 0.9, 100), "right": right}))
    assert curve.precision.tolist() == pytest.approx([0.55] * 5)


def test_large_curves_have_bins_of_fifty() -> None:
    first = pd.DataFrame({"confidence": np.linspace(0, 1, 1000), "right": True})
    assert len(Curve.fit(first).probability) == 20
    assert len(Curve.fit(first[:3]).probability) == 3


def test_confidence_is_shrunk_towards_the_pooled_curve_and_that_towards_what_it_was() -> None:
    own = Curve(np.array([0.5]), np.array([0.9]), n=300)
    found = Calibration(curve=Curve(np.array([0.5]), np.array([0.6]), n=100), curves={"p": own})
    pooled = (0.6 + 0.8) / 2
    assert found.confidence("q", np.array([0.8])) == pytest.approx(pooled)
    assert found.confidence("p", np.array([0.8])) == pytest.approx(0.75 * 0.9 + 0.25 * pooled)


def test_properties_with_too_few_questions_for_a_curve_share_one() -> None:
    found = Calibration.of(
        [part("many", 400, 1.0, seed=1), part("few", 90, 1.0, seed=2), part("other", 5, 1.0, seed=3)]
    )
    assert list(found.curves) == ["many"]
    assert found.rest is not None
    assert found.rest.n == 95
    first = np.array([0.7])
    assert found.confidence("few", first) == found.confidence("never asked", first) != found.confidence("many", first)
    assert Calibration.of([part("many", 400, 1.0, seed=1)]).rest is None


def test_the_others_keep_their_shares_and_none_comes_before_the_first() -> None:
    scores, known = np.log([[0.6, 0.3, 0.1, 9.0]]), np.array([[False, False, False, True]])
    curve = Curve(np.array([0.5]), np.array([0.8]), n=10**9)
    found = Calibration(curve=curve).probabilities("p", scores, known)
    assert found == pytest.approx(np.array([[0.8, 0.15, 0.05, 0]]), abs=1e-6)
    low = Calibration(curve=Curve(np.array([0.5]), np.array([0.2]), n=10**9)).probabilities("p", scores, known)
    # The second has three quarters of the rest: first = 3/4 (1 - first).
    assert low == pytest.approx(np.array([[3 / 7, 3 / 7, 1 / 7, 0]]), abs=1e-6)


_FITTED = Calibration.of([part("p", 400, 3.0, seed=5), part("q", 30, 0.5, seed=6)])


@st.composite
def _asked(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(st.integers(0, 5)), draw(st.integers(0, 6))
    scores = draw(arrays.arrays(np.float32, shape, elements=st.floats(-1e4, 1e4, width=32)))
    return scores, draw(arrays.arrays(np.bool_, shape))


@settings(deadline=None)
@given(_asked(), st.sampled_from(["p", "q", "never asked"]))
def test_probabilities_always_are_some(asked: tuple[np.ndarray, np.ndarray], property: str) -> None:
    scores, known = asked
    found = _FITTED.probabilities(property, scores, known)
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert (found[known] == 0).all()
    assert found.sum(axis=1) == pytest.approx((~known).any(axis=1).astype(float))
    left = (~known).any(axis=1)
    if left.any():  # the first answer stays the first, of scores that a division can tell apart
        competing = np.where(known, -np.inf, scores)[left]
        first = competing[np.arange(len(competing)), found[left].argmax(axis=1)]
        assert first == pytest.approx(competing.max(axis=1), abs=1e-9)


def test_what_is_calibrated_means_what_it_says() -> None:
    """Scores that are twice as sure as they may be; more questions of the same kind."""
    found, others = Calibration.of([part("p", 3000, 2.0, seed=1)]), part("p", 3000, 2.0, seed=9)
    errors = []
    for calibration in (Calibration(), found):
        first = judged(calibration.probabilities("p", others.scores, others.known), others.true)
        errors.append(calibration_error(first["confidence"].to_numpy(), first["right"].to_numpy()))
    assert errors[0] > 0.08
    assert errors[1] < 0.03


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    asked = part("p", 20, 1.0, seed=3)
    _FITTED.save(tmp_path)
    again = Calibration.load(tmp_path)
    for property in ("p", "q", "r"):
        expected = _FITTED.probabilities(property, asked.scores, asked.known)
        assert (again.probabilities(property, asked.scores, asked.known) == expected).all()


def test_too_few_questions_are_refused() -> None:
    few = part("p", 25, 1.0, seed=1)
    few.true[:6] = UNSEEN
    with pytest.raises(TooFewQuestions, match=r"expected 20 or more triples to calibrate on, .* \(got 19\)"):
        Calibration.of([few])


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(NonFiniteScores, match="scores of property 'p'"):
        _FITTED.probabilities("p", np.array([[np.nan, 1.0]]), np.zeros((1, 2), dtype=bool))


class _Ones:
    def __init__(self, candidates: Candidates) -> None:
        self.candidates = candidates

    def score(self, property: str, items: Sequence[str]) -> np.ndarray:
        return np.ones((len(items), len(self.candidates.of(property))))


def test_what_is_gathered_is_bounded_and_each_property_has_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CELLS", 60)
    monkeypatch.setattr("k3m.ranks._CELLS_AT_ONCE", 6)  # several chunks of one property come back as one part
    rows = [(f"i{number}", property, f"v{number % 3}") for property in ("p", "q") for number in range(40)]
    triples = pd.DataFrame(rows, columns=["item", "property", "value"])
    candidates = Candidates.from_triples(triples)
    found = gathered(_Ones(candidates), triples, triples, candidates)
    assert [(part.property, part.scores.shape) for part in found] == [("p", (10, 3)), ("q", (10, 3))]
    shuffled = gathered(_Ones(candidates), triples.sample(frac=1, random_state=0), triples, candidates)
    assert set(shuffled[0].triples["item"]) == set(found[0].triples["item"])
    assert gathered(_Ones(candidates), triples.iloc[:0], triples, candidates) == []
    # What q does not need, p has: 5 questions of 3 scores leave 45 of 60.
    few = gathered(_Ones(candidates), triples.iloc[:45], triples, candidates)
    assert [(part.property, part.scores.shape) for part in few] == [("p", (15, 3)), ("q", (5, 3))]


def test_shares_are_equal_but_for_those_that_need_less() -> None:
    assert module._shares({"a": 50, "b": 5, "c": 30, "d": 10}, 60) == {"b": 5, "d": 10, "c": 22, "a": 23}
    assert module._shares({"a": 5, "b": 7}, 60) == {"a": 5, "b": 7}
    assert module._shares({}, 60) == {}
