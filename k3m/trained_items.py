"""Which items a run could have been trained on: those that its store had. Eight bytes an item, in the run folder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from graphstore import Store
from graphstore.tables import digests

NAME = "items.npy"


def record(store: Store, directory: Path) -> None:
    """Add the store's items to those of the run."""
    ours = [store.item_digests(block) for block in store.item_blocks()]
    before = [np.load(directory / NAME)] if (directory / NAME).exists() else []
    np.save(directory / NAME, np.unique(np.concatenate([np.empty(0, np.uint64), *before, *ours])))


def new_to(directory: Path, items: Sequence[str]) -> Bool[np.ndarray, " n"]:
    """Which of the items came after the run's training.

    Raises:
        ValueError: for a run of before runs kept their items.
    """
    if not (directory / NAME).exists():
        raise ValueError(f"{directory} does not say which items its store had ({NAME} is missing): train it again")
    return ~np.isin(digests(items), np.load(directory / NAME))
