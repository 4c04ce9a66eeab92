"""Keeping facts back for evaluation, by hash: a cell's fate follows from (seed, item, property) alone, in any order
of rows."""

from collections.abc import Collection
from hashlib import blake2b

import pandas as pd

MOST_KNOWN = 3
"""An item has this many triples at least before one of its cells is kept back."""


def hold_out(triples: pd.DataFrame, share: float, seed: int, base: Collection[str] = ()) -> pd.DataFrame:
    """Triples with `split` set: of the items with three triples or more, whole (item, property) cells, `share / 2` of
    them to valid and as many to test; and of all items a further `share / 2` to cold, which keep for training the
    properties in `base` alone.

    Raises:
        ValueError: a share outside [0, 1), or a base property that no triple has.
    """
    if not 0 <= share < 1:
        raise ValueError(f"--holdout must be in [0, 1) (got {share})")
    unknown = sorted(set(base) - set(triples["property"]))
    if unknown:
        raise ValueError(f"--base: no triple has the property {', '.join(unknown)}")
    cold = {item: _draw(seed, "cold", item) < share / 2 for item in triples["item"].unique()}
    degree = triples.groupby("item")["value"].transform("size")
    cells = triples[["item", "property"]].drop_duplicates()
    draws = {cell: _draw(seed, "cell", *cell) for cell in cells.itertuples(index=False, name=None)}
    rows = zip(triples["item"], triples["property"], degree >= MOST_KNOWN, strict=True)
    split = [
        (None if property in base else "cold")
        if cold[item]
        else _cell_split(draws[item, property], share)
        if enough
        else None
        for item, property, enough in rows
    ]
    return triples.assign(split=pd.Series(split, index=triples.index, dtype=object))


def _cell_split(draw: float, share: float) -> str | None:
    return "valid" if draw < share / 2 else "test" if draw < share else None


def _draw(*parts: object) -> float:
    """Uniform in [0, 1), a function of the parts."""
    digest = blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64
