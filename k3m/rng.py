"""Random draws without hidden state: each is a function of (run seed, epoch, item id, purpose), so that the store,
the number of workers and a resumed run change nothing (design.md, Streaming). Counter-based: SplitMix64 over a key
and a position."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from graphstore.tables import digests

STREAM = 8192
"""Positions set aside for one thing that is drawn for: two such things of one key start this far apart."""
BLOCK = 2**16
"""Draws at a time, where they are as many as a catalogue has items or triples."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014)."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def key(*parts: object) -> np.uint64:
    """A 64-bit key of any printable parts, the same on every machine."""
    digest = blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def item_keys(items: Sequence[str] | NDArray[np.object_], *purpose: object) -> NDArray[np.uint64]:
    """One key an item id, [n], for one purpose (seed and epoch belong to the purpose)."""
    return keys_of(digests(items), *purpose)


def keys_of(own: NDArray[np.uint64], *purpose: object) -> NDArray[np.uint64]:
    """The same from the items' digests (`Store.item_digests`)."""
    return _mix(own + key(*purpose))


def uniform(keys: NDArray[np.uint64], positions: NDArray[np.int64]) -> NDArray[np.float64]:
    """Draw number `positions` of each key, in [0, 1); the two arrays broadcast."""
    bits = _mix(keys + (positions.astype(np.uint64) + np.uint64(1)) * _GOLDEN)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def distinct(draws: NDArray[np.float64], size: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row of draws as many distinct numbers below its size, every subset as likely as another; all of the
    numbers where there are no more than draws, and -1 for the rest. (Floyd's algorithm: Bentley and Floyd 1987.)"""
    k = draws.shape[1]
    chosen = np.where(np.arange(k) < size[:, None], np.arange(k), -1)
    more = np.flatnonzero(size > k)
    picked = np.empty((k, len(more)), dtype=np.int64)
    for nth in range(k):
        last = size[more] - k + nth
        drawn = (draws[more, nth] * (last + 1)).astype(np.int64)
        picked[nth] = np.where((picked[:nth] == drawn).any(axis=0), last, drawn)
    chosen[more] = picked.T
    return chosen


def order(n: int, *purpose: object) -> NDArray[np.int64]:
    """A permutation of 0..n-1."""
    draws = uniform(np.full(n, key(*purpose)), np.arange(n))
    return np.argsort(draws, kind="stable")


def first(most: int, n: int, *purpose: object) -> NDArray[np.int64]:
    """The first `most` of that permutation, which is not made: it holds a block of draws at a time."""
    chosen = np.empty(0, dtype=np.int64)
    for start in range(0, n, BLOCK):
        chosen = np.concatenate([chosen, np.arange(start, min(n, start + BLOCK))])
        draws = uniform(np.full(len(chosen), key(*purpose)), chosen)
        chosen = chosen[np.argsort(draws, kind="stable")[:most]]  # of equal draws the earlier stays ahead
    return chosen


def torch_seed(*purpose: object) -> int:
    """A seed for `torch.manual_seed`."""
    return int(key(*purpose) >> np.uint64(1))
