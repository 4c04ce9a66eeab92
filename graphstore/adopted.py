"""A graph that exists, under its owner's labels, as a read-only store: a mapping file says which of its rows are items
and triples (`mapping`). Nothing is copied into another database, and nothing is written.

Opening it asks the two queries once. Item ids and fields, names of properties, texts of values and 16 bytes an item
stay in memory. So do the triples, unless the mapping has a query for those of some items: then `neighbours` asks the
database with every batch, and compares what comes, item by item, with a digest of what was read at first.

A triple's split is a function of (item, property, value, seed). The data version is a digest of all that was read.
"""

import json
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from graphstore import changes, tables
from graphstore.arrays import Arrays, ArrayStore
from graphstore.database import DatabaseStore
from graphstore.errors import MappingError, ReadOnlyStore, SchemaError, StoreError, UnsupportedQuery
from graphstore.images import ImagePack, UnknownImage
from graphstore.mapping import GraphMapping, Holdout, load_mapping
from graphstore.store import Counts, Edges, Neighbours
from graphstore.tables import KEY, TRIPLE_COLUMNS, Ints

Hashes = NDArray[np.uint64]


class FolderImages(ImagePack):
    """Photographs as files in a folder; a key is a path in it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, read_only=True)

    def get(self, key: str) -> bytes:
        if key not in self:
            raise UnknownImage(f"{self.folder} has no image {key}")
        return (self.folder / key).read_bytes()

    def __contains__(self, key: object) -> bool:
        path = Path(str(key))
        return not path.is_absolute() and ".." not in path.parts and (self.folder / path).is_file()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[str]:
        return (str(path.relative_to(self.folder)) for path in sorted(self.folder.rglob("*")) if path.is_file())


class AdoptedStore(ArrayStore):
    """A read-only store over another graph, its triples in memory.

    Attributes:
        split_manifest: digest of the triples' query, share and seed of the hold-out, and triples by split.
    """

    def __init__(self, path: Path, mapping: GraphMapping, content: "Content") -> None:
        super().__init__(content.arrays, FolderImages(_image_folder(path, mapping)), str(path))
        self.mapping, self.content, self._counts = mapping, content, content.counts
        self.database = _database(path, mapping)
        self.split_manifest = {"mapping": mapping.digest()} | vars(mapping.holdout) | {"splits": content.counts.splits}

    def __reduce__(self) -> tuple[Any, ...]:
        # A loader process reads nothing again: it would cost minutes, and could find the graph changed.
        return type(self), (Path(self.location), self.mapping, self.content)

    def close(self) -> None:
        self.database.close()

    def _query(self, cypher: str, parameters: Mapping[str, Any]) -> pd.DataFrame:
        try:
            return self.database.query(cypher, **parameters)
        except ReadOnlyStore as error:
            raise self._refusal() from error

    def _refuse_write(self) -> NoReturn:
        raise self._refusal()

    def _refusal(self) -> ReadOnlyStore:
        return ReadOnlyStore(f"{self.location} is a mapping: the graph behind it is read, and never written to")


class StreamedStore(AdoptedStore):
    """An adopted graph whose mapping has a query for the triples of some items: they stay in the database."""

    def _triples(self, splits: Collection[str | None]) -> pa.Table:
        triples = read_triples(self.location, self.database, self.mapping)
        if not np.array_equal(_item_digests(triples, self.arrays.items), self.content.digests):
            raise self._changed()
        return tables.of_splits(triples, splits)

    def _neighbours(self, ords: Ints) -> Neighbours:
        items = self.arrays.items.select(["id"]).take(pa.array(ords))
        found = read_triples(self.location, self.database, self.mapping, items["id"].to_pylist())
        tables.require_known_items(found, items["id"])
        if not np.array_equal(_item_digests(found, items), self.content.digests[ords]):
            raise self._changed()
        training = tables.of_splits(found, (None,))
        item = tables.positions(training["item"], items["id"].combine_chunks())
        position = np.arange(len(item)) - np.searchsorted(item, item)
        return Neighbours(
            np.searchsorted(item, np.arange(len(ords) + 1)).astype(np.int64),
            tables.positions(training["property"], self.arrays.properties["name"].combine_chunks()),
            tables.positions(training["value"], self.arrays.values),
            self.arrays.indptr[ords][item] + position,
        )

    def _value_degrees(self, ords: Ints, most: int) -> Ints:
        raise self._without_lists()

    def _value_edges(self, values: Ints, positions: Ints, without: Edges) -> Edges:
        raise self._without_lists()

    def _without_lists(self) -> UnsupportedQuery:
        return UnsupportedQuery(
            f"{self.location}: no second hop over triples that stay in the database: leave [triples] of_items out, or "
            "train from a snapshot"
        )

    def _changed(self) -> StoreError:
        return StoreError(
            f"{self.location}: the graph behind it was changed since it was opened, or of_items finds other triples "
            "than query: open it again, and start a new run"
        )


@dataclass(frozen=True)
class Content:
    """What was read of a graph. The triples in `arrays` are none where they stay in the database."""

    arrays: Arrays
    counts: Counts
    digests: Hashes
    """Of each item's triples, by ordinal."""


