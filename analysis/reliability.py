"""Whether probabilities mean what they say: the first answer's confidence beside how often it is right.

Legend: n questions, K candidates, b bins.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64, Int64
from scipy.special import softmax  # type: ignore[import-untyped]

from k3m.ranks import UNSEEN

BINS = 15
"""Of the expected calibration error and of the reliability diagram."""
LOG_LOSS_FLOOR = 1e-6
"""A true value that is no candidate has the probability 0, whose logarithm would make every mean infinite."""
_COMPETES = 1e-12  # least probability of a candidate: one that is certainly wrong differs from one that is out


def softmax_of(scores: Float64[np.ndarray, "n K"], known: Bool[np.ndarray, "n K"]) -> Float64[np.ndarray, "n K"]:
    """Over the candidates that are not known, in rows that sum to 1; a row without any is 0 throughout."""
    if scores.size == 0:
        return np.zeros(scores.shape)
    lowest = scores.min(axis=1, keepdims=True)  # in place of minus infinity, which a row of known ones is NaN with
    found = softmax(np.where(known, lowest, scores), axis=1)
    found = np.where(known, 0.0, np.maximum(found, _COMPETES))
    total = found.sum(axis=1, keepdims=True)
    return np.divide(found, total, out=np.zeros_like(found), where=total > 0)


def judged(probabilities: Float64[np.ndarray, "n K"], true: Int64[np.ndarray, " n"]) -> pd.DataFrame:
    """A row a question: confidence (of the first answer, 0 where no candidate competes), right, true (the true value's
    probability) and brier (squared error over the candidates, 0 to 2)."""
    rows, seen = np.arange(len(true)), true != UNSEEN
    if probabilities.shape[1] == 0:
        return pd.DataFrame({"confidence": 0.0, "right": False, "true": 0.0, "brier": 1.0}, index=rows)
    top = probabilities.argmax(axis=1)
    confidence = probabilities[rows, top]
    of_true = np.where(seen, probabilities[rows, np.where(seen, true, 0)], 0.0)
    return pd.DataFrame(
        {
            "confidence": confidence,
            "right": seen & (top == true) & (confidence > 0),
            "true": of_true,
            "brier": (probabilities**2).sum(axis=1) - 2 * of_true + 1,
        }
    )


def diagram(confidence: Float64[np.ndarray, " n"], right: Bool[np.ndarray, " n"], bins: int = BINS) -> pd.DataFrame:
    """A row a bin, of equal mass as far as n allows: mean confidence, precision (the share that is right, of equal
    confidences the same wherever a bin ends), n."""
    share = share_right(confidence, right)
    rows = [(confidence[bin].mean(), share[bin].mean(), len(bin)) for bin in equal_bins(confidence, bins)]
    return pd.DataFrame(rows, columns=["confidence", "precision", "n"])


def share_right(confidence: Float64[np.ndarray, " n"], right: Bool[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Of each question, the share of the answers of its very confidence that are right: a bin's mean of it does not
    hang on the order of the rows."""
    return pd.Series(right, dtype=float).groupby(confidence).transform("mean").to_numpy()


def equal_bins(confidence: Float64[np.ndarray, " n"], bins: int) -> Iterator[Int64[np.ndarray, " m"]]:
    """Places of the questions by rising confidence, in `bins` parts that differ in size by one at most, none empty."""
    order = np.argsort(confidence, kind="stable")
    yield from np.array_split(order, min(bins, len(order))) if len(order) else ()


def calibration_error(confidence: Float64[np.ndarray, " n"], right: Bool[np.ndarray, " n"], bins: int = BINS) -> float:
    """Expected calibration error: the mean over questions of their bin's |precision - confidence|; NaN for none."""
    points = diagram(confidence, right, bins)
    if points.empty:
        return float("nan")
    return float(np.average((points["precision"] - points["confidence"]).abs(), weights=points["n"]))


def log_loss(true: Float64[np.ndarray, " n"]) -> float:
    """Mean of -log of the true values' probabilities, each `LOG_LOSS_FLOOR` at least."""
    return float(-np.log(np.maximum(true, LOG_LOSS_FLOOR)).mean()) if len(true) else float("nan")
