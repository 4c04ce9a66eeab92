"""What a catalogue holds, short enough to keep: a digest an item, and the cells that are missing. Of two such states it
says which items are new or changed, and what there is to complete."""

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import pandas as pd

from graphstore import Store
from graphstore.tables import Ints
from k3m.applicability import Applicability

CELL = ["item", "property"]


@dataclass(frozen=True)
class CatalogueState:
    """Of one data version."""

    data_version: int
    items: pd.Series
    """A digest (16 hexadecimal figures) of each item's fields and triples, by id."""
    missing: pd.DataFrame
    """The cells (item, property) that may be asked and have no value."""

    @classmethod
    def of(cls, store: Store) -> "CatalogueState":
        """Read block by block."""
        applicability = Applicability.from_store(store)
        blocks = [_described(store, block, applicability) for block in store.item_blocks()]
        none = pd.Series([], dtype=object), pd.DataFrame(columns=CELL, dtype=object)
        digests, missing = zip(*blocks, strict=True) if blocks else ([none[0]], [none[1]])
        return cls(store.data_version, pd.concat(digests), pd.concat(missing, ignore_index=True))

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.missing.to_parquet(folder / "missing.parquet", index=False)
        rows = self.items.rename("digest").rename_axis("id").reset_index()
        rows.assign(data_version=self.data_version).to_parquet(folder / "items.parquet", index=False)

    @classmethod
    def load(cls, folder: Path) -> "CatalogueState":
        rows = pd.read_parquet(folder / "items.parquet")
        version = int(rows["data_version"].iloc[0]) if len(rows) else 0
        return cls(version, rows.set_index("id")["digest"], pd.read_parquet(folder / "missing.parquet"))

    def new(self, before: "CatalogueState") -> pd.Index:
        """Ids of the items that were not there before."""
        return self.items.index.difference(before.items.index)

    def changed(self, before: "CatalogueState") -> pd.Index:
        """Ids of the items that were there with other fields or triples."""
        both = self.items.index.intersection(before.items.index)
        return both[self.items.loc[both].to_numpy() != before.items.loc[both].to_numpy()]

    def to_complete(self, before: "CatalogueState") -> pd.DataFrame:
        """The missing cells of items that are new or changed, and those that were not missing before."""
        moved = self.missing["item"].isin(self.new(before).union(self.changed(before)))
        known = pd.MultiIndex.from_frame(self.missing[CELL]).isin(pd.MultiIndex.from_frame(before.missing[CELL]))
        return self.missing[moved | ~known].reset_index(drop=True)


def _described(store: Store, block: Ints, applicability: Applicability) -> tuple[pd.Series, pd.DataFrame]:
    """Digests and missing cells of the items with these ordinals."""
    fields = store.item_fields()
    held = store.item_features(block, ("id", *fields))
    triples = store.triples_of(block, (None, *store.counts().splits))
    facts: dict[str, list[tuple[str | None, ...]]] = {item: [] for item in held["id"]}
    for item, *fact in zip(*(column.to_pylist() for column in triples.columns), strict=True):
        facts[item].append(tuple(fact))
    # Without what an item lacks: a field that another item brought in changes none of the rest.
    own = (
        [(name, held[name][place]) for name in sorted(fields) if held[name][place] is not None]
        for place in range(len(held["id"]))
    )
    texts = (repr((of_item, facts[item])) for of_item, item in zip(own, held["id"], strict=True))
    digests = [blake2b(text.encode(), digest_size=8).hexdigest() for text in texts]
    described = pd.DataFrame({"id": held["id"], "category": held["category"]})
    missing = applicability.missing(described, triples.select([*CELL, "split"]).to_pandas())[list(CELL)]
    return pd.Series(digests, index=held["id"], dtype=object), missing
