"""What an ingest has to write: the difference between the rows given and the rows there, and the ordinals of the
graph that results."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from graphstore import tables
from graphstore.errors import SchemaError

# No field of an item can have these names.
_OLD = " old"
_THERE = " there"
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Changes:
    """Rows to add, rows to update, the keys of rows to remove; and how many stay as they are."""

    new: pa.Table
    changed: pa.Table
    gone: pa.Table
    unchanged: int

    def __bool__(self) -> bool:
        return len(self.new) + len(self.changed) + len(self.gone) > 0


def difference(given: pa.Table, there: pa.Table, keys: Sequence[str], prune: bool = False) -> Changes:
    """Rows of `given` that `there` lacks, and those whose other columns differ (null equals null); with `prune` also
    the keys that `given` lacks."""
    if not len(there):  # a first load, which need not wait for joins
        return Changes(given, given.slice(0, 0), there.select(list(keys)), 0)
    columns = [name for name in given.column_names if name not in keys]
    there = there.select([*keys, *columns])
    renamed = there.rename_columns([*keys, *(name + _OLD for name in columns)])
    marked = renamed.append_column(_THERE, pa.array(np.ones(len(there), dtype=bool)))
    joined = given.join(marked, list(keys), join_type="left outer")
    fresh = pc.is_null(joined[_THERE])
    differs = pa.chunked_array([pa.array(np.zeros(len(joined), dtype=bool))])
    for name in columns:
        differs = pc.or_(differs, _differs(joined[name], joined[name + _OLD]))
    differs = pc.and_(differs, pc.invert(fresh))
    rows = joined.select(given.column_names)
    new, changed = rows.filter(fresh), rows.filter(differs)
    gone = there.select(list(keys)).join(given.select(list(keys)), list(keys), join_type="left anti")
    return Changes(new, changed, gone if prune else gone.slice(0, 0), len(given) - len(new) - len(changed))


def triple_difference(given: pa.Table, there: pa.Table, prune: bool) -> Changes:
    """`difference` of triples, each of its tables sorted as `given` is (which joins do not keep)."""
    found = difference(given, there, tables.KEY, prune)
    if not len(there):
        return found
    new, changed, gone = (tables.sorted_triples(part) for part in (found.new, found.changed, found.gone))
    return Changes(new, changed, gone, found.unchanged)


def nothing(keys: Sequence[str]) -> Changes:
    """No change of rows with these keys."""
    empty = pa.schema([(name, pa.string()) for name in keys]).empty_table()
    return Changes(empty, empty, empty, 0)


def sparing(found: Changes, applied: pa.Table, gone_items: pa.Table) -> Changes:
    """`found` less what it says of the triples `applied`, which no file has: they stay as they are, unless their item
    goes (`gone_items`: id)."""
    items = gone_items.rename_columns(["item"])
    staying = applied.join(items, ["item"], join_type="left anti")
    changed, gone = (
        part.join(staying, list(tables.KEY), join_type="left anti") for part in (found.changed, found.gone)
    )
    unchanged = found.unchanged + len(found.changed) - len(changed)
    return Changes(found.new, tables.sorted_triples(changed), tables.sorted_triples(gone), unchanged)


def with_idle(given: pa.Table, there: pa.Table, key: str) -> pa.Table:
    """`given` with the rows of `there` that it lacks, all but their keys null."""
    idle = there.select([key]).join(given.select([key]), [key], join_type="left anti")
    nulls = {field.name: pa.nulls(len(idle), field.type) for field in given.schema if field.name != key}
    return pa.concat_tables([given, pa.table({key: idle[key]} | nulls).cast(given.schema)])


def completed(given: pa.Table, there: pa.Table, keys: Sequence[str]) -> pa.Table:
    """`given` with the columns that it lacks: as `there` has them, null in new rows."""
    lacking = [name for name in there.column_names if name not in given.column_names]
    if not len(there):  # a first load, as above
        return tables.with_columns(given, lacking).select(there.column_names)
    rows = given.join(there.select([*keys, *lacking]), list(keys), join_type="left outer") if lacking else given
    return rows.select(there.column_names)


def _differs(one: pa.ChunkedArray, other: pa.ChunkedArray) -> pa.ChunkedArray:
    unequal = pc.fill_null(pc.not_equal(one, other), False)
    return pc.or_(unequal, pc.xor(pc.is_null(one), pc.is_null(other)))


def merged(there: pa.Table, changes: Changes, keys: Sequence[str]) -> pa.Table:
    """The rows after the changes."""
    replaced = pa.concat_tables([changes.changed.select(list(keys)), changes.gone.select(list(keys))])
    kept = there.join(replaced, list(keys), join_type="left anti") if len(replaced) else there
    return pa.concat_tables([kept, changes.changed.select(there.column_names), changes.new.select(there.column_names)])


@dataclass(frozen=True)
class Numbered:
    """Every node of a graph with its ordinal and counts: items (id, ord, first), values (text, ord), properties."""

    items: pa.Table
    values: pa.Table
    properties: pa.Table
    """name, ord, items, values (of training triples) and group."""
    num_triples: int

    @classmethod
    def of(cls, ids: pa.Array, triples: pa.Table, groups: dict[str, str]) -> "Numbered":
        """`ids` are all items'; `triples` are all of them, with splits."""
        ids = ids.take(pc.sort_indices(ids))
        names = tables.Ordinals.of(triples)
        item = tables.positions(triples["item"], ids)[names.training]
        degrees = np.bincount(item, minlength=len(ids))
        return cls(
            items=pa.table({"id": ids, "ord": np.arange(len(ids)), "first": np.cumsum(degrees) - degrees}),
            values=pa.table({"text": names.values, "ord": np.arange(len(names.values))}),
            properties=_counted(names, item, groups),
            num_triples=len(triples),
        )


