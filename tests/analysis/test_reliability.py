"""First answers, calibration error and reliability points by hand."""

import numpy as np
import pytest

from analysis.reliability import calibration_error, diagram, equal_bins, judged, log_loss, softmax_of
from k3m.ranks import UNSEEN


def test_softmax_is_over_the_candidates_that_compete() -> None:
    scores = np.log([[1.0, 2.0, 3.0], [1.0, 1.0, 2.0]])
    known = np.array([[False, False, True], [True, True, True]])
    assert softmax_of(scores, known) == pytest.approx(np.array([[1 / 3, 2 / 3, 0], [0, 0, 0]]))
    assert softmax_of(np.empty((2, 0)), np.empty((2, 0), dtype=bool)).shape == (2, 0)


def test_scores_far_apart_leave_the_loser_something() -> None:
    found = softmax_of(np.array([[0.0, 5000.0]]), np.zeros((1, 2), dtype=bool))
    assert 0 < found[0, 0] < 1e-9
    assert found.sum() == pytest.approx(1)


def test_judged_by_hand() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0, 0, 0]])
    found = judged(probabilities, np.array([0, 1, UNSEEN, UNSEEN]))
    assert found["confidence"].tolist() == [0.7, 0.7, 0.7, 0]
    assert found["right"].tolist() == [True, False, False, False]
    assert found["true"].tolist() == [0.7, 0.2, 0, 0]
    # (1 - .7)² + .2² + .1²; .7² + (1 - .2)² + .1²; the same with a value that no column stands for; 1 for no answer
    assert found["brier"].tolist() == pytest.approx([0.14, 1.14, 1.54, 1.0])
    assert judged(np.empty((1, 0)), np.array([UNSEEN])).iloc[0].tolist() == [0, False, 0, 1]


def test_bins_hold_as_many_questions_each() -> None:
    found = [len(rows) for rows in equal_bins(np.random.default_rng(0).random(100), 15)]
    assert found == [7] * 10 + [6] * 5
    assert [len(rows) for rows in equal_bins(np.zeros(3), 15)] == [1, 1, 1]
    assert list(equal_bins(np.empty(0), 15)) == []


def test_calibration_error_by_hand() -> None:
    confidence, right = np.array([0.9, 0.6, 0.8, 0.5]), np.array([True, False, False, True])
    points = diagram(confidence, right, bins=2)
    assert points.to_numpy() == pytest.approx(np.array([[0.55, 0.5, 2], [0.85, 0.5, 2]]))
    assert calibration_error(confidence, right, bins=2) == pytest.approx((0.05 + 0.35) / 2)
    assert np.isnan(calibration_error(np.empty(0), np.empty(0, dtype=bool)))


def test_equal_confidences_have_no_error_by_the_order_of_their_rows() -> None:
    """Half of 300 answers of confidence .5 are right: in whatever order, nothing is wrong with that. With one answer
    more, of .9 and wrong, the last bin (20 of 301) has 19 half right ones and it."""
    right = np.arange(300) < 150
    shuffled = np.random.default_rng(0).permutation(right)
    for order in (right, ~right, shuffled):
        assert calibration_error(np.full(300, 0.5), order) == pytest.approx(0)
        error = calibration_error(np.append(np.full(300, 0.5), 0.9), np.append(order, False))
        assert error == pytest.approx(0.9 / 301)
    # Of different confidences each has its own share: .2 with a quarter right, .6 with a half.
    points = diagram(np.array([0.2] * 4 + [0.6] * 2), np.array([True, False, False, False, True, False]), bins=3)
    assert points.to_numpy() == pytest.approx(np.array([[0.2, 0.25, 2], [0.2, 0.25, 2], [0.6, 0.5, 2]]))


def test_a_value_that_is_no_candidate_has_a_finite_loss() -> None:
    assert log_loss(np.array([0.5, 0.0])) == pytest.approx((np.log(2) + np.log(1e6)) / 2)