def adopt(path: Path) -> AdoptedStore:
    """The store that a mapping file describes.

    Raises:
        MappingError: a file that is no mapping.
        SchemaError: queries whose rows are no catalogue, naming the first that is wrong.
        StoreNotFound, ConnectionFailed, QueryError: what the database says.
    """
    mapping = load_mapping(path)
    with _database(path, mapping) as database:
        items = _with_images_there(read_items(str(path), database, mapping), path, mapping)
        triples = read_triples(str(path), database, mapping)
    with _rows_of(f"{path} [triples]"):
        tables.require_known_items(triples, items["id"])
    arrays = Arrays.of(items, triples, tables.property_table(None), _data_version(items, triples))
    content = Content(arrays, ArrayStore(arrays, ImagePack(path), str(path)).counts(), _item_digests(triples, items))
    if mapping.triples.of_items is None:
        return AdoptedStore(path, mapping, content)
    none = np.empty(0, dtype=np.int64)
    kept = replace(
        arrays,
        triples=arrays.triples.schema.empty_table(),
        property=none,
        value=none,
        value_indptr=none,
        value_edge=none,
        value_item=none,
        place=none,
    )
    return StreamedStore(path, mapping, replace(content, arrays=kept))


def read_items(where: str, database: DatabaseStore, mapping: GraphMapping) -> pa.Table:
    """Items as `tables.item_table` has them, with title, category and image whether the mapping has them or not."""
    with _rows_of(f"{where} [items]"):
        rows = _read(database, mapping.items.query, mapping.items.columns, ("id", *tables.ITEM_FIELDS))
        checked = changes.checked_types(tables.item_table(rows), {})
    return tables.with_columns(checked, tables.ITEM_FIELDS).combine_chunks()


def read_triples(
    where: str, database: DatabaseStore, mapping: GraphMapping, items: list[str] | None = None
) -> pa.Table:
    """Triples as `tables.triple_table` has them, all or those of `items`, with their splits."""
    query = mapping.triples
    with _rows_of(f"{where} [triples]"):
        if items is None or query.of_items is None:
            rows = _read(database, query.query, query.columns, TRIPLE_COLUMNS)
        else:
            rows = _read(database, query.of_items, query.columns, TRIPLE_COLUMNS, items=items)
        triples = tables.triple_table(rows)
    if mapping.holdout.share:
        triples = triples.append_column("split", _drawn_splits(triples, mapping.holdout))
    return tables.with_columns(triples, TRIPLE_COLUMNS).combine_chunks()


