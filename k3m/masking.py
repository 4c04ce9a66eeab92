"""What MLM and MOM hide, drawn per item (paper.md 2.3)."""

import numpy as np
from numpy.typing import NDArray

from k3m import rng
from k3m.text import Vocabulary

IGNORED = -100  # torch's cross_entropy passes over this label


def mask_titles(
    tokens: NDArray[np.int64], keys: NDArray[np.uint64], share: float, vocabulary: Vocabulary
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Masked tokens and labels, both [B, L]: `share` of each title's tokens, of those 80 % [MASK], 10 % a random
    token, 10 % kept."""
    position = np.arange(tokens.shape[1])[None, :]
    draw, kind, other = (rng.uniform(keys[:, None], position + offset * rng.STREAM) for offset in range(3))
    asked = (draw < share) & (tokens != vocabulary.pad) & (tokens != vocabulary.cls)
    masked = np.where(kind < 0.8, vocabulary.mask, np.where(kind < 0.9, _ordinary(other, vocabulary), tokens))
    return np.where(asked, masked, tokens), np.where(asked, tokens, IGNORED)


def _ordinary(draws: NDArray[np.float64], vocabulary: Vocabulary) -> NDArray[np.int64]:
    """A token that is none of the special ones."""
    ordinary = (draws * (vocabulary.size - len(vocabulary.special))).astype(np.int64)
    for special in sorted(vocabulary.special):  # each moves those from its own number on by one
        ordinary += ordinary >= special
    return ordinary


def mask_objects(
    there: NDArray[np.bool_], keys: NDArray[np.uint64], share: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which objects MOM asks for and which of those are zeroed, both [B, M]: of the M' objects that are `there` of an
    item, exactly round(share * M') and one at least, of those 90 % zeroed; none of an item without a photograph."""
    position = np.arange(there.shape[1])[None, :]
    draws = np.where(there, rng.uniform(keys[:, None], position), 2.0)
    rank = draws.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    number = np.maximum(1, np.rint(share * there.sum(1)))
    asked = (rank < number[:, None]) & there
    zeroed = asked & (rng.uniform(keys[:, None], position + rng.STREAM) < 0.9)
    return asked, zeroed
