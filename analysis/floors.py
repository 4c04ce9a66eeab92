"""Floors that K3M has to pass: predictors without a neural network, fitted on the training triples of a store.

`majority` counts, `tabular` is a logistic regression per property on the title's words and the item's other known
triples, `visual` is the same with picture features added. All three see `category`, which a K3M run sees only where its
visible fields say so. They follow `k3m.ranks.Predictor` and are ranked by the code that ranks K3M. The candidates are
those of the same store.

Legend: n items asked, N items of the store, K candidates, F features.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int64
from scipy import sparse  # type: ignore[import-untyped]
from scipy.special import log_softmax  # type: ignore[import-untyped]
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from analysis.features import facts, one_hot, pictures, words
from graphstore import Store
from k3m.candidates import Candidates
from k3m.ranks import Predictor


class Majority:
    """A value's count in training given the item's category, ties by its count for the property."""

    def __init__(self, store: Store, candidates: Candidates) -> None:
        self.candidates = candidates
        self._category = store.items(("category",)).to_pandas().set_index("id")["category"]
        training = store.triples().to_pandas()
        training["category"] = training["item"].map(self._category)
        self._counts = training.groupby(["property", "category", "value"]).size()
        self._properties = frozenset(self._counts.index.get_level_values("property"))

    def score(self, property: str, items: Sequence[str]) -> Float[np.ndarray, "n K"]:
        """Counts given the category, plus the counts for the property scaled into [0, 1)."""
        values, overall = self.candidates.of(property), self.candidates.counts(property)
        codes, categories = pd.factorize(self._category.loc[list(items)])
        given = np.zeros((len(categories) + 1, len(values)))  # the last row is that of items without a category
        if property in self._properties:
            table = self._counts.loc[property].unstack(fill_value=0)
            given[:-1] = table.reindex(index=categories, columns=values, fill_value=0)
        return given[codes] + overall / (1 + overall.max(initial=0))


class _Fitted(NamedTuple):
    features: Int64[np.ndarray, " f"]
    model: LogisticRegression


class Tabular:
    """Logistic regression per property, fitted when the property is first asked for."""

    def __init__(self, store: Store, candidates: Candidates) -> None:
        self.candidates = candidates
        self._training = store.triples().to_pandas()
        items = store.items(("title", "category")).to_pandas()
        self._items = pd.Index(items["id"])
        self._facts = facts(self._training, self._items, candidates)
        self._rest = sparse.hstack(
            [words(items["title"]), one_hot(items["category"]), *self._more(store)], format="csr"
        )
        self._models: dict[str, _Fitted | None] = {}

    def _more(self, store: Store) -> list[sparse.csr_matrix]:
        """Further features of the store's items, [N, F]."""
        return []

    def score(self, property: str, items: Sequence[str]) -> Float[np.ndarray, "n K"]:
        """Log-probabilities."""
        fitted = self._fitted(property)
        if fitted is None or len(items) == 0:
            counts = self.candidates.counts(property)
            return np.tile(np.log(counts / counts.sum()), (len(items), 1))
        margins = fitted.model.decision_function(self._features(items)[:, fitted.features])
        if margins.ndim == 1:  # two classes: the second one's margin over the first
            margins = np.stack([np.zeros_like(margins), margins], axis=1)
        return log_softmax(margins, axis=1)

    def _fitted(self, property: str) -> _Fitted | None:
        if property not in self._models:
            self._models[property] = self._fit(property)
        return self._models[property]

    def _fit(self, property: str) -> _Fitted | None:
        """None where there is nothing to choose between or nothing to tell by: each value has its share in training."""
        asked = self._training[self._training["property"] == property]
        features = self._features(asked["item"])
        # Features that no training row has would keep the weight 0; without them a fit is several times faster.
        used = np.setdiff1d(np.flatnonzero(features.getnnz(axis=0)), self._own(property))
        if len(self.candidates.of(property)) < 2 or len(used) == 0:
            return None
        columns = self.candidates.columns(property, asked["value"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the protocol stops at 150 iterations
            return _Fitted(used, LogisticRegression(C=10, max_iter=150).fit(features[:, used], columns))

    def _features(self, items: Sequence[str] | pd.Series) -> sparse.csr_matrix:
        rows = self._items.get_indexer(pd.Index(items))
        return sparse.hstack([self._facts[rows], self._rest[rows]], format="csr")

    def _own(self, property: str) -> Int64[np.ndarray, " f"]:
        """The features that give the answer away: facts of the asked property."""
        return np.flatnonzero(self.candidates.table["property"] == property)


class Visual(Tabular):
    """`Tabular` with the photograph: colour histogram and histograms of oriented gradients (HOG)."""

    def _more(self, store: Store) -> list[sparse.csr_matrix]:
        return [sparse.csr_matrix(pictures(store))]


FLOORS: dict[str, Callable[[Store, Candidates], Predictor]] = {
    "majority": Majority,
    "tabular": Tabular,
    "visual": Visual,
}
