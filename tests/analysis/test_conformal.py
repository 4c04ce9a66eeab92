"""Answer sets: limits by hand, coverage of questions that were not seen."""

import numpy as np
import pandas as pd
import pytest

from analysis.conformal import AnswerSets, limit


def test_the_limit_counts_one_question_more() -> None:
    true = np.arange(1, 20) / 20  # 19 questions: at 95 % the ceil(20 * .95) = 19th largest, which is the smallest
    assert limit(true, 0.95) == 0.05
    assert limit(true[1:], 0.95) == 0.0  # 18 cannot promise 95 %: every candidate is in
    assert limit(np.arange(1, 100) / 100, 0.9) == 0.1  # the 90th largest of 99


def test_sets_hold_what_reaches_the_limit_and_the_first_always() -> None:
    sets = AnswerSets(0.3, {"p": 0.05})
    probabilities = np.array([[0.5, 0.4, 0.1, 0.0], [0.25, 0.25, 0.26, 0.24], [0.0, 0.0, 0.0, 0.0]])
    assert sets.of("q", probabilities).astype(int).tolist() == [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert sets.of("p", probabilities).astype(int).tolist() == [[1, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]]
    assert sets.of("p", np.empty((2, 0))).shape == (2, 0)


def test_properties_with_data_have_their_own_limit_and_the_rest_share_one() -> None:
    big = pd.DataFrame({"property": "big", "true": np.linspace(0.5, 1, 200)})
    small = pd.DataFrame({"property": "small", "true": np.linspace(0, 0.19, 20)})
    found = AnswerSets.fit(pd.concat([big, small]), 0.95)
    assert list(found.limits) == ["big"]
    assert found.limits["big"] == limit(big["true"].to_numpy(), 0.95)
    assert found.limit == pytest.approx(limit(small["true"].to_numpy(), 0.95))
    # Of 18 questions no limit follows: the rest has that of all.
    fewer = AnswerSets.fit(pd.concat([big, small[:18]]), 0.95)
    assert fewer.limit == limit(np.concatenate([big["true"], small["true"][:18]]), 0.95) > 0


def _drawn(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and true values that are drawn by others: no calibration is taken for granted."""
    draws = np.random.default_rng(seed)
    probabilities = draws.dirichlet(np.full(6, 0.4), n)
    flatter = np.sqrt(probabilities)
    cumulated = (flatter / flatter.sum(axis=1, keepdims=True)).cumsum(axis=1)
    return probabilities, np.minimum((draws.random((n, 1)) > cumulated).sum(axis=1), 5)


def _shares(probabilities: np.ndarray, true: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"property": "p", "true": probabilities[np.arange(len(true)), true]})


@pytest.mark.parametrize("level", [0.95, 0.99])
def test_coverage_of_new_questions_is_as_promised(level: float) -> None:
    sets = AnswerSets.fit(_shares(*_drawn(4000, seed=1)), level)
    probabilities, true = _drawn(20_000, seed=2)
    covered = sets.of("p", probabilities)[np.arange(len(true)), true].mean()
    assert covered == pytest.approx(level, abs=0.01)


def test_it_comes_back_from_json() -> None:
    found = AnswerSets(0.3, {"p": 0.05})
    assert AnswerSets.from_dict(found.to_dict()) == found
