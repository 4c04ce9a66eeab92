"""The robustness protocols of the paper (section 4 there), as tables of what to change in a catalogue.

    TMR, IMR    no title, no image
    MMR         no title or no image, by halves
    TNR, INR    another item's title, another item's image
    TINR        another item's title and another's image
    MNR         a wrong title, a wrong image or both, by thirds
    KMR, KNR    a triple is missing, or has another value of its property (ours, per triple)

Of n items (triples) floor(ratio n + 1/2) are affected: the first in an order that is a function of (seed, item) alone.
What one of them suffers depends on its place in that order, so that all protocols hit the same items, and those of a
smaller ratio suffer the same at a larger one. Halves and thirds go round in that order, the title first: they are
exact to one item.

An item that lacks a title or image to begin with counts as affected where it would lose it. Only training triples are
changed. A wrong title, image or value always differs from the item's own.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from graphstore import Store
from graphstore.tables import digests
from k3m import rng
from k3m.candidates import Candidates

PROTOCOLS: dict[str, tuple[str, tuple[tuple[str, ...], ...]]] = {
    "TMR": ("missing", (("title",),)),
    "IMR": ("missing", (("image",),)),
    "MMR": ("missing", (("title",), ("image",))),
    "TNR": ("wrong", (("title",),)),
    "INR": ("wrong", (("image",),)),
    "TINR": ("wrong", (("title", "image"),)),
    "MNR": ("wrong", (("title",), ("image",), ("title", "image"))),
    "KMR": ("missing", (("triple",),)),
    "KNR": ("wrong", (("triple",),)),
}
"""What becomes of an affected item, and which of its modalities it becomes of: one after the other, in turn."""
COLUMNS = ["item", "protocol", "modality", "change", "property", "value", "new", "donor", "donors"]
"""Of a draw, all text. `value` is what was there and `new` what comes in its place (a title, an image's key, a value),
null for nothing; `property` is a triple's; `donor` an item, and `donors` those that it was drawn from."""
Donors = Literal["any", "category"]
_TRIES = 32
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Noise:
    """A protocol at a ratio."""

    protocol: str
    """A key of `PROTOCOLS`."""
    ratio: float
    """Share of the items (KMR, KNR: triples) that are affected."""
    seed: int = 0
    """Of the draw."""
    donors: Donors = "any"
    """Whose titles and images are taken: any item's, or one's of the same category (hard noise)."""

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"protocol is one of {', '.join(PROTOCOLS)} (got {self.protocol!r})")
        if not 0 <= self.ratio <= 1:
            raise ValueError(f"ratio is a share, 0 to 1 (got {self.ratio})")
        if self.donors not in get_args(Donors):
            raise ValueError(f"donors are {' or '.join(get_args(Donors))} (got {self.donors!r})")

    def affected(self, number: int) -> int:
        """Of so many."""
        return int(np.floor(self.ratio * number + 0.5))


def draw(store: Store, noise: Noise, items: Sequence[str]) -> pd.DataFrame:
    """A row for each thing that is changed (`COLUMNS`), in the drawn order.

    Args:
        store: the clean one; donors are its items, wrong values its training triples'.
        items: whose titles, images or triples may be changed; the ratio is of these.

    Raises:
        UnknownItems: items that the store has not.
        ValueError: where no other item has another title or image.
    """
    change, turns = PROTOCOLS[noise.protocol]
    if turns == (("triple",),):
        return _of_triples(store, noise, items, change)
    ids = np.array(sorted(set(items)), dtype=object)
    ids = ids[np.argsort(rng.uniform(rng.item_keys(ids, noise.seed, "affected"), np.zeros(1, np.int64)), kind="stable")]
    ids = ids[: noise.affected(len(ids))]
    turn = np.arange(len(ids)) % len(turns)
    parts, taken = [], np.full(len(ids), -1)
    catalogue = store.items(("title", "image", "category")).to_pandas()
    for modality in ("title", "image"):
        chosen = np.flatnonzero([modality in turns[place] for place in turn])
        rows, taken[chosen] = _of_modality(store, noise, catalogue, ids[chosen], taken[chosen], modality)
        parts.append(rows.assign(place=chosen))
    rows = pd.concat(parts).sort_values("place", kind="stable")
    return _table(rows.assign(protocol=noise.protocol, change=change))


