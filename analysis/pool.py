"""The practitioner's pool: log-probabilities of a regression on words and facts and of a network on the photograph,
`w * tabular + (1 - w) * cnn`, with one weight for each property.

The weight is that of the highest MRR on the part of `valid` to select by. Cold items have a weight of their own,
chosen on `cold-valid` where the store has it: cold is an item without a training triple of any property that
`cold-valid` asks about. Among weights that are as good the nearest to the best one over all properties is taken, which
is also that of properties with fewer than LEAST triples to choose by; with nothing at all to choose by, both count
alike.

Legend: n items asked, K candidates.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from graphstore import Store
from k3m.candidates import Candidates
from k3m.ranks import Predictor, filtered_ranks, known_mask
from k3m.validation import in_part

WEIGHTS = np.linspace(0, 1, 21)
LEAST = 10


class Pool:
    """Two predictors of log-probabilities, with weights by property, of warm items and of cold ones."""

    def __init__(self, store: Store, candidates: Candidates, tabular: Predictor, cnn: Predictor) -> None:
        self.candidates, self._parts = candidates, (tabular, cnn)
        training = store.triples().to_pandas()
        valid, cold = selecting(store), _of_split(store, "cold-valid")
        self._warm = frozenset(training.loc[training["property"].isin(cold["property"].unique()), "item"])
        known = store.triples((None, *store.counts().splits)).to_pandas()
        self.weights = self._chosen(valid, known)
        """Of the regression, by property, for warm items; under "" for those that it does not name."""
        self.cold_weights = self._chosen(cold, known) if len(cold) else self.weights
        self._has_cold = len(cold) > 0

    def score(self, property: str, items: Sequence[str]) -> Float[np.ndarray, "n K"]:
        """The weighted sum of two log-probabilities."""
        warm = np.array([item in self._warm or not self._has_cold for item in items], dtype=bool)
        weight = np.where(warm, _of(self.weights, property), _of(self.cold_weights, property))[:, None]
        tabular, cnn = (part.score(property, items) for part in self._parts)
        return weight * tabular + (1 - weight) * cnn

    def _chosen(self, asked: pd.DataFrame, known: pd.DataFrame) -> dict[str, float]:
        known_of = dict(iter(known.groupby("property")))
        reciprocal = {
            str(name): self._reciprocals(str(name), rows, known_of[name]) for name, rows in asked.groupby("property")
        }
        if not reciprocal:
            return {"": 0.5}
        overall = _best(np.concatenate(list(reciprocal.values())), 0.5)
        enough = {name: each for name, each in reciprocal.items() if len(each) >= LEAST}
        return {"": overall} | {name: _best(each, overall) for name, each in enough.items()}

    def _reciprocals(self, property: str, asked: pd.DataFrame, known: pd.DataFrame) -> Float[np.ndarray, "n w"]:
        """Of the true values' ranks under each weight; `known`: all that is true of the property."""
        items = asked["item"].tolist()
        tabular, cnn = (part.score(property, items) for part in self._parts)
        true = self.candidates.columns(property, asked["value"])
        others = known_mask(asked["item"], property, known, self.candidates)
        ranks = [filtered_ranks(weight * tabular + (1 - weight) * cnn, true, others) for weight in WEIGHTS]
        return 1 / np.stack(ranks, axis=1)


def selecting(store: Store) -> pd.DataFrame:
    """The triples of `valid` to select by; none where the store has no such split."""
    if "valid" not in store.counts().splits:
        return _of_split(store, "valid")
    valid = store.triples(("valid",))
    return valid.to_pandas()[in_part(store, valid, "select")].reset_index(drop=True)


def _of_split(store: Store, split: str) -> pd.DataFrame:
    there = (split,) if split in store.counts().splits else ()
    return store.triples(there).to_pandas()


def _best(reciprocals: Float[np.ndarray, "n w"], preferred: float) -> float:
    mean = reciprocals.mean(axis=0)
    best = WEIGHTS[np.isclose(mean, mean.max(), rtol=0, atol=1e-9)]
    return float(best[np.argmin(np.abs(best - preferred))])


def _of(weights: Mapping[str, float], property: str) -> float:
    return weights.get(property, weights[""])
