"""Scores as probabilities: a temperature for each property, then a curve that sets the first answer's confidence right.

1. Temperature (Guo et al. 2017): softmax of score / T over the candidates that compete. Of its own log T, which has the
   least log loss on the property's n questions, a property has n/(n + 100); the rest is the pooled log T, which has the
   least on all questions.
2. Confidence: isotonic regression (Zadrozny and Elkan 2002) of whether the first answer is right on its probability,
   over bins of 50 questions (five bins at least), with straight lines between them. A property with 100 questions or
   more has a curve of its own, the others share one; it counts n/(n + 100) against the pooled one of all properties,
   which counts as much against the probability as it was. The other candidates keep their shares of the rest, and none
   comes before the first.

Fitted on the calibrate part of split `valid` (`k3m.validation.in_part`), which nothing else is chosen by. It holds for
values that are missing as those were kept back. A true value that is no candidate has the probability 0.

Legend: n questions, K candidates, m points.
"""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float64
from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]
from scipy.special import log_softmax  # type: ignore[import-untyped]
from sklearn.isotonic import IsotonicRegression

from analysis.reliability import equal_bins, judged, share_right, softmax_of
from k3m import rng
from k3m.candidates import Candidates
from k3m.ranks import UNSEEN, Predictor, Questions, check_finite, questions

SHRINKAGE = 100
"""Questions at which what is a property's own counts half; chosen on fashion's select part of `valid` for the tabular
floor, among 20 to 200."""
BIN = 50
"""Questions a bin of a curve."""
FEWEST = 5
"""Bins of a curve, however few questions there are."""
LEAST = 20
"""With fewer questions nothing can be calibrated."""
NAME = "calibration.json"
_CELLS = 2**23  # scores kept for a fit: bounds its memory and time
_WIDE = 8.0  # range of the pooled log temperature about the log of the scores' spread
_ROUNDING = 1e-9
_OWN = 2.0  # of a property's about the pooled one: where all answers are right, the best would be minus infinity


class TooFewQuestions(ValueError):
    """Too few to fit a calibration on."""


