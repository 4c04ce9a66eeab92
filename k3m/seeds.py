"""The order of an epoch's items: blocks of the catalogue in a drawn order, items drawn within a buffer of blocks.

A function of what is named as purpose alone. It holds one buffer of ordinals and a number a block, never a permutation
as long as the catalogue; starting later in the epoch draws nothing of what is skipped. A catalogue that fits into one
buffer is shuffled whole.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from k3m import rng

BLOCK = 1024
"""Items a block."""
BUFFER = 64
"""Blocks a buffer."""


class ShuffledItems(Sampler[int]):
    """The ordinals 0..n-1, each once, from the `start`-th of the drawn order on."""

    def __init__(self, n: int, *purpose: object, start: int = 0) -> None:
        self.n, self.purpose, self.start = n, purpose, min(start, n)

    def __len__(self) -> int:
        return self.n - self.start

    def __iter__(self) -> Iterator[int]:
        blocks = rng.order(-(-self.n // BLOCK), *self.purpose, "blocks")
        skip = self.start
        for first in range(0, len(blocks), BUFFER):
            held = blocks[first : first + BUFFER]
            size = int(np.minimum(BLOCK, self.n - held * BLOCK).sum())
            if skip < size:
                yield from self._buffer(held, size, first)[skip:].tolist()
            skip = max(0, skip - size)

    def _buffer(self, blocks: NDArray[np.int64], size: int, first: int) -> NDArray[np.int64]:
        items = (blocks[:, None] * BLOCK + np.arange(BLOCK)).ravel()
        return items[items < self.n][rng.order(size, *self.purpose, "items", first)]


class SharedItems(Sampler[int]):
    """One process's part of every batch that `world` processes share: `items` in batches of `world` times `batch_size`,
    of each an equal part in the order of the ranks. Where an epoch's last batch has no item for a process, it takes the
    batch's first."""

    def __init__(self, items: Iterable[int], batch_size: int, rank: int, world: int) -> None:
        self.items, self.together, self.rank, self.world = items, batch_size * world, rank, world

    def __iter__(self) -> Iterator[int]:
        remaining = iter(self.items)
        while batch := list(islice(remaining, self.together)):
            part = -(-len(batch) // self.world)
            yield from batch[self.rank * part : (self.rank + 1) * part] or batch[:1]
