"""Tables of items, triples and properties as every store takes them, checked; and their ordinals.

Strings are any text, of any length but for item ids and property names (MAX_KEY_BYTES, what Neo4j's indexes hold).
NaN is null.

An item's ordinal is its id's rank in code-point order. Values and properties rank likewise, those of training triples
first and those that only kept-back triples have last, so that training sees the same ordinals whether kept-back
triples exist or not. A training triple's edge id is its rank in (item, property, value) order. Arrow sorts strings by
their UTF-8 bytes, which is code-point order.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from graphstore.errors import SchemaError

Table: TypeAlias = pa.Table | pd.DataFrame
Ints = NDArray[np.int64]

ITEM_FIELDS = ("title", "category", "image")
TRIPLE_COLUMNS = ("item", "property", "value", "source", "split", "original")
KEY = ("item", "property", "value")
PROPERTY_COLUMNS = ("name", "group")
HAS_COLUMNS = tuple(name for name in TRIPLE_COLUMNS if name not in ("item", "value"))
"""What a relationship holds; its ends are the other two."""
MORE_COLUMNS = tuple(name for name in TRIPLE_COLUMNS if name not in KEY)
VALUE_COUNTS = pa.schema([("property", pa.string()), ("value", pa.string()), ("triples", pa.int64())])
PROPERTY_COUNTS = pa.schema([("category", pa.string()), ("property", pa.string()), ("items", pa.int64())])
DEGREE_COUNTS = pa.schema([("triples", pa.int64()), ("items", pa.int64())])
CATEGORY_COUNTS = pa.schema([("category", pa.string()), ("items", pa.int64())])
"""Of tables of counts: keys, then how often they occur."""
RESERVED = ("ord", "first", "embedding", "embedding_run", "embedding_model", "embedding_version")
"""Columns of ours on items."""
MAX_KEY_BYTES = 8000


def as_arrow(name: str, table: Table) -> pa.Table:
    """Arrow with plain strings and null for NaN; a column of nulls alone is one of strings."""
    if isinstance(table, pd.DataFrame):
        try:
            table = pa.Table.from_pandas(table, preserve_index=False)
        except (TypeError, ValueError) as error:  # among them Arrow's own, and text that is no Unicode
            raise SchemaError(f"{name}: a column that Arrow cannot hold: {error}") from error
    if not isinstance(table, pa.Table):
        raise SchemaError(f"{name} must be a pandas frame or an Arrow table (got {type(table).__name__})")
    repeated = [column for column, times in Counter(table.column_names).items() if times > 1]
    if repeated:
        raise SchemaError(f"{name} have the column {', '.join(repeated)} more than once")
    table = table.replace_schema_metadata(None)
    for place, field in enumerate(table.schema):
        table = table.set_column(place, field.name, _plain(table[field.name]))
    return table


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    text = (pa.types.is_large_string, pa.types.is_string_view, pa.types.is_dictionary, pa.types.is_null)
    if any(test(kind) for test in text):
        return column.cast(pa.string())
    if pa.types.is_floating(kind):
        return pc.if_else(pc.is_nan(column), None, column)
    return column


def item_table(items: Table) -> pa.Table:
    """id and any of title, category, image and further columns, sorted by id.

    Raises:
        SchemaError: no id column, an empty or repeated id, or a column name that is ours.
    """
    table = as_arrow("items", items)
    require_columns("items", table, ("id",))
    reserved = [name for name in table.column_names if name.lower() in RESERVED]
    if reserved:
        raise SchemaError(f"items may not have a column {', '.join(reserved)}: the store keeps its own there")
    require_text("items", table, "id", MAX_KEY_BYTES)
    require_distinct("items", table, ("id",))
    return table.take(pc.sort_indices(table["id"]))


def triple_table(triples: Table) -> pa.Table:
    """item, property, value and those of source, split, original that are given, sorted by the first three.

    Raises:
        SchemaError: a missing column, an empty cell, or the same triple twice.
    """
    table = as_arrow("triples", triples)
    require_columns("triples", table, KEY)
    for column, longest in (("item", MAX_KEY_BYTES), ("property", MAX_KEY_BYTES), ("value", None)):
        require_text("triples", table, column, longest)
    given = [name for name in TRIPLE_COLUMNS if name in table.column_names]
    table = table.select(given).cast(pa.schema([(name, pa.string()) for name in given]))
    if "split" in given:  # null is for training; an empty name could be either
        refuse_rows("triples", table, "an empty split", pc.fill_null(pc.equal(table["split"], ""), False))
    places = _places(table)
    if (np.diff(np.sort(places)) == 0).any():
        require_distinct("triples", table, KEY)
    ascending = bool((places[1:] >= places[:-1]).all())  # as many catalogues come: those are not copied
    return table if ascending else table.take(np.argsort(places, kind="stable"))


def property_table(properties: Table | None) -> pa.Table:
    """name and group; empty for None."""
    if properties is None:
        return pa.table({"name": pa.array([], pa.string()), "group": pa.array([], pa.string())})
    table = as_arrow("properties", properties)
    require_columns("properties", table, ("name", "group"))
    require_text("properties", table, "name", MAX_KEY_BYTES)
    require_distinct("properties", table, ("name",))
    return table.select(["name", "group"]).cast(pa.schema([("name", pa.string()), ("group", pa.string())]))


def with_columns(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """The table with those of the named columns that it lacks, all null."""
    for name in names:
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(len(table), pa.string()))
    return table


def sorted_triples(table: pa.Table) -> pa.Table:
    """By item, property, value; equal triples give equal bytes, wherever they came from."""
    return table.take(np.argsort(_places(table), kind="stable"))


def _places(table: pa.Table) -> Ints:
    """A number a triple that grows with (item, property, value), equal for equal triples: several times faster to sort
    by than three columns of strings."""
    places, size = np.zeros(len(table), dtype=np.int64), 1
    for name in KEY:
        distinct = _sorted_distinct(table[name])
        if size * len(distinct) >= 2**63:  # seldom that many
            _, places = np.unique(places, return_inverse=True)
            size = len(table)
        places, size = places * len(distinct) + positions(table[name], distinct), size * len(distinct)
    return places


def counted(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """How often the rows have each of their keys, as a table of counts."""
    *keys, number = schema.names
    return rows.group_by(keys).aggregate([([], "count_all")]).rename_columns([*keys, number])


def summed(parts: Iterable[pa.Table], schema: pa.Schema) -> pa.Table:
    """Tables of counts as one, whose rows are sorted by their keys, null last. Holds two parts at a time, or as much
    again as the sum."""
    total, waiting = schema.empty_table(), schema.empty_table()
    for part in parts:
        waiting = pa.concat_tables([waiting, part.select(schema.names).cast(schema)])
        if len(waiting) > len(total):  # not each time: what is long is seldom added up
            total, waiting = _added(pa.concat_tables([total, waiting])), schema.empty_table()
    *keys, _ = schema.names
    return _added(pa.concat_tables([total, waiting])).sort_by([(name, "ascending") for name in keys])


def _added(rows: pa.Table) -> pa.Table:
    *keys, number = rows.column_names
    return rows.group_by(keys).aggregate([(number, "sum")]).rename_columns(rows.column_names)


def of_splits(triples: pa.Table, splits: Collection[str | None]) -> pa.Table:
    """Those of the named splits; None is training."""
    chosen = pc.is_in(triples["split"], pa.array([name for name in splits if name is not None], pa.string()))
    return triples.filter(pc.or_(chosen, pc.is_null(triples["split"])) if None in splits else chosen)


def require_known_items(triples: pa.Table, ids: pa.ChunkedArray) -> None:
    unknown = triples.filter(pc.invert(pc.is_in(triples["item"], ids.combine_chunks())))
    if len(unknown):
        first = unknown.slice(0, 1).to_pylist()[0]
        raise SchemaError(
            f"triples: item {first['item']!r} of <{first['item']}, {first['property']}, {first['value']}> is no item"
        )


def require_columns(name: str, table: pa.Table, columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in table.column_names]
    if missing:
        raise SchemaError(f"{name} need the columns {', '.join(columns)} (got {', '.join(table.column_names)})")


def require_text(name: str, table: pa.Table, column: str, longest: int | None = None) -> None:
    if not pa.types.is_string(table.schema.field(column).type):
        raise SchemaError(f"{name}: column {column} must hold strings (got {table.schema.field(column).type})")
    refuse_rows(name, table, f"an empty {column}", pc.fill_null(pc.equal(table[column], ""), True))
    if longest is not None:
        too_long = pc.greater(pc.binary_length(table[column]), longest)
        refuse_rows(name, table, f"{column} of more than {longest} bytes", too_long)


def refuse_rows(name: str, table: pa.Table, reason: str, wrong: pa.ChunkedArray) -> None:
    """Name the first row that is wrong."""
    row = pc.index(wrong, True).as_py()
    if row >= 0:
        shown = {column: str(value)[:80] for column, value in table.slice(row, 1).to_pylist()[0].items()}
        raise SchemaError(f"{name}: row {row} has {reason}: {shown}")


def require_distinct(name: str, table: pa.Table, columns: Sequence[str]) -> None:
    counts = table.group_by(list(columns)).aggregate([([], "count_all")])
    twice = counts.filter(pc.greater(counts["count_all"], 1))
    if len(twice):
        first = twice.slice(0, 1).to_pylist()[0]
        raise SchemaError(
            f"{name}: {', '.join(repr(first[column]) for column in columns)} occurs {first['count_all']} times"
        )


@dataclass(frozen=True)
class Ordinals:
    """The names behind the ordinals of properties and values, and which triples have which."""

    properties: pa.Array
    values: pa.Array
    training: NDArray[np.bool_]
    """Which of the triples are for training; of these, row by row, the next two."""
    property: Ints
    value: Ints

    @classmethod
    def of(cls, triples: pa.Table) -> "Ordinals":
        training = pc.is_null(triples["split"]).to_numpy()
        properties, property = _training_first(triples["property"], training)
        values, value = _training_first(triples["value"], training)
        return cls(properties, values, training, property, value)


def _training_first(column: pa.ChunkedArray, training: NDArray[np.bool_]) -> tuple[pa.Array, Ints]:
    """The column's names by ordinal, and the ordinals of its training rows."""
    names = _sorted_distinct(column)
    place = positions(column, names)[training]
    kept_back_only = np.ones(len(names), dtype=bool)
    kept_back_only[place] = False
    order = np.argsort(kept_back_only, kind="stable")
    ordinal = np.empty_like(order)
    ordinal[order] = np.arange(len(order))
    return names.take(order), ordinal[place]


def _sorted_distinct(column: pa.ChunkedArray) -> pa.Array:
    distinct = pc.unique(column)
    return distinct.take(pc.sort_indices(distinct))


def digests(ids: Iterable[str]) -> NDArray[np.uint64]:
    """64 bits of BLAKE2b of each text."""
    found = (blake2b(text.encode(), digest_size=8).digest() for text in ids)
    return np.frombuffer(b"".join(found), dtype="<u8").astype(np.uint64)


def positions(column: pa.ChunkedArray, names: pa.Array) -> Ints:
    """Place of each of the column's strings in `names`, all of which are there (ValueError otherwise)."""
    place = pc.index_in(column, names)
    if place.null_count:
        raise ValueError(f"{place.null_count} of {len(place)} names have no ordinal")
    return place.to_numpy().astype(np.int64)


def objects(column: pa.ChunkedArray | pa.Array) -> NDArray[np.object_]:
    """Strings (or numbers) as Python objects, None where missing."""
    found = np.empty(len(column), dtype=object)
    found[:] = column.to_pylist()
    return found
