"""What stands in for the true value of a hidden triple, and how much the triple counts.

Legend: Q hidden triples, K replaced values of each.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from k3m import rng
from k3m.sampler import Triples


@dataclass(frozen=True)
class CandidateOrdinals:
    """The candidate values of each property as ordinals: those of property p are `values[indptr[p]:indptr[p + 1]]`."""

    indptr: NDArray[np.int64]
    values: NDArray[np.int64]
    triples: NDArray[np.int64]
    """Training triples of each property."""

    @classmethod
    def from_table(cls, table: pd.DataFrame) -> "CandidateOrdinals":
        """From columns property, value and count (of training triples): an ordinal is the rank in code-point order
        (graphstore)."""
        properties, row = np.unique(table["property"].to_numpy(dtype=object), return_inverse=True)
        _, value = np.unique(table["value"].to_numpy(dtype=object), return_inverse=True)
        order = np.lexsort((value, row))
        indptr = np.searchsorted(row[order], np.arange(len(properties) + 1))
        triples = np.bincount(row, table["count"], minlength=len(properties)).astype(np.int64)
        return cls(indptr, value[order], triples)

    def number(self, hidden: Triples) -> NDArray[np.int64]:
        """Candidates of each hidden triple's property, [Q]."""
        return np.diff(self.indptr)[hidden.property]

    def weights(self, hidden: Triples, balance: float) -> NDArray[np.float32]:
        """Of each hidden triple, [Q]: its property's triples to the power of -balance, over all triples 1."""
        weight = self.triples.astype(np.float64) ** -balance
        return (weight * self.triples.sum() / (weight @ self.triples)).astype(np.float32)[hidden.property]

    def draw(
        self, hidden: Triples, keys: NDArray[np.uint64], turn: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """K candidates of each hidden triple's property, [Q, K], and whether the place is used: all of them where
        there are K or fewer."""
        first, size = self.indptr[hidden.property], np.diff(self.indptr)[hidden.property]
        draws = rng.uniform(keys[:, None], turn[:, None] * rng.STREAM + np.arange(k))
        place = np.where(size[:, None] <= k, np.arange(k)[None, :], (draws * size[:, None]).astype(np.int64))
        used = place < size[:, None]
        return self.values[first[:, None] + np.where(used, place, 0)], used