def _read(
    database: DatabaseStore, query: str, columns: Mapping[str, str], texts: Collection[str], **parameters: Any
) -> pa.Table:
    """Rows of her query under our names; the columns in `texts` hold strings."""
    parts, read = [], 0
    for names, rows in database.batches(query, parameters, whole=bool(parameters)):
        if sorted(names) != sorted(columns.values()):
            raise SchemaError(
                f"the query returns {', '.join(names)}; columns names {', '.join(sorted(columns.values()))}"
            )
        place = {ours: names.index(hers) for ours, hers in columns.items()}
        cells = {ours: [row[at] for row in rows] for ours, at in place.items()}
        parts.append(pa.table({ours: _column(ours, cells[ours], ours in texts, read) for ours in columns}))
        read += len(rows)
    try:
        return pa.concat_tables(parts, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise SchemaError(f"a column changes its type between rows: {error}") from error


def _column(name: str, cells: list[Any], text: bool, first: int) -> pa.Array:
    try:
        return pa.array(cells, pa.string() if text else None)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        kinds = [type(cell) for cell in cells if cell is not None]
        odd = next(row for row, cell in enumerate(cells) if cell is not None and _is_odd(cell, text, kinds[0]))
        wanted = "text: toString(...) in the query makes it some" if text else "a number, a text or true or false"
        raise SchemaError(f"row {first + odd} has {name} {cells[odd]!r:.80}, expected {wanted}") from error


def _is_odd(cell: Any, text: bool, kind: type) -> bool:
    return not isinstance(cell, str) if text else type(cell) is not kind or kind not in (str, int, float, bool)


@contextmanager
def _rows_of(where: str) -> Iterator[None]:
    """Say which query the rows that are refused come from."""
    try:
        yield
    except SchemaError as error:
        raise SchemaError(f"{where}: {error}") from error


def _database(path: Path, mapping: GraphMapping) -> DatabaseStore:
    from graphstore import is_server
    from graphstore import open as open_store

    database = open_store(mapping.database if is_server(mapping.database) else path.parent / mapping.database)
    if not isinstance(database, DatabaseStore):
        raise MappingError(f"{path}: database must be a Neo4j URL or a Ladybug file (got {mapping.database})")
    return database


def _image_folder(path: Path, mapping: GraphMapping) -> Path:
    return path.parent / (mapping.images.folder if mapping.images else "")


def _with_images_there(items: pa.Table, path: Path, mapping: GraphMapping) -> pa.Table:
    """Paths that lead to no file become null, and are told of."""
    images = FolderImages(_image_folder(path, mapping))
    keys = items["image"].to_pylist()
    there = [key if key in images else None for key in keys]
    missing = [key for key, found in zip(keys, there, strict=True) if key is not None and found is None]
    if missing:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        text = f"{path}: {len(missing)} photographs are not in {images.folder}, their items go without: {shown}"
        warnings.warn(text, stacklevel=3)
    return items.set_column(items.column_names.index("image"), "image", pa.array(there, pa.string()))


# Hashes


def _drawn_splits(triples: pa.Table, holdout: Holdout) -> pa.Array:
    draws = _hashes(triples.select(KEY), holdout.seed) / 2**64
    names = np.full(len(draws), None, dtype=object)
    names[draws < holdout.share] = "test"
    names[draws < holdout.share / 2] = "valid"
    return pa.array(names, pa.string())


def _item_digests(triples: pa.Table, items: pa.Table) -> Hashes:
    """For each item the sum of its triples' hashes, splits included."""
    sums = np.zeros(len(items), dtype=np.uint64)
    np.add.at(sums, tables.positions(triples["item"], items["id"].combine_chunks()), _hashes(triples))
    return sums


def _data_version(items: pa.Table, triples: pa.Table) -> int:
    """48 bits, which JSON holds everywhere."""
    read = _hashes(items).tobytes() + _hashes(triples).tobytes()
    return int.from_bytes(blake2b(read, digest_size=6).digest(), "big")


def _hashes(table: pa.Table, *salt: int) -> Hashes:
    """Of each row."""
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    digests = (blake2b(json.dumps([*salt, *row]).encode(), digest_size=8).digest() for row in rows)
    return np.frombuffer(b"".join(digests), dtype="<u8")
