"""The values that can answer for a property: those seen for it in training triples, in code-point order.

Kept-back triples never enter: `from_store` reads training triples alone. A run keeps its candidates, so that the
columns of its scores stay where they are when the store grows.
"""

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Int64, Shaped

if TYPE_CHECKING:
    from graphstore import Store

_COLUMNS = ["property", "value", "count"]


class Candidates:
    """`table`: a row for each property and value of training (columns property, value, count), in code-point order."""

    def __init__(self, table: pd.DataFrame) -> None:
        if list(table) != _COLUMNS:
            raise ValueError(f"candidates have the columns {_COLUMNS} (got {list(table)})")
        self.table = table.sort_values(["property", "value"], ignore_index=True)
        self._values = self.table["value"].to_numpy(dtype=object)
        self._counts = self.table["count"].to_numpy(dtype=np.int64)
        names, first = np.unique(self.table["property"].to_numpy(dtype=object), return_index=True)
        self.properties: list[str] = names.tolist()
        """Properties with a candidate, in code-point order."""
        self._rows = {name: slice(*ends) for name, ends in zip(names, pairwise([*first, len(table)]), strict=True)}

    @classmethod
    def from_triples(cls, training: pd.DataFrame) -> "Candidates":
        """From training triples: columns property and value, a row a triple."""
        return cls(training.groupby(["property", "value"], as_index=False).size().rename(columns={"size": "count"}))

    @classmethod
    def from_store(cls, store: "Store") -> "Candidates":
        return cls(store.value_counts().rename_columns(_COLUMNS).to_pandas())

    def of(self, property: str) -> Shaped[np.ndarray, " K"]:
        """Its values (str, as objects); none for a property that training has not."""
        return self._values[self._rows.get(property, slice(0))]

    def counts(self, property: str) -> Int64[np.ndarray, " K"]:
        """Training triples of each value of `of(property)`."""
        return self._counts[self._rows.get(property, slice(0))]

    def columns(self, property: str, values: "pd.Series | np.ndarray") -> Int64[np.ndarray, " n"]:
        """Place of each value in `of(property)`, -1 for one that training has never seen for it."""
        return pd.Index(self.of(property), dtype=object).get_indexer(pd.Index(values, dtype=object)).astype(np.int64)

    def save(self, path: Path) -> None:
        """As Parquet."""
        self.table.to_parquet(path, index=False)

    @classmethod
    def load(cls, path: Path) -> "Candidates":
        return cls(pd.read_parquet(path))
