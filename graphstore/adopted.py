"""A graph that exists, under its owner's labels, as a read-only store: a mapping file says which of its rows are items
and triples (`mapping`). Nothing is copied into another database, and nothing is written.

Opening it reads its queries once. Item ids and fields, names of properties, texts of values and 16 bytes an item stay
in memory. So do the triples, unless their query names $items: then `neighbours` asks the database with every batch, and
compares what comes, item by item, with a digest of what was read at first.

A triple's split is a function of (item, property, value, seed). The data version is a digest of all that was read.
"""

import json
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from graphstore import changes, tables
from graphstore.arrays import Arrays, ArrayStore
from graphstore.database import Batch, DatabaseStore
from graphstore.errors import MappingError, ReadOnlyStore, SchemaError, StoreError, UnsupportedQuery
from graphstore.images import ImagePack, UnknownImage
from graphstore.mapping import GraphMapping, TripleQuery, load_mapping
from graphstore.store import Counts, Edges, Neighbours
from graphstore.tables import KEY, TRIPLE_COLUMNS, Ints

Hashes = NDArray[np.uint64]
_BATCH = 10_000


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
    """An adopted graph whose triples stay in the database."""

    def _triples(self, splits: Collection[str | None]) -> pa.Table:
        return tables.of_splits(self._as_at_first(self.arrays.items["id"], self.content.digests), splits)

    def _triples_of(self, ords: Ints, splits: Collection[str | None]) -> pa.Table:
        ids = self.arrays.items["id"].take(pa.array(ords))
        return tables.of_splits(self._as_at_first(ids, self.content.digests[ords]), splits)

    def _neighbours(self, ords: Ints) -> Neighbours:
        ids = self.arrays.items["id"].take(pa.array(ords))
        training = self._triples_of(ords, (None,))
        item = tables.positions(training["item"], ids.combine_chunks())
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
            f"{self.location}: no second hop over triples that stay in the database: leave $items out of their query, "
            "or train from a snapshot"
        )

    def _as_at_first(self, ids: pa.ChunkedArray, digests: Hashes) -> pa.Table:
        """All triples of these items, if they are those that were read at first."""
        triples, hashes = read_triples(self.location, self.database, self.mapping, ids)
        if not np.array_equal(_item_digests(triples, hashes, ids), digests):
            raise StoreError(f"{self.location}: the graph behind it was changed since it was opened: start a new run")
        return triples


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
        triples, hashes = read_triples(str(path), database, mapping, items["id"])
        properties = read_properties(str(path), database, mapping)
    digests = _item_digests(triples, hashes, items["id"])
    arrays = Arrays.of(items, triples, properties, _data_version(items, digests))
    content = Content(arrays, ArrayStore(arrays, ImagePack(path), str(path)).counts(), digests)
    if not mapping.triples.streamed:
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
        texts = ("id", *tables.ITEM_FIELDS)
        rows = _table(database.batches(mapping.items.query, {}), mapping.items.columns, texts)
        checked = changes.checked_types(tables.item_table(rows), {})
    return tables.with_columns(checked, tables.ITEM_FIELDS).combine_chunks()


def read_triples(
    where: str, database: DatabaseStore, mapping: GraphMapping, ids: pa.ChunkedArray
) -> tuple[pa.Table, Hashes]:
    """Triples of the items with these ids as `tables.triple_table` has them, with their splits, and their hashes. Where
    the query names no $items, of all items, which these must be."""
    with _rows_of(f"{where} [triples]"):
        rows = _table(_batches_of(database, mapping.triples, ids), mapping.triples.columns, TRIPLE_COLUMNS)
        triples = tables.triple_table(rows)
        tables.require_known_items(triples, ids)
    hashes = _hashes(triples, mapping.holdout.seed)
    if mapping.holdout.share:
        triples = triples.append_column("split", _drawn_splits(hashes, mapping.holdout.share))
    return tables.with_columns(triples, TRIPLE_COLUMNS).combine_chunks(), hashes


def read_properties(where: str, database: DatabaseStore, mapping: GraphMapping) -> pa.Table:
    """name and group; empty where the mapping has no query of them."""
    if mapping.properties is None:
        return tables.property_table(None)
    with _rows_of(f"{where} [properties]"):
        rows = database.batches(mapping.properties.query, {})
        return tables.property_table(_table(rows, mapping.properties.columns, tables.PROPERTY_COLUMNS))


def _batches_of(database: DatabaseStore, triples: TripleQuery, ids: pa.ChunkedArray) -> Iterator[Batch]:
    if not triples.streamed:
        yield from database.batches(triples.query, {})
        return
    for start in range(0, max(len(ids), 1), _BATCH):
        asked = ids[start : start + _BATCH].to_pylist()
        yield from database.batches(triples.query, {"items": asked}, whole=True)


def _table(batches: Iterable[Batch], columns: Mapping[str, str], texts: Collection[str]) -> pa.Table:
    """Rows of the owner's query under our names; the columns in `texts` hold strings."""
    parts, read = [], 0
    for names, rows in batches:
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


def _drawn_splits(hashes: Hashes, share: float) -> pa.Array:
    draws = hashes / 2**64
    names = np.full(len(draws), None, dtype=object)
    names[draws < share] = "test"
    names[draws < share / 2] = "valid"
    return pa.array(names, pa.string())


def _hashes(triples: pa.Table, seed: int) -> Hashes:
    """Of item, property, value and the seed. The lengths say where one ends and the next begins."""
    rows = zip(*(triples[name].to_pylist() for name in KEY), strict=True)
    texts = (f"{seed} {len(item)} {len(name)} {item}{name}{value}" for item, name, value in rows)
    digests = b"".join([blake2b(text.encode(), digest_size=8).digest() for text in texts])
    return np.frombuffer(digests, dtype="<u8")


def _item_digests(triples: pa.Table, hashes: Hashes, ids: pa.ChunkedArray) -> Hashes:
    """For each item the sum over its triples of hash times a number that stands for the split."""
    names = pc.unique(triples["split"])
    digests = [blake2b(repr(name).encode(), digest_size=8).digest() for name in names.to_pylist()]
    numbers = np.frombuffer(b"".join(digests), dtype="<u8") | np.uint64(1)
    sums = np.zeros(len(ids), dtype=np.uint64)
    item = tables.positions(triples["item"], ids.combine_chunks())
    np.add.at(sums, item, hashes * numbers[tables.positions(triples["split"], names)])
    return sums


def _data_version(items: pa.Table, digests: Hashes) -> int:
    """48 bits, which JSON holds everywhere."""
    rows = json.dumps([(name, items[name].to_pylist()) for name in sorted(items.column_names)])
    return int.from_bytes(blake2b(rows.encode() + digests.tobytes(), digest_size=6).digest(), "big")
