"""What people rejected of a run's proposals, as true negatives: on request (`loss.rejected`), and the only thing that
training reads of what comes back into a store.

A proposal is of a cell that the item lacks, so that LPM, which hides triples that are there, never asks for it. A
rejection is therefore asked on its own: the rejected value is held against the property's other candidates, which stand
for the unknown true one (`losses.rejection_loss`). Rejections whose value is no candidate of the property in training
are never ranked, and are left out.

Legend: N rejections, K other values of each.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from k3m.candidates import Candidates
from k3m.negatives import CandidateOrdinals
from k3m.sampler import Triples

if TYPE_CHECKING:
    from graphstore import Store

NAME = "rejections.parquet"
_COLUMNS = ["item", "property", "value"]


class Rejections:
    """`table`: columns item, property, value, in code-point order. A run keeps those that it began with, so that it is
    resumed to the same weights whatever people say meanwhile."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.table = table[_COLUMNS].sort_values(_COLUMNS, ignore_index=True)

    @classmethod
    def from_store(cls, store: "Store") -> "Rejections":
        return cls(store.rejections().to_pandas())

    def save(self, directory: Path) -> None:
        """Into a run's folder."""
        self.table.to_parquet(directory / NAME, index=False)

    @classmethod
    def of_run(cls, directory: Path) -> "Rejections | None":
        """None where the run reads none."""
        path = directory / NAME
        return cls(pd.read_parquet(path)) if path.exists() else None

    def ordinals(self, store: "Store", candidates: Candidates) -> "RejectedOrdinals":
        """Those of candidates, as the store numbers them (`CandidateOrdinals`).

        Raises:
            UnknownItems: of items that the store has not.
        """
        known = self.table.merge(candidates.table, on=["property", "value"])
        item = store.item_ords(known["item"].tolist())
        prop, value = (_ranks(known[name], candidates.table[name]) for name in ("property", "value"))
        order = np.lexsort((value, prop, item))
        return RejectedOrdinals(item[order], prop[order], value[order])


def _ranks(texts: pd.Series, names: pd.Series) -> NDArray[np.int64]:
    """Place of each text among the sorted, distinct names."""
    return np.searchsorted(np.unique(names.to_numpy(dtype=object)), texts.to_numpy(dtype=object)).astype(np.int64)


@dataclass(frozen=True)
class RejectedOrdinals:
    """Rejections as a store's ordinals, sorted; all [n]."""

    item: NDArray[np.int64]
    property: NDArray[np.int64]
    value: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.item)

    def of(self, items: NDArray[np.int64]) -> Triples:
        """Those of these items (ordinals); `item` is the place among them."""
        first, end = (np.searchsorted(self.item, items, side) for side in ("left", "right"))
        row = np.repeat(np.arange(len(items)), end - first)
        place = np.arange(len(row)) - np.repeat(np.cumsum(end - first) - end, end - first)
        return Triples(row, self.property[place], self.value[place], np.full(len(row), -1))


def others_of(
    rejected: Triples, candidates: CandidateOrdinals, keys: NDArray[np.uint64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """What may be true instead of each rejected value: candidates of its property (ordinals, [N, K]), which of them
    count (those that were rejected too do not), and how many they are a draw of.

    Args:
        keys: of the draws, one for each item of the batch.
    """
    turn = np.arange(len(rejected)) - np.searchsorted(rejected.item, rejected.item)
    values, used = candidates.draw(rejected, keys[rejected.item], turn, k)
    cell = rejected.item * len(candidates.triples) + rejected.property
    number = int(candidates.values.max(initial=0)) + 1
    mask = used & ~np.isin(cell[:, None] * number + values, cell * number + rejected.value)
    _, row, size = np.unique(cell, return_inverse=True, return_counts=True)
    whole = candidates.number(rejected) <= k
    return values, mask, np.where(whole, mask.sum(1), candidates.number(rejected) - size[row])
