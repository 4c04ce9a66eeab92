"""Answer less, be right more often: the confidence from which first answers are right in 95 (99) % of all cases.

The threshold is the least confidence at and above which the calibration questions' answers are right with the precision
asked for even at the lower end of a one-sided 95 % interval (Clopper and Pearson 1934), so that it holds for further
questions too. A property that could show the precision, were all its answers right (59 questions for 95 %, 299 for
99 %), has a threshold of its own, or none where it falls short; the others share one.

Legend: n questions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float64, Int64
from scipy.stats import beta  # type: ignore[import-untyped]

RISK = 0.05
"""Of the bound being passed by luck."""
POINTS = 100
"""Of a curve."""


LIKELY = 0.5
"""The least probability that a property applies to an item, for a value to be written. A confidence is that of a value
*if* the item has the property: of one whose only value is "yes" it is 1, for the many items too that have none."""


@dataclass(frozen=True)
class Thresholds:
    """For one precision; NaN where no confidence reaches it."""

    precision: float
    pooled: float
    n: int
    """Questions behind `pooled`."""
    own: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    """Questions of each property."""

    @classmethod
    def fit(cls, answers: pd.DataFrame, precision: float) -> "Thresholds":
        """From a row a question: property, confidence and right. The calibration behind them must not have seen the
        question (`analysis.trust` sees to that).

        Raises:
            ValueError: for a precision that is not between 0 and 1.
        """
        if not 0 < precision < 1:
            raise ValueError(f"a precision lies between 0 and 1 (got {precision})")
        sizes = answers.groupby("property")["right"].transform("size").to_numpy()
        enough = lower_bound(sizes, sizes) >= precision
        rest = answers[~enough]
        if lower_bound(len(rest), len(rest)) < precision:
            rest = answers
        own = {str(name): threshold(rows, precision) for name, rows in answers[enough].groupby("property")}
        counts = {str(name): int(size) for name, size in answers.groupby("property").size().items()}
        return cls(precision, threshold(rest, precision), len(rest), own, counts)

    def of(self, properties: pd.Series) -> Float64[np.ndarray, " n"]:
        """The threshold of each; NaN where nothing is confident enough."""
        return properties.map(lambda name: self.own.get(name, self.pooled)).to_numpy(dtype=np.float64)

    def passed(self, answers: pd.DataFrame) -> Bool[np.ndarray, " n"]:
        """Which answers (property, confidence) are confident enough."""
        return answers["confidence"].to_numpy(dtype=np.float64) >= self.of(answers["property"])

    def proposed(self, best: pd.DataFrame) -> pd.DataFrame:
        """Of the best values of missing cells (property, confidence, applies) those to write into a catalogue."""
        return best[self.passed(best) & (best["applies"].to_numpy(dtype=np.float64) >= LIKELY)]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it: null for NaN."""
        own = {name: _or_none(confidence) for name, confidence in self.own.items()}
        return vars(self) | {"pooled": _or_none(self.pooled), "own": own, "counts": dict(self.counts)}

    @classmethod
    def from_dict(cls, read: Mapping[str, Any]) -> "Thresholds":
        own = {name: _or_nan(confidence) for name, confidence in read["own"].items()}
        return cls(**{**read, "pooled": _or_nan(read["pooled"]), "own": own})

    def table(self) -> pd.DataFrame:
        """In the form of `report.Findings.thresholds`."""
        rows = [
            (
                name,
                self.precision,
                self.own.get(name, self.pooled),
                n if name in self.own else self.n,
                name not in self.own,
            )
            for name, n in self.counts.items()
        ]
        return pd.DataFrame(rows, columns=["property", "precision", "confidence", "n", "pooled"])


def threshold(answers: pd.DataFrame, precision: float) -> float:
    """The least confidence at which the lower bound reaches the precision; NaN for none."""
    steps = _steps(answers["confidence"].to_numpy(), answers["right"].to_numpy())
    reached = lower_bound(steps["right"].to_numpy(), steps["n"].to_numpy()) >= precision
    return float(steps["confidence"].to_numpy()[reached].min(initial=np.inf)) if reached.any() else np.nan


def lower_bound(right: Int64[np.ndarray, " n"] | int, n: Int64[np.ndarray, " n"] | int) -> Float[np.ndarray, " n"]:
    """Of a share of `right` among n: what it is at least, with a risk of `RISK` (Clopper-Pearson); 0 for none right."""
    right, n = np.asarray(right), np.asarray(n)
    return np.where(right > 0, beta.ppf(RISK, np.maximum(right, 1), n - right + 1), 0.0)


def curve(confidence: Float64[np.ndarray, " n"], right: Bool[np.ndarray, " n"]) -> pd.DataFrame:
    """Precision at each coverage: coverage (share of the questions answered), precision, confidence (the least among
    these answers); `POINTS` rows at most, by rising coverage. Answers of one confidence are given together."""
    steps = _steps(confidence, right)
    kept = steps.iloc[np.linspace(0, len(steps) - 1, min(POINTS, len(steps))).round().astype(int)]
    return pd.DataFrame(
        {
            "coverage": kept["n"] / max(1, len(confidence)),
            "precision": kept["right"] / kept["n"],
            "confidence": kept["confidence"],
        }
    ).reset_index(drop=True)


def _steps(confidence: Float64[np.ndarray, " n"], right: Bool[np.ndarray, " n"]) -> pd.DataFrame:
    """A row a distinct confidence, falling: how many answers are as confident at least (n), and how many of them are
    right."""
    of_each = pd.Series(right).groupby(confidence).agg(["sum", "size"]).sort_index(ascending=False).cumsum()
    return pd.DataFrame(
        {"confidence": of_each.index, "right": of_each["sum"].to_numpy(), "n": of_each["size"].to_numpy()}
    )


def _or_none(confidence: float) -> float | None:
    return None if np.isnan(confidence) else confidence


def _or_nan(confidence: float | None) -> float:
    return np.nan if confidence is None else confidence
