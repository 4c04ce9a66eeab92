"""The k nearest items vote: by words of the title, other facts, category and photograph together.

An item is a row of the features that the floors see (`analysis.features`); two items are as similar as the cosine of
their rows, without the facts of the property that is asked. The k most similar ones that have the property in training
vote for their values with similarity ** power; the asked item has no vote of its own. Where the votes say nothing, the
values' shares in training decide. k and power are chosen on the part of `valid` to select by, for all properties
together.

Legend: n items asked, N items of the store, m items that have the property, K candidates, F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from jaxtyping import Float, Int64
from scipy import sparse  # type: ignore[import-untyped]

from analysis.features import facts, holders, one_hot, pictures, shares_of_votes, words
from analysis.pool import selecting
from graphstore import Store
from k3m.candidates import Candidates
from k3m.ranks import filtered_ranks, known_mask

NUMBERS = (5, 10, 25, 50, 100)
POWERS = (1, 2, 4, 8, 16, 32)
_DEFAULT = (25, 4)  # of a store without triples to choose by
_CELLS_AT_ONCE = 2**24  # bounds the similarities of one block


@dataclass(frozen=True)
class Neighbours:
    """The most similar items of each item asked, the best first."""

    rows: Int64[np.ndarray, "n k"]
    similarity: Float[np.ndarray, "n k"]


class Nearest:
    """Votes of the nearest items."""

    def __init__(self, store: Store, candidates: Candidates) -> None:
        self.candidates = candidates
        training = store.triples().to_pandas()
        items = store.items(("title", "category")).to_pandas()
        self._items = pd.Index(items["id"])
        self._facts = facts(training, self._items, candidates).tocsc()
        self._rest = sparse.hstack([words(items["title"]), one_hot(items["category"])], format="csr")
        self._pictures = pictures(store)
        self._none = training.iloc[:0]
        self._training = {str(name): rows for name, rows in training.groupby("property")}
        known = store.triples((None, *store.counts().splits)).to_pandas()
        self.number, self.power = self._chosen(selecting(store), known)

    def score(self, property: str, items: Sequence[str]) -> Float[np.ndarray, "n K"]:
        """Shares of the votes, and the values' shares in training behind them."""
        return self._votes(property, self._nearest(property, items, self.number), self.number, self.power)

    def _chosen(self, asked: pd.DataFrame, known: pd.DataFrame) -> tuple[int, int]:
        """The setting of the highest MRR."""
        settings = list(product(NUMBERS, POWERS))
        total, known_of = np.zeros(len(settings)), dict(iter(known.groupby("property")))
        for name, rows in asked.groupby("property"):
            property = str(name)
            nearest = self._nearest(property, rows["item"].tolist(), max(NUMBERS))
            true = self.candidates.columns(property, rows["value"])
            others = known_mask(rows["item"], property, known_of[name], self.candidates)
            for place, (number, power) in enumerate(settings):
                ranks = filtered_ranks(self._votes(property, nearest, number, power), true, others)
                total[place] += (1 / ranks).sum()
        return settings[int(total.argmax())] if len(asked) else _DEFAULT

    def _votes(self, property: str, nearest: Neighbours, number: int, power: int) -> Float[np.ndarray, "n K"]:
        voters = nearest.rows[:, :number]
        weights = np.maximum(nearest.similarity[:, :number], 0) ** power
        asked = np.repeat(np.arange(len(voters)), voters.shape[1])
        ballots = sparse.csr_matrix((weights.ravel(), (asked, voters.ravel())), (len(voters), len(self._items)))
        held = holders(self._held(property), self._items, property, self.candidates)
        return shares_of_votes(ballots, held, self.candidates.counts(property))

    def _held(self, property: str) -> pd.DataFrame:
        return self._training.get(property, self._none)

    def _nearest(self, property: str, items: Sequence[str], number: int) -> Neighbours:
        """Among the items that have the property in training; `number` of them at most."""
        asked = self._items.get_indexer(pd.Index(items))
        voters = self._items.get_indexer(pd.Index(self._held(property)["item"].unique()))
        number = min(number, len(voters))
        own = (self.candidates.table["property"] == property).to_numpy()
        told = sparse.hstack([self._facts[:, ~own], self._rest], format="csr")
        length = np.sqrt(told.multiply(told).sum(axis=1).A1 + (self._pictures**2).sum(axis=1))
        rows, similarity = [np.empty((0, number), dtype=np.int64)], [np.empty((0, number))]
        for part in np.array_split(asked, 1 + len(asked) * len(voters) // _CELLS_AT_ONCE):
            products = (told[part] @ told[voters].T).toarray() + self._pictures[part] @ self._pictures[voters].T
            cosine = products / np.maximum(length[part, None] * length[voters], 1e-12)
            cosine[part[:, None] == voters] = -1  # no item is its own neighbour
            best = np.argsort(-cosine, axis=1, kind="stable")[:, :number]
            rows.append(voters[best])
            similarity.append(np.take_along_axis(cosine, best, axis=1))
        return Neighbours(np.concatenate(rows), np.concatenate(similarity))
