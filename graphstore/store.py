"""The interface that every store keeps: public methods check what they are given, `_hooks` do the work.

Assumes what `tables` says of ordinals. Training reads `neighbours`, `item_features`, `triples_of` and the counts,
which know training triples only; `query`, and `triples` and `triples_of` where a split is named, see every fact.
Nothing that training reads is as long as the catalogue: `item_blocks` is how to go through all of it.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from graphstore import predictions, tables
from graphstore.errors import QueryError, QueryParameterError, ReadOnlyStore, SchemaError, UnknownItems
from graphstore.images import ImagePack
from graphstore.parameters import bindable, parameter_names
from graphstore.predictions import AppliedReport, PredictionReport, Verdict
from graphstore.tables import Ints, Table

Mode = Literal["r", "w"]
Vectors: TypeAlias = tuple[Sequence[str], NDArray[np.floating[Any]]]
"""Ids of n items, and their vectors [n, D]."""
TRAINING: tuple[None] = (None,)
BLOCK = 10_000
"""Items a block of `item_blocks`."""


@dataclass(frozen=True)
class Neighbours:
    """Training triples of n items: those of item k are places `indptr[k]:indptr[k + 1]`, by edge id; ordinals, all
    int64."""

    indptr: Ints
    property: Ints
    value: Ints
    edge_id: Ints


@dataclass(frozen=True)
class Edges:
    """n training triples as ordinals, all int64 [n]; `row` is the place that each belongs to in what was asked for."""

    row: Ints
    item: Ints
    property: Ints
    value: Ints
    edge_id: Ints


@dataclass(frozen=True)
class Counts:
    """What a store holds. `titles` and `images` count the items that have one; `splits` the kept-back triples of each
    split."""

    items: int
    titles: int
    images: int
    values: int
    properties: int
    triples: int
    training_triples: int
    splits: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class IngestReport:
    """Rows of one ingest, by what became of them, and the data version after it."""

    items_new: int
    items_changed: int
    items_unchanged: int
    triples_new: int
    triples_changed: int
    triples_unchanged: int
    data_version: int
    items_removed: int = 0
    triples_removed: int = 0
    """Those of removed items too."""


class Store(ABC):
    """A product knowledge graph: items with fields, triples with splits, images. A context manager; pickles as its
    location."""

    location: str
    read_only: bool
    images: ImagePack
    live = False
    """Whether others may ingest while this handle reads."""
    split_manifest: Mapping[str, Any] | None = None
    """By what rule triples are kept back, where no split is written in the graph (`adopted`)."""

    def __init__(self, location: str, mode: Mode) -> None:
        self.location, self.mode, self.read_only = location, mode, mode == "r"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        # A database handle survives neither a fork nor a pickle: who unpickles this opens its own.
        from graphstore import open as open_store

        return open_store, (self.location, self.mode)

    @abstractmethod
    def close(self) -> None:
        """Give the handle and its lock back; closing twice does nothing."""

    # What is written

    def ingest(
        self,
        items: Table,
        triples: Table,
        properties: Table | None = None,
        *,
        prune: bool = False,
        take_over: bool = False,
    ) -> IngestReport:
        """Add what is new, update what changed (an item's fields; a triple's further columns), and with `prune` remove
        what the tables lack. The same again completes an ingest that was cut off.

        Args:
            items: id and any of title, category, image (a key of `images`) and further scalar columns.
            triples: item, property, value, and where there are such source, split and original; split null is for
                training, original what the value was before it was normalised, null where it was the same.
            properties: name and group of properties that triples have.
            prune: the tables are the whole catalogue. Items and triples that they lack are removed, and with these
                whatever hangs on them: completions of removed items, values and properties without triples. Groups of
                properties go where `properties` is given without them.
            take_over: go on although a process that cannot be seen from here is marked as ingesting (Neo4j).
        A column that is not given leaves what is there as it is; a null in one that is given takes it away.

        Raises:
            SchemaError: naming the first row that is wrong; nothing is written then.
            StoreLocked: another process ingests into this store; names it and when it began.
            ReadOnlyStore: on a handle opened to read.
        """
        self._require_writable("ingest")
        item_rows, triple_rows = tables.item_table(items), tables.triple_table(triples)
        with self._alone(take_over):
            known = [] if prune else self.items()["id"].chunks
            tables.require_known_items(triple_rows, pa.chunked_array([*item_rows["id"].chunks, *known], pa.string()))
            groups = None if properties is None else tables.property_table(properties)
            return self._ingest(item_rows, triple_rows, groups, prune)

    # What comes back

    def write_predictions(self, completions: Table, *, run: str, model: str, created: datetime) -> PredictionReport:
        """Make these the completions of `run`, as PREDICTED relationships of status `proposed`. The same again changes
        nothing; the run's other completions go, but for what was accepted or rejected, which keeps its status. Training
        reads none of them, and the data version stays.

        Args:
            completions: item, property, value, rank (1 is best), and confidence (0 to 1) where there is one; further
                columns are not read. A value that no triple has becomes a node.
            run: whose completions they are; model: what made them; created: when, to the second. What was not new or
                changed keeps the time it has.

        Raises:
            SchemaError: naming the first row that is wrong; nothing is written then.
            UnknownItems: naming up to five items that the store has not.
            StoreLocked: another process ingests into this store.
            ReadOnlyStore: on a handle opened to read.
        """
        self._require_writable("write_predictions")
        _require_names(run=run, model=model)
        rows = predictions.completion_table(completions)
        self._require_found(_lacking(rows["item"], self.items()["id"]))
        with self._alone(take_over=False):
            return self._write_predictions(rows, run, model, created)

    def review(self, proposals: Table, verdict: Verdict) -> int:
        """Accept or reject completions; the number of those whose status that changed.

        Args:
            proposals: item, property, value, and run where one run's alone is meant.

        Raises:
            SchemaError: naming the first row that is wrong.
            UnknownProposals: naming the first that is not there; nothing is changed then.
            ReadOnlyStore: on a handle opened to read.
        """
        self._require_writable("review")
        if verdict not in get_args(Verdict):
            raise ValueError(f"a proposal is {' or '.join(get_args(Verdict))} (got {verdict!r})")
        return self._review(predictions.proposal_table(proposals), verdict)

    def withdraw(self, proposals: Table) -> int:
        """Take open completions away; how many there were. What was accepted or rejected stays, and one that is not
        there is no error.

        Args:
            proposals: item, property, value, and run where one run's alone is meant.

        Raises:
            SchemaError: naming the first row that is wrong.
            ReadOnlyStore: on a handle opened to read.
        """
        self._require_writable("withdraw")
        return self._withdraw(predictions.proposal_table(proposals))

    def apply_reviews(self) -> AppliedReport:
        """Make accepted completions training triples, numbered as an ingest would, with source "k3m:RUN"; what was
        rejected since then goes again. PREDICTED stays as it is. The same again changes nothing.

        A triple that was there before stays what it was, a kept-back one kept back. An ingest leaves what was applied
        as it is: files that have it too do not keep it back, and `prune` takes it with its item alone.

        Raises:
            IngestUnderWay: an ingest was cut off.
            StoreLocked: another process ingests into this store.
            ReadOnlyStore: on a handle opened to read.
        """
        self._require_writable("apply_reviews")
        with self._alone(take_over=False):
            return self._apply_reviews()

    def write_embeddings(self, parts: Iterable[Vectors], *, run: str, model: str, data_version: int) -> int:
        """Give items their vectors, a part in memory at a time; how many were written. Vectors of another model go
        first: two models' cannot be compared. Training reads none of them.

        Args:
            run, model: what made them; data_version: of the data that they were made from.

        Raises:
            UnknownItems: naming up to five items that the store has not.
            SchemaError: vectors that are not one an item, of several widths, not finite, or of length 0.
            ReadOnlyStore: on a handle opened to read.
        """
        self._require_writable("write_embeddings")
        _require_names(run=run, model=model)
        return self._write_embeddings(self._checked_vectors(parts), run, model, str(data_version))

    def similar(self, item: str, k: int = 10) -> pd.DataFrame:
        """The `k` items whose vectors are nearest to this item's: id, title, similarity (cosine, 1 for the same
        direction), the nearest first. Items without a vector are not among them.

        Raises:
            UnknownItems: the store has no such item.
            NoEmbedding: the item has no vector (yet).
            UnsupportedQuery: on a store without vectors.
        """
        if k < 1:
            raise ValueError(f"similar takes k of at least 1 (got {k})")
        self.item_ords([item])
        return self._similar(item, k).astype({"similarity": float})

    # What is asked by Cypher

    def query(self, cypher: str, /, **parameters: Any) -> pd.DataFrame:
        """Rows of a Cypher query; every $name in it needs a parameter and every parameter a $name.

        Raises:
            QueryParameterError: a name on one side only, or a value that is no number, text, date, list or map.
            ReadOnlyStore: a write through a handle opened to read.
            QueryError: what the database says of the query.
            UnsupportedQuery: on a store without Cypher.
        """
        if not cypher.strip():
            raise QueryError(f"{self.location}: the query is empty")
        named = parameter_names(cypher)
        if named != parameters.keys():
            unbound, unused = sorted(named - parameters.keys()), sorted(parameters.keys() - named)
            raise QueryParameterError(f"query parameters: without a value {unbound}, not in the query {unused}")
        return self._query(cypher, {name: bindable(name, value) for name, value in parameters.items()})

    # What is read

    def changed(self) -> bool:
        """Whether the data are others than this handle first read, or are being changed. False where nobody can change
        them beside a reader; elsewhere reads that would mix the two are refused."""
        return False

    def catch_up(self) -> None:  # noqa: B027  most stores have nothing to forget
        """Forget what was read of data that have changed since: the handle goes on with those that are there now."""

    @property
    @abstractmethod
    def data_version(self) -> int:
        """0 for an empty store; one more after each ingest that changed a row. Of an adopted graph a digest."""

    @property
    def num_items(self) -> int:
        return self.counts().items

    @property
    def num_values(self) -> int:
        return self.counts().values

    @property
    def num_properties(self) -> int:
        return self.counts().properties

    @property
    def num_training_triples(self) -> int:
        return self.counts().training_triples

    @abstractmethod
    def counts(self) -> Counts: ...

    def item_ids(self, ords: ArrayLike) -> NDArray[np.object_]:
        """Ids of the items with these ordinals, in their order.

        Raises:
            UnknownItems: naming up to five ordinals that the store has not.
        """
        return self.item_features(ords, ("id",))["id"]

    def item_digests(self, ords: ArrayLike) -> NDArray[np.uint64]:
        """64 bits of BLAKE2b of the ids of the items with these ordinals: what random draws for an item are made from.

        Raises:
            UnknownItems: naming up to five ordinals that the store has not.
        """
        return self._item_digests(self._checked_ords(ords))

    def item_ords(self, ids: Sequence[str]) -> Ints:
        """Ordinals of the items with these ids, in their order.

        Raises:
            UnknownItems: naming up to five ids that the store has not.
        """
        wanted = list(ids)
        found = self._item_ords(sorted({item for item in wanted if isinstance(item, str)}))
        self._require_found([item for item in wanted if item not in found])
        return np.array([found[item] for item in wanted], dtype=np.int64)

    def neighbours(self, ords: ArrayLike) -> Neighbours:
        """The training triples of these items, in the order of `ords`, which may repeat one.

        Raises:
            UnknownItems: naming up to five ordinals that the store has not.
        """
        asked = self._checked_ords(ords)
        distinct, place = np.unique(asked, return_inverse=True)
        return _spread(self._neighbours(distinct), place)

    def value_degrees(self, ords: ArrayLike, most: int) -> Ints:
        """Training triples of each of these values, in their order, counted up to `most`: no list of a hub is walked
        through to say that it is one.

        Raises:
            UnknownItems: naming up to five ordinals that the store has not.
        """
        distinct, place = np.unique(_ordinals(ords), return_inverse=True)
        found = self._value_degrees(distinct, most)
        self._require_found(distinct[found < 0].tolist(), "value")
        return found[place]

    def value_edges(self, values: ArrayLike, positions: Ints, without: Edges) -> Edges:
        """The training triples at chosen places of values' lists. The list of a value has its training triples by edge
        id; only those asked for leave the store.

        Args:
            values: [n] ordinals; may repeat one.
            positions: [n, k]; row k's places in the list of `values[k]`, -1 for none.
            without: triples that the lists lack, each of the value of its row.

        Returns:
            Row after row, each in the order of its positions.

        Raises:
            UnknownItems: naming up to five values whose lists are shorter, or that the store has not.
        """
        asked = _ordinals(values)
        found = self._value_edges(asked, positions, without)
        short = np.unique(asked[found.row[found.item < 0]]).tolist()
        self._require_found(short, "training triple at a place asked for of value")
        return found

    def item_features(self, ords: ArrayLike, fields: Sequence[str]) -> dict[str, NDArray[np.object_]]:
        """The named fields of these items, each [n] in the order of `ords`, None where an item has none; image is its
        key.

        Raises:
            UnknownItems: naming up to five ordinals that the store has not.
            SchemaError: for a field that no item has.
        """
        asked = self._checked_ords(ords)
        distinct, place = np.unique(asked, return_inverse=True)
        found = self._item_features(distinct, tuple(dict.fromkeys(fields)))
        return {name: column[place] for name, column in found.items()}

    def value_texts(self, ords: ArrayLike) -> NDArray[np.object_]:
        """Texts of the values with these ordinals, in their order.

        Raises:
            UnknownItems: naming up to five ordinals that the store has not.
        """
        distinct, place = np.unique(_ordinals(ords), return_inverse=True)
        found = self._value_texts(distinct)
        self._require_found([value for value in distinct.tolist() if value not in found], "value")
        texts = np.empty(len(distinct), dtype=object)
        texts[:] = [found[value] for value in distinct.tolist()]
        return texts[place]

    def rejections(self) -> pa.Table:
        """item, property and value of the completions that were rejected, and accepted in no run; sorted. Of all that
        comes back, this alone may be read by training, on request."""
        return tables.sorted_triples(self._rejections())

    @abstractmethod
    def property_names(self) -> list[str]:
        """By ordinal."""

    @abstractmethod
    def property_groups(self) -> dict[str, str]:
        """Groups of the properties that were ingested with one."""

    @abstractmethod
    def item_fields(self) -> tuple[str, ...]:
        """Names of the items' fields, less id."""

    @abstractmethod
    def items(self, fields: Sequence[str] = ()) -> pa.Table:
        """id and the named fields of every item, by ordinal."""

    def triples(self, splits: Collection[str | None] = TRAINING) -> pa.Table:
        """item, property, value, source, split and original of the triples of these splits, sorted by the first three;
        None is training."""
        return tables.sorted_triples(self._triples(splits))

    def triples_of(self, items: ArrayLike, splits: Collection[str | None] = TRAINING) -> pa.Table:
        """As `triples`, of the items with these ordinals alone, each of them once.

        Raises:
            UnknownItems: naming up to five ordinals that the store has not.
        """
        return tables.sorted_triples(self._triples_of(np.unique(self._checked_ords(items)), splits))

    def item_blocks(self) -> Iterator[Ints]:
        """The ordinals of all items, ascending, in blocks of consecutive ones."""
        number = self.num_items
        for first in range(0, number, BLOCK):
            yield np.arange(first, min(number, first + BLOCK))

    # What is counted, of training triples

    def value_counts(self) -> pa.Table:
        """property, value and triples: how many triples have the two. Sorted."""
        counted = (tables.counted(self.triples_of(block), tables.VALUE_COUNTS) for block in self.item_blocks())
        return tables.summed(counted, tables.VALUE_COUNTS)

    def property_counts(self) -> pa.Table:
        """category, property and items: how many items of the category have the property. Sorted; items without a
        category come last, their category null."""
        return tables.summed(map(self._property_counts, self.item_blocks()), tables.PROPERTY_COUNTS)

    def degree_counts(self) -> pa.Table:
        """triples and items: how many items have so many triples; 0 is among them. Sorted."""
        return tables.summed(map(self._degree_counts, self.item_blocks()), tables.DEGREE_COUNTS)

    def category_counts(self) -> pa.Table:
        """category and items: how many there are, with triples or without. Sorted; null comes last."""
        return tables.summed(
            [tables.counted(self.items(("category",)), tables.CATEGORY_COUNTS)], tables.CATEGORY_COUNTS
        )

    # Hooks

    @abstractmethod
    def _ingest(self, items: pa.Table, triples: pa.Table, properties: pa.Table | None, prune: bool) -> IngestReport: ...

    def _alone(self, take_over: bool) -> AbstractContextManager[None]:
        """While it is open no other process ingests."""
        return nullcontext()

    @abstractmethod
    def _write_predictions(self, rows: pa.Table, run: str, model: str, created: datetime) -> PredictionReport: ...

    @abstractmethod
    def _review(self, proposals: pa.Table, verdict: Verdict) -> int: ...

    @abstractmethod
    def _withdraw(self, proposals: pa.Table) -> int: ...

    @abstractmethod
    def _apply_reviews(self) -> AppliedReport: ...

    @abstractmethod
    def _rejections(self) -> pa.Table:
        """In any order."""

    @abstractmethod
    def _write_embeddings(self, parts: Iterable[Vectors], run: str, model: str, version: str) -> int:
        """Of checked parts."""

    @abstractmethod
    def _similar(self, item: str, k: int) -> pd.DataFrame:
        """Of a known item."""

    @abstractmethod
    def _query(self, cypher: str, parameters: Mapping[str, Any]) -> pd.DataFrame: ...

    @abstractmethod
    def _item_ords(self, ids: Sequence[str]) -> dict[str, int]:
        """Ordinals of those of the ids that are there."""

    def _item_digests(self, ords: Ints) -> NDArray[np.uint64]:
        return tables.digests(self.item_ids(ords))

    @abstractmethod
    def _neighbours(self, ords: Ints) -> Neighbours:
        """Of ascending, distinct, known ordinals."""

    @abstractmethod
    def _value_degrees(self, ords: Ints, most: int) -> Ints:
        """Of ascending, distinct ordinals; -1 for one that is not there."""

    @abstractmethod
    def _value_edges(self, values: Ints, positions: Ints, without: Edges) -> Edges:
        """As `value_edges`; item -1 where a list has no such position."""

    @abstractmethod
    def _item_features(self, ords: Ints, fields: Sequence[str]) -> dict[str, NDArray[np.object_]]:
        """Of ascending, distinct, known ordinals."""

    @abstractmethod
    def _value_texts(self, ords: Ints) -> dict[int, str]:
        """Of those of the ascending, distinct ordinals that are there."""

    @abstractmethod
    def _triples(self, splits: Collection[str | None]) -> pa.Table: ...

    @abstractmethod
    def _triples_of(self, ords: Ints, splits: Collection[str | None]) -> pa.Table:
        """Of ascending, distinct, known ordinals."""

    def _property_counts(self, ords: Ints) -> pa.Table:
        """Rows of `property_counts`, in any order, of consecutive ordinals; likewise the next."""
        cells = self.triples_of(ords).group_by(["item", "property"]).aggregate([])
        found = self.item_features(ords, ("id", "category"))
        items = pa.table(
            {"item": pa.array(found["id"], pa.string()), "category": pa.array(found["category"], pa.string())}
        )
        return tables.counted(cells.join(items, "item"), tables.PROPERTY_COUNTS)

    def _degree_counts(self, ords: Ints) -> pa.Table:
        degrees = pa.table({"triples": np.diff(self.neighbours(ords).indptr)})
        return tables.counted(degrees, tables.DEGREE_COUNTS)

    def _checked_ords(self, ords: ArrayLike) -> Ints:
        asked = _ordinals(ords)
        self._require_found(asked[(asked < 0) | (asked >= self.num_items)].tolist())
        return asked

    def _require_found(self, missing: list[Any], what: str = "item") -> None:
        if missing:
            shown = ", ".join(map(repr, missing[:5])) + (", ..." if len(missing) > 5 else "")
            raise UnknownItems(f"{self.location} has no {what} {shown} ({len(missing)} unknown of those asked for)")

    def _checked_vectors(self, parts: Iterable[Vectors]) -> Iterator[Vectors]:
        width = None
        for ids, given in parts:
            self.item_ords(ids)
            with np.errstate(over="ignore"):
                vectors = np.asarray(given, dtype=np.float32)
                length = np.linalg.norm(vectors, axis=-1)
            width = width or vectors.shape[-1]
            if vectors.shape != (len(ids), width):
                raise SchemaError(
                    f"vectors of {len(ids)} items must be of the shape {len(ids), width} (got {vectors.shape})"
                )
            wrong = np.flatnonzero(~np.isfinite(length) | (length == 0))
            if len(wrong):
                raise SchemaError(f"vectors: that of item {ids[wrong[0]]!r} is not finite, or has no direction")
            yield ids, vectors

    def _require_writable(self, what: str) -> None:
        if self.read_only:
            raise ReadOnlyStore(f"{self.location} was opened to read: {what} needs graphstore.open(location, 'w')")


def _lacking(wanted: pa.ChunkedArray, there: pa.ChunkedArray) -> list[str]:
    distinct = pc.unique(wanted)
    return distinct.filter(pc.invert(pc.is_in(distinct, there.combine_chunks()))).to_pylist()


def _require_names(**names: str) -> None:
    for name, given in names.items():
        if not given:
            raise ValueError(f"{name} must have a name (got {given!r})")


def _ordinals(ords: ArrayLike) -> Ints:
    """Flat int64; a mask or a fraction would become another item."""
    asked = np.asarray(ords).reshape(-1)
    if len(asked) and asked.dtype.kind not in "iu":
        raise TypeError(f"ordinals are whole numbers (got an array of {asked.dtype})")
    return asked.astype(np.int64)


def _spread(found: Neighbours, place: Ints) -> Neighbours:
    """Row `place[k]` of `found` for each k."""
    if np.array_equal(place, np.arange(len(found.indptr) - 1)):
        return found
    degree = np.diff(found.indptr)[place]
    indptr = np.concatenate([[0], np.cumsum(degree)])
    edges = np.repeat(found.indptr[place] - indptr[:-1], degree) + np.arange(indptr[-1])
    return Neighbours(indptr, found.property[edges], found.value[edges], found.edge_id[edges])
