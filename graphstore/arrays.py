"""A store of arrays: numpy and Arrow in memory, or memory-mapped from a snapshot. Read-only, and without Cypher."""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from graphstore import changes, tables
from graphstore.errors import ReadOnlyStore, SchemaError, UnsupportedQuery
from graphstore.images import ImagePack, MemoryImages
from graphstore.lists import passing_over
from graphstore.read_only import ReadOnly
from graphstore.store import Counts, Edges, Neighbours
from graphstore.tables import Ints, Table

NO_TRIPLES = pa.schema([(name, pa.string()) for name in tables.KEY])


@dataclass(frozen=True)
class Arrays:
    """A whole graph. `triples` are all of them, sorted; `indptr`, `property` and `value` are the training triples, item
    by item."""

    items: pa.Table
    triples: pa.Table
    properties: pa.Table
    """name and group, by ordinal."""
    values: pa.Array
    """Texts, by ordinal."""
    digest: NDArray[np.uint64]
    """Of each item's id (`tables.digests`)."""
    indptr: Ints
    property: Ints
    value: Ints
    value_indptr: Ints
    """The training triples again, value by value: those of value v are places `value_indptr[v]:value_indptr[v + 1]`
    of the two arrays that follow, by edge id."""
    value_edge: Ints
    value_item: Ints
    place: Ints
    """Where each training triple is in `value_edge`."""
    data_version: int
    rejections: pa.Table = field(default_factory=NO_TRIPLES.empty_table)
    """item, property and value, as `Store.rejections` gives them."""

    @classmethod
    def of(
        cls,
        items: pa.Table,
        triples: pa.Table,
        properties: pa.Table,
        data_version: int,
        rejections: pa.Table | None = None,
    ) -> "Arrays":
        """From checked tables (`tables.item_table` and its like)."""
        names = tables.Ordinals.of(triples)
        item = tables.positions(triples["item"], items["id"].combine_chunks())[names.training]
        by_value = np.argsort(names.value, kind="stable")
        place = np.empty_like(by_value)
        place[by_value] = np.arange(len(by_value))
        return cls(
            items=items,
            triples=triples,
            properties=pa.table({"name": names.properties, "group": _groups(names.properties, properties)}),
            values=names.values,
            digest=tables.digests(items["id"].to_pylist()),
            indptr=np.searchsorted(item, np.arange(len(items) + 1)).astype(np.int64),
            property=names.property,
            value=names.value,
            value_indptr=np.searchsorted(names.value[by_value], np.arange(len(names.values) + 1)).astype(np.int64),
            value_edge=by_value,
            value_item=item[by_value],
            place=place,
            data_version=data_version,
            rejections=NO_TRIPLES.empty_table() if rejections is None else rejections,
        )


def _groups(names: pa.Array, properties: pa.Table) -> pa.Array:
    place = pc.index_in(names, properties["name"].combine_chunks())
    return properties["group"].combine_chunks().take(place)


