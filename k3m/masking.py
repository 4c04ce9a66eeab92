"""What MLM and MOM hide, drawn per item (paper.md 2.3)."""

import numpy as np
from numpy.typing import NDArray

from k3m import rng
from k3m.text import CLS, MASK, PAD, SPECIAL

IGNORED = -100  # torch's cross_entropy passes over this label


def mask_titles(
    tokens: NDArray[np.int64], keys: NDArray[np.uint64], share: float, vocabulary: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Masked tokens and labels, both [B, L]: `share` of each title's tokens, of those 80 % [MASK], 10 % a random
    token, 10 % kept."""
    position = np.arange(tokens.shape[1])[None, :]
    draw, kind, other = (rng.uniform(keys[:, None], position + offset * rng.STREAM) for offset in range(3))
    asked = (draw < share) & (tokens != PAD) & (tokens != CLS)
    random_token = len(SPECIAL) + (other * (vocabulary - len(SPECIAL))).astype(np.int64)
    masked = np.where(kind < 0.8, MASK, np.where(kind < 0.9, random_token, tokens))
    return np.where(asked, masked, tokens), np.where(asked, tokens, IGNORED)


def mask_objects(
    present: NDArray[np.bool_], keys: NDArray[np.uint64], share: float, objects: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which objects MOM asks for and which of those are zeroed, both [B, objects]: `share` of the objects, exactly
    round(share * M) and one at least, of those 90 % zeroed; none of an item without a photograph."""
    position = np.arange(objects)[None, :]
    draws = rng.uniform(keys[:, None], position)
    rank = draws.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    asked = (rank < max(1, round(share * objects))) & present[:, None]
    zeroed = asked & (rng.uniform(keys[:, None], position + rng.STREAM) < 0.9)
    return asked, zeroed
