"""Answer sets: of a question's candidates, so many that the true value is among them in 95 (99) % of all cases.

Split conformal prediction (Vovk et al. 2005): candidates stand in the set whose probability is at least a limit. The
limit is what all but a share of 1 - level of the true values' probabilities reach, counted so that it holds for one
more question too: the ceil((n + 1) level)-th largest of n. On fashion such sets (LAC, Sadinle et al. 2019) are smaller
than sets that add up candidates until the level is reached (APS, Romano et al. 2020); docs/log.md has the figures.
Nothing is drawn.

A property with data enough has a limit of its own; the others share one. Coverage holds on average over the questions
of each, for values that are missing as those were kept back. A true value that is no candidate is in no set, and counts
against the coverage. A set has one value at least.

Legend: n questions, K candidates.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64

LEVELS = (0.95, 0.99)
ENOUGH = 10
"""Questions that may fall outside, by the level, among those of a property with a limit of its own: 200 at 95 %."""


@dataclass(frozen=True)
class AnswerSets:
    """Of one level."""

    limit: float
    """Least probability of a candidate in a set, of properties without a limit of their own."""
    limits: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def fit(cls, answers: pd.DataFrame, level: float) -> "AnswerSets":
        """From a row a question: property and true, the true value's probability (0 where it is no candidate). The
        calibration behind it must not have seen the question (`analysis.trust` sees to that)."""
        sizes = answers.groupby("property")["true"].transform("size")
        own = sizes * (1 - level) >= ENOUGH
        limits = {str(name): limit(rows.to_numpy(), level) for name, rows in answers[own].groupby("property")["true"]}
        rest = answers[~own]["true"]
        if math.ceil((len(rest) + 1) * level) > len(rest):
            rest = answers["true"]
        return cls(limit(rest.to_numpy(), level), limits)

    def of(self, property: str, probabilities: Float64[np.ndarray, "n K"]) -> Bool[np.ndarray, "n K"]:
        """Which candidates stand in each question's set; candidates of probability 0 never do."""
        within = (probabilities >= self.limits.get(property, self.limit)) & (probabilities > 0)
        if within.size:
            rows, top = np.arange(len(within)), probabilities.argmax(axis=1)
            within[rows, top] = probabilities[rows, top] > 0
        return within

    def to_dict(self) -> dict[str, Any]:
        return {"limit": self.limit, "limits": dict(self.limits)}

    @classmethod
    def from_dict(cls, read: Mapping[str, Any]) -> "AnswerSets":
        return cls(read["limit"], read["limits"])


def limit(true: Float64[np.ndarray, " n"], level: float) -> float:
    """What the ceil((n + 1) level)-th largest of n true values' probabilities is; 0, which holds everything, where n is
    too small for the level."""
    place = math.ceil((len(true) + 1) * level)
    return float(np.sort(true)[::-1][place - 1]) if place <= len(true) else 0.0
