"""How probable triples are by a predictor that has not seen them, and what it would say in their place.

A property's scores become probabilities by a temperature: the one under which the judged triples themselves are most
likely. Few triples hardly move it from that of all properties together. A value that training has for no other item is
as probable as such values are among the property's judged triples. The item's other values for the property compete
with none.

Legend: n triples, K candidates of one property.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64, Int64
from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]
from scipy.special import log_softmax  # type: ignore[import-untyped]
from tqdm import tqdm

from k3m import rng
from k3m.candidates import Candidates
from k3m.ranks import Predictor, check_finite, chunks, known_mask

JUDGED = ("item", "property", "value", "probability", "suggested", "suggested_probability")

_SAMPLE = 500
"""Triples of a property that its temperature is fitted on."""
_CELLS = 2**20
"""Their scores at most, but for a few rows."""
_FEW = 20
_PULL = 10.0
"""Nats that a temperature e times that of all properties must explain the sample better by."""
_RANGE = (-12.0, 8.0)
"""Of a temperature's logarithm: scores may be distances of a hundredth or counts of thousands."""
_NEVER = -1e30
"""The score of what does not compete; finite, so that a row without competitors stays a number."""

_Scored = tuple[Float64[np.ndarray, "n K"], Int64[np.ndarray, " n"]]
"""Scores, _NEVER where a value does not compete, and the true column of each row, -1 for none."""


def judge(
    predictor: Predictor, asked: pd.DataFrame, known: pd.DataFrame, candidates: Candidates, seed: int = 0
) -> pd.DataFrame:
    """The triples `asked` (item, property, value) with their `probability`, the most probable other value
    (`suggested`, None where there is none) and its probability.

    Args:
        known: all that is known of the items, the asked triples too: none of these values is suggested.
        seed: of the draw that temperatures are fitted on.

    Raises:
        NonFiniteScores: naming the property.
    """
    known_of = dict(iter(known.groupby("property")))
    groups = [(str(name), of_property, known_of[name]) for name, of_property in asked.groupby("property")]
    samples = {
        name: _scored(predictor, name, _sample(of_property, len(candidates.of(name)), seed), near, candidates)
        for name, of_property, near in tqdm(groups, desc="temperatures", unit="property")
    }
    fitted = {name: sample for name, sample in samples.items() if len(sample[1])}
    common = _log_temperature(list(fitted.values()), None)
    parts: list[pd.DataFrame] = []
    for name, of_property, near in tqdm(groups, desc="probabilities", unit="property"):
        own = _log_temperature([fitted[name]], common) if name in fitted else common
        parts += _judged(predictor, name, of_property, near, candidates, np.exp(own))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(JUDGED))


def _sample(asked: pd.DataFrame, width: int, seed: int) -> pd.DataFrame:
    most = min(_SAMPLE, max(_FEW, _CELLS // max(1, width)))
    return asked.iloc[rng.first(most, len(asked), "temperature", seed)]


def _scored(
    predictor: Predictor, property: str, asked: pd.DataFrame, known: pd.DataFrame, candidates: Candidates
) -> _Scored:
    """Of those whose value is a candidate, where there are two candidates at least."""
    true = candidates.columns(property, asked["value"])
    asked, true = asked[true >= 0], true[true >= 0]
    if len(candidates.of(property)) < 2 or asked.empty:
        return np.empty((0, 0)), np.empty(0, dtype=np.int64)
    return _competing(predictor, property, asked, known, candidates, true), true


def _competing(
    predictor: Predictor,
    property: str,
    asked: pd.DataFrame,
    known: pd.DataFrame,
    candidates: Candidates,
    true: Int64[np.ndarray, " n"],
) -> Float64[np.ndarray, "n K"]:
    scores = predictor.score(property, asked["item"].tolist())
    check_finite(scores, f"scores of property {property!r}")
    others = known_mask(asked["item"], property, known, candidates)
    rows = np.flatnonzero(true >= 0)
    others[rows, true[rows]] = False
    return np.where(others, _NEVER, scores)


def _log_temperature(scored: Sequence[_Scored], about: float | None) -> float:
    """The most likely one; near `about`, where it is given, as far as the triples do not say otherwise."""

    def loss(log_temperature: float) -> float:
        pull = 0.0 if about is None else _PULL * (log_temperature - about) ** 2
        return pull - sum(
            log_softmax(scores / np.exp(log_temperature), axis=1)[np.arange(len(true)), true].sum()
            for scores, true in scored
        )

    return float(minimize_scalar(loss, bounds=_RANGE, method="bounded").x)


def _judged(
    predictor: Predictor,
    property: str,
    asked: pd.DataFrame,
    known: pd.DataFrame,
    candidates: Candidates,
    temperature: float,
) -> Iterator[pd.DataFrame]:
    values = candidates.of(property)
    unseen = float((candidates.columns(property, asked["value"]) < 0).mean())
    for part in chunks(asked, len(values)):
        true = candidates.columns(property, part["value"])
        found = part[["item", "property", "value"]].assign(
            probability=unseen, suggested=None, suggested_probability=0.0
        )
        if len(values):
            scores = _competing(predictor, property, part, known, candidates, true)
            own, best, of_best = _best_other(scores, true, temperature)
            found = found.assign(
                probability=np.where(true >= 0, own * (1 - unseen), unseen),
                suggested=pd.Series(values[best], found.index, dtype=object).where(best >= 0, None),
                suggested_probability=of_best * (1 - unseen),
            )
        yield found


def _best_other(
    scores: Float64[np.ndarray, "n K"], true: Int64[np.ndarray, " n"], temperature: float
) -> tuple[Float64[np.ndarray, " n"], Int64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Probability of the true column (0 where it is -1), the most probable other column that competes (-1 for none),
    and its probability."""
    rows, seen = np.arange(len(true)), true >= 0
    probability = np.exp(log_softmax(scores / temperature, axis=1))
    own = np.where(seen, probability[rows, true], 0.0)
    left: Bool[np.ndarray, "n K"] = scores > _NEVER
    left[rows[seen], true[seen]] = False
    best = np.where(left, probability, -1.0).argmax(axis=1)
    there = left[rows, best]
    return own, np.where(there, best, -1), np.where(there, probability[rows, best], 0.0)
