"""Which properties may be asked of an item: those that at least 5 % of the items of its category have among their
training triples.

An item without a category, or of one never seen, is asked what at least 5 % of all items have.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from graphstore import Store

SHARE = 0.05
ANY = ""
"""Stands for all categories together."""


@dataclass(frozen=True)
class Applicability:
    """`table`: columns category, property; one row a property that may be asked of items of the category."""

    table: pd.DataFrame

    @classmethod
    def from_store(cls, store: Store, share: float = SHARE) -> "Applicability":
        sizes = store.category_counts().to_pandas().fillna({"category": ANY})
        cells = store.property_counts().to_pandas().fillna({"category": ANY})
        of_all = _frequent(cells.assign(category=ANY), sizes.assign(category=ANY), share)
        of_each = _frequent(cells[cells["category"] != ANY], sizes, share)
        return cls(pd.concat([of_all, of_each], ignore_index=True))

    @classmethod
    def load(cls, path: Path) -> "Applicability":
        return cls(pd.read_parquet(path))

    def save(self, path: Path) -> None:
        self.table.to_parquet(path)

    def missing(self, items: pd.DataFrame, present: pd.DataFrame) -> pd.DataFrame:
        """The cells (item, property) that may be asked and that `present` (item, property) has not, sorted.

        Args:
            items: columns id and category.
        """
        category = items["category"].where(items["category"].isin(self.table["category"].unique()), ANY)
        asked = pd.DataFrame({"item": items["id"], "category": category}).merge(self.table, on="category")[
            ["item", "property"]
        ]
        held = pd.MultiIndex.from_frame(present[["item", "property"]])
        cells = asked[~pd.MultiIndex.from_frame(asked).isin(held)]
        return cells.sort_values(["property", "item"], ignore_index=True)


def _frequent(cells: pd.DataFrame, sizes: pd.DataFrame, share: float) -> pd.DataFrame:
    """Of how many items of a category have a property, and how many there are."""
    having = cells.groupby(["category", "property"], as_index=False)["items"].sum()
    counts = having.merge(
        sizes.groupby("category", as_index=False)["items"].sum(), on="category", suffixes=("", "_all")
    )
    return counts.loc[counts["items"] >= share * counts["items_all"], ["category", "property"]]
