"""What pretraining takes from the input, swaps or moves in it now and then (`CorruptConfig`), drawn per item.

A modality that is missing or wrong is then nothing new to the model. Which item's title or photograph comes in place of
one's own depends on the batch; nothing else does.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

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

    def pixels(self, own: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B 3 h w"]:
        """Mirrored and moved."""
        if not (self.config.flip_image or self.config.shift_image):
            return own
        height, width = own.shape[2:]
        down, across = (np.rint((2 * self._draw(nth) - 1) * self.config.shift_image) for nth in (10, 11))
        y = np.clip(np.arange(height) + down[:, None], 0, height - 1)
        x = np.clip(np.arange(width) + across[:, None], 0, width - 1)
        x = np.where((self._draw(12) < self.config.flip_image)[:, None], width - 1 - x, x)
        row, channel = torch.arange(len(own))[:, None, None, None], torch.arange(3)[:, None, None]
        rows, columns = (torch.from_numpy(place.astype(np.int64)) for place in (y, x))
        return own[row, channel, rows[:, None, :, None], columns[:, None, None, :]]

    def shown(self, item: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the triples, whose items (rows of the batch, ascending) are given, the model may see. The share that
        it may not is itself drawn evenly."""
        position = np.arange(len(item)) - np.searchsorted(item, item)
        share = np.where(self._draw(8) < self.config.drop_graph, self._draw(9), 0.0)
        return rng.uniform(self.keys[item], rng.STREAM + position) >= share[item]

    def _draw(self, nth: int) -> NDArray[np.float64]:
        return rng.uniform(self.keys, np.array([nth]))
