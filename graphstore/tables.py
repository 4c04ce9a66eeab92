"""Tables of items, triples and properties as every store takes them, checked; and their ordinals.

An item's ordinal is its id's rank in code-point order. Values and properties rank likewise, those of training triples
first and those that only kept-back triples have last, so that training sees the same ordinals whether kept-back
triples exist or not. A training triple's edge id is its rank in (item, property, value) order. Arrow sorts strings by
their UTF-8 bytes, which is code-point order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from graphstore.errors import SchemaError

Table = pa.Table | pd.DataFrame
Ints = NDArray[np.int64]

ITEM_FIELDS = ("title", "category", "image")
TRIPLE_COLUMNS = ("item", "property", "value", "source", "split")
KEY = ("item", "property", "value")
RESERVED = ("ord", "first")
"""Columns of ours on items."""


def as_arrow(table: Table) -> pa.Table:
    """Arrow with plain strings; a column of nulls alone is one of strings."""
    if isinstance(table, pd.DataFrame):
        table = pa.Table.from_pandas(table, preserve_index=False)
    table = table.replace_schema_metadata(None)
    for place, field in enumerate(table.schema):
        if pa.types.is_large_string(field.type) or pa.types.is_null(field.type) or pa.types.is_dictionary(field.type):
            table = table.set_column(place, field.name, table[field.name].cast(pa.string()))
    return table


def item_table(items: Table) -> pa.Table:
    """id, title, category, image and any further columns, sorted by id.

    Raises:
        SchemaError: no id column, an empty or repeated id, or a column name that is ours.
    """
    table = as_arrow(items)
    _require_columns("items", table, ("id",))
    reserved = sorted(set(RESERVED) & set(table.column_names))
    if reserved:
        raise SchemaError(f"items may not have a column {', '.join(reserved)}: the store keeps its own there")
    _require_text("items", table, "id")
    for field in ITEM_FIELDS:
        if field not in table.column_names:
            table = table.append_column(field, pa.nulls(len(table), pa.string()))
    _require_distinct("items", table, ("id",))
    return table.take(pc.sort_indices(table["id"]))


def triple_table(triples: Table) -> pa.Table:
    """item, property, value, source, split, sorted by the first three.

    Raises:
        SchemaError: a missing column, an empty cell, or the same triple twice.
    """
    table = as_arrow(triples)
    _require_columns("triples", table, KEY)
    for column in KEY:
        _require_text("triples", table, column)
    for column in ("source", "split"):
        if column not in table.column_names:
            table = table.append_column(column, pa.nulls(len(table), pa.string()))
    table = table.select(list(TRIPLE_COLUMNS)).cast(pa.schema([(name, pa.string()) for name in TRIPLE_COLUMNS]))
    _require_distinct("triples", table, KEY)
    return sorted_triples(table)


def property_table(properties: Table | None) -> pa.Table:
    """name and group; empty for None."""
    if properties is None:
        return pa.table({"name": pa.array([], pa.string()), "group": pa.array([], pa.string())})
    table = as_arrow(properties)
    _require_columns("properties", table, ("name", "group"))
    _require_distinct("properties", table, ("name",))
    return table.select(["name", "group"])


def sorted_triples(table: pa.Table) -> pa.Table:
    return table.take(pc.sort_indices(table, [(name, "ascending") for name in KEY]))


def require_known_items(triples: pa.Table, ids: pa.ChunkedArray) -> None:
    known = pc.is_in(triples["item"], pa.array(ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids))
    if not pc.all(known).as_py():
        first = triples.filter(pc.invert(known)).slice(0, 1).to_pylist()[0]
        raise SchemaError(
            f"triples: item {first['item']!r} of <{first['item']}, {first['property']}, {first['value']}> is no item"
        )


def _require_columns(name: str, table: pa.Table, columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in table.column_names]
    if missing:
        raise SchemaError(f"{name} need the columns {', '.join(columns)} (got {', '.join(table.column_names)})")


def _require_text(name: str, table: pa.Table, column: str) -> None:
    if not pa.types.is_string(table.schema.field(column).type):
        raise SchemaError(f"{name}: column {column} must hold strings (got {table.schema.field(column).type})")
    empty = pc.fill_null(pc.equal(table[column], ""), True)
    if pc.any(empty).as_py():
        row = pc.index(empty, True).as_py()
        raise SchemaError(f"{name}: row {row} has an empty {column}: {table.slice(row, 1).to_pylist()[0]}")


def _require_distinct(name: str, table: pa.Table, columns: Sequence[str]) -> None:
    counts = table.group_by(list(columns)).aggregate([([], "count_all")])
    twice = counts.filter(pc.greater(counts["count_all"], 1))
    if len(twice):
        first = twice.slice(0, 1).to_pylist()[0]
        raise SchemaError(
            f"{name}: {', '.join(repr(first[column]) for column in columns)} occurs {first['count_all']} times"
        )


@dataclass(frozen=True)
class Ordinals:
    """The names behind the ordinals of properties and values."""

    properties: pa.Array
    values: pa.Array
    num_training_properties: int
    num_training_values: int

    @classmethod
    def of(cls, triples: pa.Table) -> "Ordinals":
        training = triples.filter(pc.is_null(triples["split"]))
        properties, num_properties = _training_first(training["property"], triples["property"])
        values, num_values = _training_first(training["value"], triples["value"])
        return cls(properties, values, num_properties, num_values)


def _training_first(training: pa.ChunkedArray, every: pa.ChunkedArray) -> tuple[pa.Array, int]:
    first = _sorted_distinct(training)
    rest = _sorted_distinct(every)
    rest = rest.filter(pc.invert(pc.is_in(rest, first)))
    return pa.concat_arrays([first, rest]), len(first)


def _sorted_distinct(column: pa.ChunkedArray) -> pa.Array:
    distinct = pc.unique(column)
    return distinct.take(pc.sort_indices(distinct))


def positions(column: pa.ChunkedArray, names: pa.Array) -> Ints:
    """Place of each of the column's strings in `names`, all of which are there."""
    return pc.index_in(column, names).to_numpy().astype(np.int64)


def objects(column: pa.ChunkedArray | pa.Array) -> NDArray[np.object_]:
    """Strings (or numbers) as Python objects, None where missing."""
    found = np.empty(len(column), dtype=object)
    found[:] = column.to_pylist()
    return found
