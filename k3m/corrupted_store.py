"""A catalogue with changes drawn by `k3m.protocols`, as a read-only store: whoever reads it does not know.

The same as a store into which the changed tables were ingested. It holds the tables of the whole catalogue, in memory
where the store beneath is no snapshot.
"""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from graphstore import ArrayStore, Store
from graphstore.arrays import Arrays
from graphstore.tables import KEY, objects, sorted_triples


class CorruptedStore(ArrayStore):
    """The items and triples of `clean`, changed.

    Attributes:
        clean: the store beneath.
        changes: a draw of its items (`protocols.draw`).

    Raises:
        ValueError: a change of what the store has not: it was drawn for another catalogue.
    """

    def __init__(self, clean: Store, changes: pd.DataFrame) -> None:
        of_triples = changes["modality"] == "triple"
        arrays = _arrays_of(clean)
        arrays = _with_items(clean, arrays, changes[~of_triples])
        if of_triples.any():
            arrays = _with_triples(arrays, changes[of_triples])
        super().__init__(arrays, clean.images, f"{clean.location} (corrupted)")
        self.clean, self.changes = clean, changes

    def __reduce__(self) -> tuple[Any, ...]:
        return CorruptedStore, (self.clean, self.changes)


def _arrays_of(store: Store) -> Arrays:
    if isinstance(store, ArrayStore):
        return store.arrays
    groups = store.property_groups()
    return Arrays.of(
        store.items(store.item_fields()),
        store.triples((None, *store.counts().splits)),
        pa.table({"name": pa.array(groups, pa.string()), "group": pa.array(groups.values(), pa.string())}),
        store.data_version,
        store.rejections(),
    )


def _with_items(clean: Store, arrays: Arrays, changes: pd.DataFrame) -> Arrays:
    items = arrays.items
    for name, rows in changes.groupby("modality"):
        column, ords = objects(items[name]), clean.item_ords(rows["item"].tolist())
        _require_same(rows, column[ords])
        column[ords] = rows["new"].to_numpy(object)
        items = items.set_column(items.column_names.index(name), name, pa.array(column, pa.string()))
    return dataclasses.replace(arrays, items=items)


def _require_same(rows: pd.DataFrame, found: NDArray[np.object_]) -> None:
    wrong = np.flatnonzero(found != rows["value"].to_numpy(object))
    if len(wrong):
        row = rows.iloc[wrong[0]]
        raise ValueError(
            f"changes of another catalogue: the {row['modality']} of item {row['item']} is {found[wrong[0]]!r}, "
            f"not {row['value']!r}"
        )


def _with_triples(arrays: Arrays, changes: pd.DataFrame) -> Arrays:
    triples = arrays.triples.to_pandas().astype(object)
    training = np.flatnonzero(triples["split"].isna())
    there = pd.MultiIndex.from_frame(triples.iloc[training][list(KEY)])
    place = there.get_indexer(pd.MultiIndex.from_frame(changes[list(KEY)]))
    if (place < 0).any():
        lacking = changes.iloc[int(np.argmax(place < 0))]
        raise ValueError(
            f"changes of another catalogue: it has no training triple "
            f"<{lacking['item']}, {lacking['property']}, {lacking['value']}>"
        )
    values = triples["value"].to_numpy(object, copy=True)
    values[training[place]] = changes["new"].to_numpy(object)
    triples = triples.assign(value=values)
    kept = triples[triples["value"].notna()]
    table = sorted_triples(pa.Table.from_pandas(kept, arrays.triples.schema, preserve_index=False))
    return Arrays.of(
        arrays.items, table, arrays.properties.select(["name", "group"]), arrays.data_version, arrays.rejections
    )