def _table(rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows.reindex(columns=COLUMNS).astype(object).reset_index(drop=True)
    return rows.where(rows.notna(), None)


def _of_modality(
    store: Store, noise: Noise, catalogue: pd.DataFrame, ids: NDArray[np.object_], taken: Ints, modality: str
) -> tuple[pd.DataFrame, Ints]:
    """Rows of these items, and the ordinals of their donors: others than `taken` where there are others."""
    ords = store.item_ords(ids.tolist())
    rows = pd.DataFrame({"item": ids, "modality": modality, "value": catalogue[modality].to_numpy(object)[ords]})
    if PROTOCOLS[noise.protocol][0] == "missing":
        return rows.assign(new=None), np.full(len(ids), -1)
    keys = rng.item_keys(ids, noise.seed, "donors", modality, noise.donors)
    donor, drawn_from = _Pool(catalogue, modality, noise.donors).drawn(ords, keys, taken)
    content, donors = (catalogue[name].to_numpy(object)[donor] for name in (modality, "id"))
    return rows.assign(new=content, donor=donors, donors=drawn_from), donor


class _Pool:
    """Items that have a title (image), by category where the category decides."""

    def __init__(self, catalogue: pd.DataFrame, modality: str, donors: Donors) -> None:
        self.modality, self.donors = modality, donors
        self.content = pd.factorize(catalogue[modality])[0]  # -1 for none
        named = donors == "category"
        self.group = pd.factorize(catalogue["category"])[0] + 1 if named else np.zeros(len(catalogue), np.int64)
        self.members = np.flatnonzero(self.content >= 0)
        self.members = self.members[np.argsort(self.group[self.members], kind="stable")]
        self.first, self.end = (
            np.searchsorted(self.group[self.members], np.arange(self.group.max(initial=0) + 1), side)
            for side in ("left", "right")
        )

    def drawn(self, ords: Ints, keys: NDArray[np.uint64], taken: Ints) -> tuple[Ints, NDArray[np.object_]]:
        """A donor for each of these items, evenly among those whose content is another, and what it was drawn from.
        It is not the one that is `taken` unless there is no other."""
        first, size = (ends[self.group[ords]][:, None] for ends in (self.first, self.end - self.first))
        draws = rng.uniform(keys[:, None], np.arange(_TRIES))
        place = np.minimum(first + (draws * size).astype(np.int64), len(self.members) - 1)
        tried = self.members[place] if len(self.members) else np.full(place.shape, -1)
        other = (size > 0) & (self.content[tried] != self.content[ords][:, None]) & (tried != taken[:, None])
        donor = tried[np.arange(len(ords)), other.argmax(1)]
        drawn_from = np.full(len(ords), self.donors, dtype=object)
        for row in np.flatnonzero(~other.any(1)):
            donor[row], drawn_from[row] = self._searched(ords[row], draws[row, 0], taken[row])
        return donor, drawn_from

    def _searched(self, item: int, at: float, taken: int) -> tuple[int, Donors]:
        """Where the tries found none: all are looked through, at last those of other categories."""
        own = self.members[self.first[self.group[item]] : self.end[self.group[item]]]
        pools: list[tuple[Ints, Donors]] = [(own, self.donors), (self.members, "any")]
        for (pool, named), shunned in itertools.product(pools, (taken, -1)):
            others = pool[(self.content[pool] != self.content[item]) & (pool != shunned)]
            if len(others):
                return int(others[int(at * len(others))]), named
        raise ValueError(f"{self.modality} of no other item differs from that of item {item}: none can be wrong")


def _of_triples(store: Store, noise: Noise, items: Sequence[str], change: str) -> pd.DataFrame:
    key = ["item", "property", "value"]
    ords = store.item_ords(sorted(set(items)))
    triples = store.triples_of(ords).to_pandas()[key].astype(object)
    texts = triples["item"] + "\x1f" + triples["property"] + "\x1f" + triples["value"]
    keys = rng.keys_of(digests(texts), noise.seed, "triples")
    order = np.argsort(rng.uniform(keys, np.zeros(1, np.int64)), kind="stable")
    triples, keys = triples.iloc[order].assign(new=None), keys[order]
    if change == "wrong":
        true = store.triples_of(ords, (None, *store.counts().splits)).to_pandas()
        new = _wrong_values(triples, keys, Candidates.from_store(store), true)
        triples = triples.assign(new=new)[[value is not None for value in new]]
    rows = triples.head(noise.affected(len(triples)))
    return _table(rows.assign(protocol=noise.protocol, modality="triple", change=change))


def _wrong_values(
    triples: pd.DataFrame, keys: NDArray[np.uint64], candidates: Candidates, true: pd.DataFrame
) -> list[str | None]:
    """For each triple a candidate of its property that is no true value of the item and was given to none of its
    earlier triples; None where there is none."""
    used: dict[tuple[Any, ...], set[str]] = {}
    for item, name, value in zip(true["item"], true["property"], true["value"], strict=True):
        used.setdefault((item, name), set()).add(value)
    draws, found = rng.uniform(keys[:, None], np.arange(1, 9)), list[str | None]()
    for place, cell in enumerate(zip(triples["item"], triples["property"], strict=True)):
        new = _one_of(candidates.of(cell[1]), used[cell], draws[place])
        found.append(new)
        if new is not None:
            used[cell].add(new)
    return found


def _one_of(values: NDArray[np.object_], used: set[str], draws: NDArray[np.float64]) -> str | None:
    """Evenly among those that are not used."""
    for at in draws:
        value = values[int(at * len(values))]
        if value not in used:
            return str(value)
    others = [value for value in values if value not in used]
    return str(others[int(draws[0] * len(others))]) if others else None


def write_draw(changes: pd.DataFrame, path: Path) -> None:
    """As Parquet, every column text."""
    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    pq.write_table(pa.Table.from_pandas(changes, schema, preserve_index=False), path)


def read_draw(path: Path) -> pd.DataFrame:
    """What `write_draw` wrote."""
    return _table(pq.read_table(path).to_pandas())