def _counted(names: tables.Ordinals, item: tables.Ints, groups: dict[str, str]) -> pa.Table:
    return pa.table(
        {
            "name": names.properties,
            "ord": np.arange(len(names.properties)),
            "items": _distinct(item, names),
            "values": _distinct(names.value, names),
            "group": pa.array([groups.get(name) for name in names.properties.to_pylist()], pa.string()),
        }
    )


def _distinct(other: tables.Ints, names: tables.Ordinals) -> tables.Ints:
    """How many of the others (of training triples) each property has."""
    number = len(names.properties)
    pairs = np.sort(other * number + names.property)
    return np.bincount(pairs[np.diff(pairs, prepend=-1) != 0] % max(number, 1), minlength=number)


def checked_types(items: pa.Table, known: dict[str, str]) -> pa.Table:
    """Items with each column as string, int64, double or bool, and as the store has it already.

    Raises:
        SchemaError: a field name that is no identifier, a type that is none of these, or another one than the store's.
    """
    for place, field in enumerate(items.schema):
        if not _IDENTIFIER.fullmatch(field.name):
            raise SchemaError(f"items: a field name is letters, digits and underscores (got {field.name!r})")
        items = items.set_column(place, field.name, _as_known(items[field.name], field, known))
    _refuse_capitals([*items.column_names, *known])
    return items


def _as_known(column: pa.ChunkedArray, field: pa.Field, known: dict[str, str]) -> pa.ChunkedArray:
    given = kind(field)
    there = known.get(field.name, given)
    numbers = {given, there} <= {"INT64", "DOUBLE"}
    if given != there and not numbers and column.null_count < len(column):
        raise SchemaError(f"items: field {field.name} holds {there} in the store (got {field.type})")
    try:
        return column.cast(TYPES[there])
    except pa.ArrowInvalid as error:
        raise SchemaError(f"items: field {field.name} holds {there} in the store: {error}") from error


def _refuse_capitals(names: Sequence[str]) -> None:
    """Ladybug takes Title for title."""
    first: dict[str, str] = {}
    for name in names:
        if first.setdefault(name.lower(), name) != name:
            raise SchemaError(f"items: fields {first[name.lower()]} and {name} differ in capitals alone")


TYPES = {"STRING": pa.string(), "INT64": pa.int64(), "DOUBLE": pa.float64(), "BOOL": pa.bool_()}


def kind(field: pa.Field) -> str:
    is_a = {
        "STRING": pa.types.is_string,
        "INT64": pa.types.is_integer,
        "DOUBLE": pa.types.is_floating,
        "BOOL": pa.types.is_boolean,
    }
    for name, test in is_a.items():
        if test(field.type):
            return name
    raise SchemaError(f"items: field {field.name} must hold strings, numbers or booleans (got {field.type})")


def kinds(items: pa.Table) -> dict[str, str]:
    return {field.name: kind(field) for field in items.schema}