class ArrayStore(ReadOnly):
    """A read-only store over `Arrays`."""

    def __init__(self, arrays: Arrays, images: ImagePack, location: str) -> None:
        super().__init__(location)
        self.arrays, self.images = arrays, images
        self._counts: Counts | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # In memory there is nowhere to open it again from: the arrays travel.
        return (ArrayStore, (self.arrays, self.images, self.location)) if self._in_memory else super().__reduce__()

    @property
    def _in_memory(self) -> bool:
        return isinstance(self.images, MemoryImages)

    def close(self) -> None:
        """There is no handle to give back."""

    @property
    def data_version(self) -> int:
        return self.arrays.data_version

    def counts(self) -> Counts:
        if self._counts is None:
            self._counts = self._count()
        return self._counts

    def _count(self) -> Counts:
        items, triples = self.arrays.items, self.arrays.triples
        counted = pc.value_counts(triples["split"]).to_pylist()
        splits = {entry["values"]: entry["counts"] for entry in counted if entry["values"] is not None}
        return Counts(
            items=len(items),
            titles=len(items) - items["title"].null_count,
            images=len(items) - items["image"].null_count,
            values=len(self.arrays.values),
            properties=len(self.arrays.properties),
            triples=len(triples),
            training_triples=len(self.arrays.value),
            splits=dict(sorted(splits.items())),
        )

    def _value_texts(self, ords: Ints) -> dict[int, str]:
        known = ords[(ords >= 0) & (ords < len(self.arrays.values))]
        return dict(zip(known.tolist(), self.arrays.values.take(pa.array(known)).to_pylist(), strict=True))

    def property_names(self) -> list[str]:
        return self.arrays.properties["name"].to_pylist()

    def property_groups(self) -> dict[str, str]:
        return {row["name"]: row["group"] for row in self.arrays.properties.to_pylist() if row["group"] is not None}

    def item_fields(self) -> tuple[str, ...]:
        return tuple(name for name in self.arrays.items.column_names if name != "id")

    def items(self, fields: Sequence[str] = ()) -> pa.Table:
        self._require_fields(fields)
        return self.arrays.items.select(list(dict.fromkeys(("id", *fields))))

    def _triples(self, splits: Collection[str | None]) -> pa.Table:
        return tables.of_splits(self.arrays.triples, splits)

    def _triples_of(self, ords: Ints, splits: Collection[str | None]) -> pa.Table:
        triples, ids = self.arrays.triples, self.arrays.items["id"].take(pa.array(ords)).combine_chunks()
        if not len(ids):
            return triples.slice(0, 0)
        first = bisect_left(triples["item"], ids[0].as_py(), key=lambda item: item.as_py())
        end = bisect_right(triples["item"], ids[-1].as_py(), lo=first, key=lambda item: item.as_py())
        between = triples.slice(first, end - first)
        return tables.of_splits(between.filter(pc.is_in(between["item"], ids)), splits)

    def _item_ords(self, ids: Sequence[str]) -> dict[str, int]:
        # Looked for among those asked for: a table to look all of the items up in would be as long as they are.
        ords = np.flatnonzero(pc.is_in(self.arrays.items["id"], pa.array(ids, pa.string())).to_numpy())
        return dict(zip(self.arrays.items["id"].take(pa.array(ords)).to_pylist(), ords.tolist(), strict=True))

    def _item_digests(self, ords: Ints) -> NDArray[np.uint64]:
        return self.arrays.digest[ords]

    def _neighbours(self, ords: Ints) -> Neighbours:
        first = self.arrays.indptr[ords]
        degree = self.arrays.indptr[ords + 1] - first
        indptr = np.concatenate([[0], np.cumsum(degree)])
        edges = np.repeat(first - indptr[:-1], degree) + np.arange(indptr[-1])
        return Neighbours(
            indptr, self.arrays.property[edges].astype(np.int64), self.arrays.value[edges].astype(np.int64), edges
        )

    def _value_degrees(self, ords: Ints, most: int) -> Ints:
        first, end = self._lists(ords)
        return np.where(first < 0, -1, np.minimum(end - first, most))

    def _value_edges(self, values: Ints, positions: Ints, without: Edges) -> Edges:
        arrays = self.arrays
        first, end = self._lists(values)
        whole = passing_over(positions, without.row, arrays.place[without.edge_id] - first[without.row])
        row, column = np.nonzero(positions >= 0)
        place = first[row] + whole[row, column]
        there = place < end[row]
        edge_id, item, prop = (np.full(len(row), -1) for _ in range(3))
        edge_id[there] = arrays.value_edge[place[there]]
        item[there] = arrays.value_item[place[there]]
        prop[there] = arrays.property[edge_id[there]]
        return Edges(row, item, prop, values[row], edge_id)

    def _lists(self, values: Ints) -> tuple[Ints, Ints]:
        """Where the values' lists begin and end; -1 for a value that is not there."""
        there = (values >= 0) & (values < len(self.arrays.values))
        first, end = np.full(len(values), -1), np.full(len(values), -1)
        first[there] = self.arrays.value_indptr[values[there]]
        end[there] = self.arrays.value_indptr[values[there] + 1]
        return first, end

    def _item_features(self, ords: Ints, fields: Sequence[str]) -> dict[str, NDArray[np.object_]]:
        self._require_fields(fields)
        rows = self.arrays.items.select(list(fields)).take(pa.array(ords))
        return {name: tables.objects(rows[name]) for name in fields}

    def _require_fields(self, fields: Sequence[str]) -> None:
        unknown = [name for name in fields if name not in self.arrays.items.column_names]
        if unknown:
            there = ", ".join(self.arrays.items.column_names)
            raise SchemaError(f"{self.location}: no item has the field {', '.join(unknown)} (fields: {there})")

    def _rejections(self) -> pa.Table:
        return self.arrays.rejections

    def _similar(self, item: str, k: int) -> pd.DataFrame:
        raise UnsupportedQuery(f"{self.location} holds no vectors: ask the Ladybug file or the Neo4j URL that has them")

    def _query(self, cypher: str, parameters: Mapping[str, Any]) -> pd.DataFrame:
        raise UnsupportedQuery(
            f"{self.location} answers no Cypher: open the Ladybug file or the Neo4j URL that it was made from"
        )

    def _refuse_write(self) -> NoReturn:
        raise ReadOnlyStore(f"{self.location} is read-only")


def from_tables(
    items: Table,
    triples: Table,
    properties: Table | None = None,
    images: Mapping[str, bytes] | None = None,
    rejections: Table | None = None,
) -> ArrayStore:
    """A store in memory.

    Args:
        images: bytes by key (`image_key(bytes)`), as the items' column image names them.
        rejections: item, property, value of completions that were rejected.

    Raises:
        SchemaError: as `Store.ingest`.
    """
    item_rows = tables.with_columns(changes.checked_types(tables.item_table(items), {}), tables.ITEM_FIELDS)
    triple_rows = tables.with_columns(tables.triple_table(triples), tables.TRIPLE_COLUMNS)
    tables.require_known_items(triple_rows, item_rows["id"])
    rejected = None if rejections is None else tables.triple_table(rejections).select(list(tables.KEY))
    arrays = Arrays.of(item_rows, triple_rows, tables.property_table(properties), 1, rejected)
    return ArrayStore(arrays, MemoryImages(images), "memory")