@dataclass(frozen=True)
class Curve:
    """How often first answers are right, by their probability: straight lines between m points, never falling."""

    probability: Float64[np.ndarray, " m"]
    precision: Float64[np.ndarray, " m"]
    n: int
    """Questions that it was fitted on."""

    @classmethod
    def fit(cls, first: pd.DataFrame) -> "Curve":
        """From columns confidence and right. Never 0 or 1: of n answers one more could have been wrong, or right."""
        probability, n = first["confidence"].to_numpy(), len(first)
        share = share_right(probability, first["right"].to_numpy())
        bins = list(equal_bins(probability, max(FEWEST, n // BIN)))
        middles, shares = (np.array([of[rows].mean() for rows in bins]) for of in (probability, share))
        isotonic = IsotonicRegression(y_min=1 / (n + 2), y_max=1 - 1 / (n + 2), out_of_bounds="clip")
        isotonic.fit(middles, shares, sample_weight=[len(rows) for rows in bins])
        return cls(middles, isotonic.predict(middles), n)

    def __call__(self, probability: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """Beyond the first and the last point as there."""
        return np.interp(probability, self.probability, self.precision)

    def to_dict(self) -> dict[str, Any]:
        return {"probability": self.probability.tolist(), "precision": self.precision.tolist(), "n": self.n}

    @classmethod
    def from_dict(cls, read: Mapping[str, Any]) -> "Curve":
        return cls(np.array(read["probability"]), np.array(read["precision"]), read["n"])


@dataclass(frozen=True)
class Calibration:
    """Of one predictor. The maps are by property; one that they lack has what is pooled."""

    temperature: float = 1.0
    """Pooled."""
    temperatures: Mapping[str, float] = field(default_factory=dict)
    """Shrunk already."""
    curve: Curve | None = None
    """Pooled."""
    curves: Mapping[str, Curve] = field(default_factory=dict)
    """Not shrunk yet."""
    rest: Curve | None = None
    """Of the properties without a curve of their own; not shrunk yet. None where all have one, or none has."""

    @classmethod
    def fit(
        cls, predictor: Predictor, triples: pd.DataFrame, known: pd.DataFrame, candidates: Candidates
    ) -> "Calibration":
        """
        Args:
            triples: item, property, value: what to calibrate on.
            known: all true triples; an item's others do not compete.

        Raises:
            TooFewQuestions: for fewer than `LEAST` triples whose value is a candidate.
            NonFiniteScores: from a predictor that gives a NaN or an infinity.
        """
        return cls.of(gathered(predictor, triples, known, candidates))

    @classmethod
    def of(cls, parts: Sequence[Questions], least: int = LEAST) -> "Calibration":
        """From what a predictor said to questions; see `fit`. `least` takes the place of `LEAST`."""
        parts = [part for part in parts if part.scores.shape[1]]
        seen = [part.take(part.true != UNSEEN) for part in parts]
        seen = [part for part in seen if len(part.true)]
        if (n := sum(len(part.true) for part in seen)) < least:
            raise TooFewQuestions(
                f"expected {least} or more triples to calibrate on, whose value training has (got {n})"
            )
        pooled = _pooled(seen)
        scaled = cls(float(np.exp(pooled)), {part.property: _own(part, pooled) for part in seen})
        first = pd.concat(
            [
                judged(scaled.scaled(part.property, part.scores, part.known), part.true).assign(property=part.property)
                for part in parts
            ],
            ignore_index=True,
        )
        enough = first.groupby("property")["right"].transform("size") >= 2 * BIN
        curves = {str(name): Curve.fit(rows) for name, rows in first[enough].groupby("property")}
        rest = None if enough.all() or not curves else Curve.fit(first[~enough])
        return cls(scaled.temperature, scaled.temperatures, Curve.fit(first), curves, rest)

    def scaled(
        self, property: str, scores: Float[np.ndarray, "n K"], known: Bool[np.ndarray, "n K"]
    ) -> Float64[np.ndarray, "n K"]:
        """Probabilities by temperature alone."""
        return softmax_of(scores.astype(np.float64) / self.temperatures.get(property, self.temperature), known)

    def probabilities(
        self, property: str, scores: Float[np.ndarray, "n K"], known: Bool[np.ndarray, "n K"]
    ) -> Float64[np.ndarray, "n K"]:
        """Rows sum to 1, known values have 0; a row whose candidates are all known is 0 throughout.

        Raises:
            NonFiniteScores: for a NaN or an infinity among the scores.
        """
        check_finite(scores, f"scores of property {property!r}")
        others = self.scaled(property, scores, known)
        if others.size == 0:
            return others
        rows, top = np.arange(len(others)), others.argmax(axis=1)
        first = others[rows, top]
        others[rows, top] = 0
        rest = others.sum(axis=1)
        several = rest > 0  # else the row has one candidate, which has 1, or none
        # The least confidence at which the second, whose share of the rest stays, does not come before the first.
        second = others.max(axis=1)
        least = (1 + _ROUNDING) * second / np.where(several, rest + second, 1)
        confidence = np.where(several, np.maximum(self.confidence(property, first), least), first)
        others *= ((1 - confidence) / np.where(several, rest, 1))[:, None]
        others[rows, top] = confidence
        return others

    def confidence(self, property: str, first: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """Of first answers, from their probability by temperature."""
        confidence = first
        for curve in (self.curve, self.curves.get(property, self.rest)):
            if curve is not None:
                weight = _weight(curve.n)
                confidence = weight * curve(first) + (1 - weight) * confidence
        return confidence

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "temperature": self.temperature,
            "temperatures": dict(self.temperatures),
            "curve": _to_dict(self.curve),
            "curves": {property: _to_dict(curve) for property, curve in self.curves.items()},
            "rest": _to_dict(self.rest),
        }

    @classmethod
    def from_dict(cls, read: Mapping[str, Any]) -> "Calibration":
        curves = {property: Curve.from_dict(own) for property, own in read["curves"].items()}
        curve, rest = (None if read[name] is None else Curve.from_dict(read[name]) for name in ("curve", "rest"))
        return cls(read["temperature"], read["temperatures"], curve, curves, rest)

    def save(self, folder: Path) -> None:
        """As `calibration.json`."""
        write(folder, {"calibration": self.to_dict()})

    @classmethod
    def load(cls, folder: Path) -> "Calibration":
        return cls.from_dict(read(folder)["calibration"])


def _to_dict(curve: Curve | None) -> dict[str, Any] | None:
    return None if curve is None else curve.to_dict()


def write(folder: Path, content: Mapping[str, Any]) -> None:
    (folder / NAME).write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")


def read(folder: Path) -> dict[str, Any]:
    """
    Raises:
        FileNotFoundError: naming the file.
    """
    return json.loads((folder / NAME).read_text("utf-8"))


def gathered(
    predictor: Predictor, triples: pd.DataFrame, known: pd.DataFrame, candidates: Candidates
) -> list[Questions]:
    """Questions to fit on, in bounded memory: where a property has more scores than its share of `_CELLS`, the first
    of its items in a drawn order."""
    drawn = triples.iloc[np.argsort(rng.item_keys(triples["item"].to_numpy(), "calibration"), kind="stable")]
    widths = {name: max(1, len(candidates.of(str(name)))) for name in triples["property"].unique()}
    shares = _shares({name: n * widths[name] for name, n in triples["property"].value_counts().items()}, _CELLS)
    kept = [rows.head(max(1, shares[name] // widths[name])) for name, rows in drawn.groupby("property")]
    asked = questions(predictor, pd.concat(kept), known, candidates) if kept else ()
    return [_joined(list(parts)) for _, parts in itertools.groupby(asked, lambda part: part.property)]


def _shares(needs: Mapping[Any, int], total: int) -> dict[Any, int]:
    """Of `total`: each has what it needs, or, of what those leave that need less, as much as the others."""
    shares: dict[Any, int] = {}
    for place, name in enumerate(sorted(needs, key=lambda name: (needs[name], name))):
        left = total - sum(shares.values())
        shares[name] = min(needs[name], left // (len(needs) - place))
    return shares


def _joined(parts: list[Questions]) -> Questions:
    """Parts of one property."""
    scores, true, known = (np.concatenate([getattr(part, of) for part in parts]) for of in ("scores", "true", "known"))
    return Questions(parts[0].property, pd.concat([part.triples for part in parts]), scores, true, known)


def _weight(n: int) -> float:
    return n / (n + SHRINKAGE)


def _pooled(parts: Sequence[Questions]) -> float:
    """The log temperature with the least log loss on all parts."""
    middle = np.log(max(np.mean([np.ptp(part.scores, axis=1).mean() for part in parts]), 1e-9))
    return _least(lambda temperature: sum(_loss(part, temperature) for part in parts), middle, _WIDE)


def _own(part: Questions, pooled: float) -> float:
    """The property's temperature, shrunk."""
    own = _least(lambda temperature: _loss(part, temperature), pooled, _OWN)
    weight = _weight(len(part.true))
    return float(np.exp(weight * own + (1 - weight) * pooled))


def _least(loss: Callable[[float], float], middle: float, range: float) -> float:
    """Where the loss is least; it has one minimum, being convex in 1/T."""
    return float(
        minimize_scalar(loss, bounds=(middle - range, middle + range), method="bounded", options={"xatol": 0.01}).x
    )


def _loss(part: Questions, log_temperature: float) -> float:
    """Log loss of all questions of a part whose true values are candidates."""
    scaled = np.where(part.known, -np.inf, part.scores.astype(np.float64) / np.exp(log_temperature))
    return float(-log_softmax(scaled, axis=1)[np.arange(len(part.true)), part.true].sum())
