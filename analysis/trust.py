"""How far a predictor may be trusted: its probabilities, answer sets and thresholds, fitted on one set of questions.

Sets and thresholds promise something of questions that the calibration has not seen. So they are fitted on the
probabilities of a calibration that was fitted on the other four fifths of the questions; a style
(`analysis.paired.groups_of`) lies in one fifth. The calibration that is kept is that of all questions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int64

from analysis import calibration as files
from analysis.calibration import LEAST, Calibration, gathered
from analysis.conformal import LEVELS, AnswerSets
from analysis.external import covered
from analysis.paired import groups_of
from analysis.reliability import judged
from analysis.selective import Thresholds
from k3m import rng
from k3m.candidates import Candidates
from k3m.ranks import Predictor, Questions

PRECISIONS = (0.95, 0.99)
FOLDS = 5
LEAST_OUTSIDE = LEAST // 2
"""Questions outside of a fold, at least: of `LEAST` in all four fifths are, unless nearly all are of one style."""


@dataclass(frozen=True)
class Trust:
    """Of one predictor."""

    calibration: Calibration
    sets: Mapping[float, AnswerSets]
    """By level."""
    thresholds: Mapping[float, Thresholds]
    """By precision."""
    run: str = ""
    """Whose scores these are: a run's name, and the fingerprint of its weights."""
    model: str = ""

    @classmethod
    def fit(
        cls,
        predictor: Predictor,
        triples: pd.DataFrame,
        known: pd.DataFrame,
        candidates: Candidates,
        groups: pd.Series,
        precisions: Sequence[float] = PRECISIONS,
    ) -> "Trust":
        """See `Calibration.fit`. An outside predictor is fitted on the cells that it covers: silence tells nothing.

        Args:
            groups: an item's style by its id (`analysis.evaluation.styles`).

        Raises:
            TooFewQuestions: for fewer than `LEAST` triples whose value is a candidate, or fewer than `LEAST_OUTSIDE`
                outside of a fold.
            NonFiniteScores: from a predictor that gives a NaN or an infinity.
        """
        parts = gathered(predictor, covered(predictor, triples), known, candidates)
        calibration = Calibration.of(parts)
        answers = held_out(parts, groups)
        sets = {level: AnswerSets.fit(answers, level) for level in LEVELS}
        thresholds = {precision: Thresholds.fit(answers, precision) for precision in precisions}
        return cls(calibration, sets, thresholds)

    def thresholds_for(self, precision: float) -> Thresholds:
        """
        Raises:
            ValueError: naming the precisions that there are.
        """
        if precision not in self.thresholds:
            known = ", ".join(f"{own:g}" for own in self.thresholds)
            raise ValueError(f"the calibration has thresholds for a precision of {known} (got {precision:g})")
        return self.thresholds[precision]

    def table(self) -> pd.DataFrame:
        """In the form of `report.Findings.thresholds`."""
        return pd.concat([own.table() for own in self.thresholds.values()], ignore_index=True)

    def save(self, folder: Path) -> None:
        """As `calibration.json`."""
        sets = {str(level): own.to_dict() for level, own in self.sets.items()}
        thresholds = [own.to_dict() for own in self.thresholds.values()]
        whose = {"run": self.run, "model": self.model}
        content = {"calibration": self.calibration.to_dict(), "answer_sets": sets, "thresholds": thresholds}
        files.write(folder, whose | content)

    @classmethod
    def load(cls, folder: Path) -> "Trust":
        read = files.read(folder)
        sets = {float(level): AnswerSets.from_dict(own) for level, own in read["answer_sets"].items()}
        thresholds = [Thresholds.from_dict(own) for own in read["thresholds"]]
        by_precision = {own.precision: own for own in thresholds}
        return cls(Calibration.from_dict(read["calibration"]), sets, by_precision, read["run"], read["model"])


def held_out(parts: Sequence[Questions], groups: pd.Series) -> pd.DataFrame:
    """`judged` rows of all questions, and property, by calibrations that were fitted without their fifth."""
    folds = [_folds(part.triples["item"], groups) for part in parts]
    rows = []
    for fold in range(FOLDS):
        own = Calibration.of([part.take(of != fold) for part, of in zip(parts, folds, strict=True)], LEAST_OUTSIDE)
        for part, of in zip(parts, folds, strict=True):
            asked = part.take(of == fold)
            probabilities = own.probabilities(asked.property, asked.scores, asked.known)
            rows.append(judged(probabilities, asked.true).assign(property=asked.property))
    return pd.concat(rows, ignore_index=True)


def _folds(items: pd.Series, groups: pd.Series) -> Int64[np.ndarray, " n"]:
    keys = rng.item_keys(groups_of(items, groups).to_numpy(dtype=object), "folds of the calibration")
    return (rng.uniform(keys, np.array([0])) * FOLDS).astype(np.int64)
