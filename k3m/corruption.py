"""What pretraining takes from the input or swaps in it now and then (`CorruptConfig`), drawn per item.

A modality that is missing or wrong is then nothing new to the model. Which item's title or photograph comes in place of
one's own depends on the batch; nothing else does.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from k3m import rng
from k3m.config import CorruptConfig


@dataclass(frozen=True)
class Corruption:
    """Draws for the items of a batch, whose `keys` are functions of (run seed, epoch, item)."""

    config: CorruptConfig
    keys: NDArray[np.uint64]

    def titles(self, own: NDArray[np.object_]) -> NDArray[np.object_]:
        """[B], None where it is missing."""
        return self._changed(own, self.config.drop_title, self.config.swap_title, 0)

    def images(self, own: NDArray[np.object_]) -> NDArray[np.object_]:
        return self._changed(own, self.config.drop_image, self.config.swap_image, 4)

    def _changed(self, own: NDArray[np.object_], drop: float, swap: float, first: int) -> NDArray[np.object_]:
        swapped, dropped, other = (self._draw(first + nth) for nth in range(3))
        changed = np.where(swapped < swap, own[(other * len(own)).astype(np.int64)], own)
        changed[dropped < drop] = None
        return changed

    def shown(self, item: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the triples, whose items (rows of the batch, ascending) are given, the model may see. The share that
        it may not is itself drawn evenly."""
        position = np.arange(len(item)) - np.searchsorted(item, item)
        share = np.where(self._draw(8) < self.config.drop_graph, self._draw(9), 0.0)
        return rng.uniform(self.keys[item], rng.STREAM + position) >= share[item]

    def _draw(self, nth: int) -> NDArray[np.float64]:
        return rng.uniform(self.keys, np.array([nth]))
