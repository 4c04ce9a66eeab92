"""Ranks by hand, against scipy, and the protocol around them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import rankdata  # type: ignore[import-untyped]

from k3m.candidates import Candidates
from k3m.ranks import UNSEEN, NonFiniteScores, best_columns, check_finite, filtered_ranks, link_metrics, rank_triples


def _none_known(scores: np.ndarray) -> np.ndarray:
    return np.zeros(scores.shape, dtype=bool)


def _columns(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def test_ranks_without_ties_count_the_better_candidates() -> None:
    scores = np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1]])
    assert filtered_ranks(scores, _columns(0, 2), _none_known(scores)).tolist() == [1.0, 3.0]


def test_ties_take_the_mean_rank() -> None:
    scores = np.array([[1.0, 1.0, 1.0, 0.0], [2.0, 1.0, 1.0, 0.0]])
    assert filtered_ranks(scores, _columns(1, 2), _none_known(scores)).tolist() == [2.0, 2.5]


def test_other_true_values_do_not_compete() -> None:
    scores = np.array([[3.0, 2.0, 1.0]])
    assert filtered_ranks(scores, _columns(2), np.array([[True, False, False]])).tolist() == [2.0]
    assert filtered_ranks(scores, _columns(2), np.array([[True, True, True]])).tolist() == [1.0]


def test_an_unseen_true_value_comes_one_past_the_last_candidate_left() -> None:
    scores = np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    known = np.array([[False, False, False], [True, False, False]])
    assert filtered_ranks(scores, _columns(UNSEEN, UNSEEN), known).tolist() == [4.0, 3.0]


def test_without_a_candidate_left_the_reciprocal_is_zero() -> None:
    assert (
        filtered_ranks(np.empty((2, 0)), _columns(UNSEEN, UNSEEN), np.empty((2, 0), dtype=bool)).tolist()
        == [np.inf] * 2
    )
    assert filtered_ranks(np.array([[1.0]]), _columns(UNSEEN), np.array([[True]])).tolist() == [np.inf]
    assert link_metrics(np.array([np.inf, 2.0]), np.array(["a", "a"]))["mrr"] == 0.25


def test_the_known_mask_is_left_as_it_was() -> None:
    scores, known = np.array([[1.0, 2.0]]), np.array([[True, False]])
    filtered_ranks(scores, _columns(1), known)
    assert known.tolist() == [[True, False]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(bad: float) -> None:
    scores = np.array([[1.0, 2.0], [3.0, bad]])
    with pytest.raises(NonFiniteScores, match=f"got 1 that are not, the first {bad} at row 1, candidate 1"):
        filtered_ranks(scores, _columns(0, 0), _none_known(scores))
    with pytest.raises(NonFiniteScores, match=r"^floor: expected finite numbers"):
        check_finite(scores, "floor")


@st.composite
def _ranking(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n, k = draw(st.integers(0, 6)), draw(st.integers(1, 7))
    scores = draw(arrays.arrays(np.float32, (n, k), elements=st.sampled_from([-2.5, 0.0, 1.0, 1.5])))
    true = draw(arrays.arrays(np.int64, n, elements=st.integers(-1, k - 1)))
    return scores, true, draw(arrays.arrays(np.bool_, (n, k)))


@settings(deadline=None)
@given(_ranking())
def test_ranks_equal_scipy_rankdata_row_by_row(ranking: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    scores, true, known = ranking
    expected = []
    for row, column in enumerate(true):
        others = [scores[row, k] for k in range(scores.shape[1]) if k != column and not known[row, k]]
        if column == UNSEEN:
            expected.append(len(others) + 1 if others else np.inf)
        else:
            expected.append(rankdata([-scores[row, column], *(-other for other in others)], method="average")[0])
    assert filtered_ranks(scores, true, known).tolist() == expected


def test_metrics_by_hand() -> None:
    metrics = link_metrics(np.array([1.0, 2.0, 4.0, 1.5]), np.array(["a", "a", "b", "b"]))
    assert metrics["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 4 + 2 / 3) / 4)
    assert metrics["macro_mrr"] == pytest.approx(((1 + 1 / 2) / 2 + (1 / 4 + 2 / 3) / 2) / 2)
    assert (metrics["hits_at_1"], metrics["hits_at_3"], metrics["hits_at_10"], metrics["n"]) == (0.25, 0.75, 1.0, 4)


def test_macro_weighs_a_rare_property_as_a_frequent_one() -> None:
    metrics = link_metrics(np.array([1.0, 1.0, 1.0, 4.0]), np.array(["a", "a", "a", "b"]))
    assert metrics["mrr"] == pytest.approx(3.25 / 4)
    assert metrics["macro_mrr"] == pytest.approx((1 + 0.25) / 2)


def test_best_columns_skip_known_ones_and_break_ties_by_column() -> None:
    scores = np.array([[1.0, 3.0, 3.0, 2.0], [4.0, 3.0, 2.0, 1.0]])
    known = np.array([[False] * 4, [True, True, True, False]])
    row, rank, column = best_columns(scores, known, top=2)
    assert list(zip(row, rank, column, strict=True)) == [(0, 1, 1), (0, 2, 2), (1, 1, 3)]


class _Fixed:
    """Scores by hand; keeps what it was asked."""

    def __init__(self, scores: dict[tuple[str, str], list[float]]) -> None:
        self.scores = scores
        self.asked: list[tuple[str, list[str]]] = []

    def score(self, property: str, items: Sequence[str]) -> np.ndarray:
        self.asked.append((property, list(items)))
        return np.array([self.scores.get((property, item), []) for item in items], dtype=np.float32)


def _triples(*rows: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["item", "property", "value"])


TRAINING = _triples(
    ("a", "colour", "blue"), ("b", "colour", "green"), ("c", "colour", "red"), ("a", "size", "10"), ("b", "size", "9")
)
ASKED = _triples(
    ("x", "size", "9"),
    ("a", "colour", "red"),
    ("x", "shape", "round"),
    ("x", "colour", "pink"),
    ("y", "colour", "green"),
)
SCORES = {
    ("colour", "a"): [9.0, 5.0, 4.0],  # blue is known of a and does not compete: red is second
    ("colour", "x"): [3.0, 2.0, 1.0],  # pink was never seen: fourth
    ("colour", "y"): [1.0, 1.0, 1.0],  # all tied, red is another truth of y: 1.5
    ("size", "x"): [0.0, 1.0],
}


def test_triples_are_ranked_in_their_order_with_one_call_a_property() -> None:
    predictor = _Fixed(SCORES)
    known = pd.concat([TRAINING, ASKED, _triples(("y", "colour", "red"))])
    ranks = rank_triples(predictor, ASKED.set_index(np.arange(5) * 7), known, Candidates.from_triples(TRAINING))
    assert ranks.tolist() == [1.0, 2.0, np.inf, 4.0, 1.5]
    assert predictor.asked == [("colour", ["a", "x", "y"]), ("shape", ["x"]), ("size", ["x"])]


def test_chunks_change_no_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("k3m.ranks._CELLS_AT_ONCE", 1)
    predictor = _Fixed(SCORES)
    known = pd.concat([TRAINING, ASKED, _triples(("y", "colour", "red"))])
    assert rank_triples(predictor, ASKED, known, Candidates.from_triples(TRAINING)).tolist() == [
        1.0,
        2.0,
        np.inf,
        4.0,
        1.5,
    ]
    assert [items for _, items in predictor.asked] == [["a"], ["x"], ["y"], ["x"], ["x"]]


def test_a_predictor_that_gives_nan_is_named_by_its_property() -> None:
    predictor = _Fixed({("size", "x"): [np.nan, 1.0]})
    with pytest.raises(NonFiniteScores, match="scores of property 'size'"):
        rank_triples(predictor, ASKED.iloc[:1], TRAINING, Candidates.from_triples(TRAINING))


def test_no_triples_have_no_ranks() -> None:
    assert rank_triples(_Fixed({}), ASKED.iloc[:0], TRAINING, Candidates.from_triples(TRAINING)).tolist() == []
