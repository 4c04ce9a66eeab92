"""The embedded store: a Ladybug file, and what runs when no server is named.

One process writes at a time and nobody reads meanwhile: a lock file of ours (`STORE.lock`) is held for the handle's
life, because a reader beside a writer silently returns rows of no version. Handles that read one file in one process
share one database object. Rows come by COPY from Arrow, after their difference to what is there was taken: COPY would
double relationships.

What a process that reads holds of the file and of its answers fits into a buffer pool of a fixed size (`pool_bytes`),
whatever the catalogue's; one that writes takes what Ladybug takes of itself, up to 80 % of the memory there is.
"""

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import ladybug
import pandas as pd
import pyarrow as pa

from graphstore import predictions, tables
from graphstore.database import Batch, DatabaseStore
from graphstore.errors import BrokenStore, QueryError, StoreError, StoreNotFound
from graphstore.images import ImagePack
from graphstore.locks import FileLock
from graphstore.predictions import PREDICTED_COLUMNS, PROPOSED, RUN_KEY, Settled
from graphstore.store import Mode

SCHEMA = (
    "CREATE NODE TABLE IF NOT EXISTS Item(id STRING PRIMARY KEY, ord INT64, first INT64, "
    "title STRING, category STRING, image STRING)",
    "CREATE NODE TABLE IF NOT EXISTS Value(text STRING PRIMARY KEY, ord INT64)",
    "CREATE NODE TABLE IF NOT EXISTS Property(name STRING PRIMARY KEY, ord INT64, items INT64, `values` INT64, "
    "`group` STRING)",
    "CREATE NODE TABLE IF NOT EXISTS Metadata(key STRING PRIMARY KEY, value STRING)",
    "CREATE REL TABLE IF NOT EXISTS HAS(FROM Item TO Value, "
    + ", ".join(f"{name} STRING" for name in tables.HAS_COLUMNS)
    + ")",
    "ALTER TABLE HAS ADD IF NOT EXISTS original STRING",  # files of before it was kept
    "CREATE REL TABLE IF NOT EXISTS PREDICTED(FROM Item TO Value, property STRING, confidence DOUBLE, `rank` INT64, "
    "run STRING, model STRING, created STRING, status STRING)",
    "ALTER TABLE Item ADD IF NOT EXISTS embedding FLOAT[]",
    *(f"ALTER TABLE Item ADD IF NOT EXISTS embedding_{name} STRING" for name in ("run", "model", "version")),
)
MATCH_TRIPLES = (
    "UNWIND $rows AS row MATCH (i:Item {id: row.item}) MATCH (i)-[h:HAS]->(v:Value) "
    "WHERE v.text = row.value AND h.property = row.property"
)
POOL = "K3M_LADYBUG_POOL"
POOL_MIB = 4096
"""A million items with twelve triples each take 400 while they are trained on, and 1,700 where all are asked for at
once."""
MATCH_PREDICTED = (
    "MATCH (i:Item {id: row_item}) MATCH (i)-[p:PREDICTED]->(v:Value) "
    "WHERE v.text = row_value AND p.property = row_property AND coalesce(p.run, '') = row_run"
)
REMOVE_VECTORS = (
    "MATCH (i:Item) WHERE i.embedding IS NOT NULL AND coalesce(i.embedding_model, '') <> $model "
    "SET i.embedding = NULL, i.embedding_run = NULL, i.embedding_model = NULL, i.embedding_version = NULL"
)
EMPTY_BYTES = 16_384
"""Of a file that has never had a table."""
_UPDATE_BATCH = 10_000
_READ_BATCH = 10_000


class SharedDatabase:
    """One database object a file and process, with its lock, counted by the handles that use it."""

    _open: ClassVar[dict[tuple[int, Path], "SharedDatabase"]] = {}

    def __init__(self, path: Path, read_only: bool) -> None:
        self.key = (os.getpid(), path)
        pool = pool_bytes() if read_only else 0
        self.lock = FileLock(path.with_name(path.name + ".lock"), exclusive=not read_only)
        try:
            _require_tables(path)
            self.database = ladybug.Database(str(path), read_only=read_only, buffer_pool_size=pool)
        except (RuntimeError, ValueError) as error:
            self.lock.release()
            raise _does_not_open(path, error) from error
        self.handles = 0

    @classmethod
    def acquire(cls, path: Path, read_only: bool) -> "SharedDatabase":
        path = path.resolve()
        shared = cls._open.get((os.getpid(), path)) if read_only else None
        if shared is None:
            shared = cls(path, read_only)
            if read_only:
                cls._open[shared.key] = shared
        shared.handles += 1
        return shared

    def release(self) -> None:
        self.handles -= 1
        if self.handles == 0:
            self._open.pop(self.key, None)
            self.database.close()
            self.lock.release()


def pool_bytes() -> int:
    """The most memory that pages of a file and rows of its answers take in a process that reads; K3M_LADYBUG_POOL
    gives it in MiB.

    Raises:
        ValueError: for what is no whole number of 64 at least.
    """
    given = os.environ.get(POOL, str(POOL_MIB))
    if not (given.isascii() and given.isdigit() and int(given) >= 64):
        raise ValueError(f"{POOL} is a whole number of MiB, 64 or more (got {given!r})")
    return int(given) * 2**20


def _require_tables(path: Path) -> None:
    """Zeros where the list of tables was make an empty database of a full one. Looked at through a handle to read:
    closing one to write would write.

    Raises:
        RuntimeError, ValueError: also what the database says of a file that does not open.
    """
    if not path.exists() or path.stat().st_size <= EMPTY_BYTES:
        return
    database = ladybug.Database(str(path), read_only=True, buffer_pool_size=pool_bytes())
    with closing(database), ladybug.Connection(database) as connection:
        found = connection.execute("CALL show_tables() RETURN *")
        assert isinstance(found, ladybug.QueryResult)
        if not found.get_all():
            raise RuntimeError(f"no tables in {path.stat().st_size} bytes")


def _does_not_open(path: Path, error: RuntimeError | ValueError) -> StoreError:
    """A file of another kind is left to its owner, and a lack of memory is no fault of the file's."""
    with path.open("rb") as file:
        ours = file.read(4) in (b"LBUG", bytes(4))
    if ours and "Buffer manager" not in str(error):
        return BrokenStore(f"{path} does not open: {error} (k3m ingest sets it aside and builds it anew)")
    return StoreNotFound(f"{path} does not open as a Ladybug database: {error}")


def set_aside(path: Path) -> Path:
    """Give a broken store's files another name, STORE.broken-DATE, which is returned. Its images lie apart and stay."""
    lock = FileLock(path.with_name(path.name + ".lock"), exclusive=True)
    aside = path.with_name(f"{path.name}.broken-{datetime.now():%Y%m%d-%H%M%S}")
    for suffix in ("", ".wal", ".shadow"):
        if (file := path.with_name(path.name + suffix)).exists():
            file.rename(aside.with_name(aside.name + suffix))
    lock.release()
    return aside


class LadybugStore(DatabaseStore):
    """A store in one file.

    Raises:
        StoreNotFound: no file there, and the mode is to read; or one of another kind.
        BrokenStore: it does not open any more.
        StoreLocked: naming the process that has it.
    """

    def __init__(self, path: Path, mode: Mode) -> None:
        super().__init__(str(path), mode)
        if self.read_only and not path.exists():
            raise StoreNotFound(
                f"{path}: no store there (python -m loaders.ingest SOURCE PATH --store {path} makes one)"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        self.images = ImagePack(image_folder(path), self.read_only)
        self._shared: SharedDatabase | None = SharedDatabase.acquire(path, self.read_only)
        self._connection = ladybug.Connection(self._shared.database)
        if not self.read_only:
            for statement in SCHEMA:
                self._connection.execute(statement)

    def close(self) -> None:
        if self._shared is not None and self._shared.key[0] == os.getpid():
            self._connection.close()
            self._shared.release()
        self._shared = None

    def _query(self, cypher: str, parameters: Mapping[str, Any]) -> pd.DataFrame:
        if not self.read_only:
            self._forget()
        found = self._execute(cypher, parameters) if self.read_only else self._written(cypher, parameters)
        names, kinds = found.get_column_names(), found.get_column_data_types()
        if repeated := {name for name in names if names.count(name) > 1}:
            raise QueryError(f"{self.location}: several result columns with the same name: {', '.join(repeated)}")
        frame = pd.DataFrame(found.get_all(), columns=names)
        for name, kind in zip(names, kinds, strict=True):
            if kind == "INT128":  # a sum of integers, which comes as Decimal
                frame[name] = [None if number is None else int(number) for number in frame[name]]
        return frame

    def _written(self, cypher: str, parameters: Mapping[str, Any]) -> ladybug.QueryResult:
        """In a transaction: the first of two statements has run when the second is seen."""
        self._execute("BEGIN TRANSACTION", {})
        try:
            found = self._execute(cypher, parameters)
            self._execute("COMMIT", {})
        except BaseException:
            with suppress(QueryError):  # an error of the database's own has ended it
                self._execute("ROLLBACK", {})
            raise
        return found

    def batches(self, cypher: str, parameters: Mapping[str, Any], whole: bool = False) -> Iterator[Batch]:
        found = self._execute(cypher, parameters)
        names = found.get_column_names()
        yield names, found.get_n(_READ_BATCH)
        while found.has_next():
            yield names, found.get_n(_READ_BATCH)

    def _rows(self, cypher: str, **parameters: Any) -> pa.Table:
        return self._execute(cypher, parameters).get_as_arrow()

    def _execute(self, cypher: str, parameters: Mapping[str, Any]) -> ladybug.QueryResult:
        if self._shared is None:
            raise QueryError(f"{self.location}: the store was closed")
        if self._shared.key[0] != os.getpid():  # it would hang
            raise StoreError(f"{self.location}: a handle opened before a fork; open the store in this process")
        try:
            found = self._connection.execute(cypher, dict(parameters))
        except RuntimeError as error:
            if "read-only" in str(error):
                raise self._refused_write() from error
            hint = f" ({POOL} gives a process that reads more MiB)" if "buffer pool is full" in str(error) else ""
            raise QueryError(f"{self.location}: {error}{hint}") from error
        if isinstance(found, list):
            raise QueryError(f"{self.location}: one statement a query (got {len(found)})")
        return found

    def _declare(self, fields: dict[str, str]) -> None:
        for name, kind in fields.items():
            self._execute(f"ALTER TABLE Item ADD IF NOT EXISTS `{name}` {kind}", {})

    def _add_nodes(self, label: str, key: str, rows: pa.Table) -> None:
        if len(rows):
            quoted = ", ".join(f"`{name}`" for name in rows.column_names)
            self._execute(f"COPY {label}({quoted}) FROM $rows", {"rows": rows.combine_chunks()})

    def _update_nodes(self, label: str, key: str, rows: pa.Table) -> None:
        self._load(f"MATCH (n:{label} {{{key}: row_{key}}}) SET {_assignments('n', rows, (key,))}", rows)

    def _remove_nodes(self, label: str, key: str, rows: pa.Table) -> None:
        self._unwind(f"UNWIND $rows AS row MATCH (n:{label} {{{key}: row.{key}}}) DETACH DELETE n", rows)

    def _add_triples(self, rows: pa.Table, values: pa.Array) -> None:
        if len(rows):
            ordered = rows.select(["item", "value", *tables.HAS_COLUMNS]).combine_chunks()
            self._execute("COPY HAS FROM $rows", {"rows": ordered})

    def _update_triples(self, rows: pa.Table, values: pa.Array) -> None:
        self._unwind(f"{MATCH_TRIPLES} SET {', '.join(f'h.{name} = row.{name}' for name in tables.MORE_COLUMNS)}", rows)

    def _remove_triples(self, rows: pa.Table) -> None:
        self._unwind(f"{MATCH_TRIPLES} DELETE h", rows)

    def _add_predictions(self, rows: pa.Table) -> None:
        if len(rows):
            ordered = rows.select(["item", "value", *PREDICTED_COLUMNS]).combine_chunks()
            self._execute("COPY PREDICTED FROM $rows", {"rows": ordered})

    def _update_predictions(self, rows: pa.Table) -> None:
        self._load(f"{MATCH_PREDICTED} SET {_assignments('p', rows, RUN_KEY)}", rows)

    def _remove_proposals(self, rows: pa.Table) -> None:
        self._load(f"{MATCH_PREDICTED} AND coalesce(p.status, '{PROPOSED}') = '{PROPOSED}' DELETE p", rows)

    def _rejections(self) -> pa.Table:
        there = self._rows("CALL show_tables() RETURN name")["name"].to_pylist()
        if "PREDICTED" not in there:  # a file of before there was any
            return Settled.of(predictions.SCHEMA.empty_table()).rejected
        return super()._rejections()

    def _remove_vectors_but(self, model: str) -> None:
        self._execute(REMOVE_VECTORS, {"model": model})

    def _set_vectors(self, rows: pa.Table) -> None:
        self._update_nodes("Item", "id", rows)

    def _width(self, item: str) -> int | None:
        columns = self._rows("CALL table_info('Item') RETURN name")["name"].to_pylist()
        return super()._width(item) if "embedding" in columns else None  # a file of before there were any

    def _nearest(self, item: str, k: int, width: int) -> pd.DataFrame:
        """By comparison with every vector."""
        one, other = (f"CAST({name}.embedding, 'FLOAT[{width}]')" for name in ("a", "b"))
        cypher = (
            "MATCH (a:Item {id: $id}) MATCH (b:Item) WHERE b.id <> $id AND b.embedding IS NOT NULL "
            f"RETURN b.id AS id, b.title AS title, array_cosine_similarity({one}, {other}) AS similarity "
            "ORDER BY similarity DESC, id LIMIT $k"
        )
        return self._rows(cypher, id=item, k=k).to_pandas()

    def _load(self, cypher: str, rows: pa.Table) -> None:
        """Rows as they are typed, columns as row_NAME: in an unwound list, numbers that are all null become text."""
        columns = ", ".join(f"`{name}` AS row_{name}" for name in rows.column_names)
        for start in range(0, len(rows), _UPDATE_BATCH):
            part = rows.slice(start, _UPDATE_BATCH).combine_chunks()
            self._execute(f"LOAD FROM $rows WITH {columns} {cypher}", {"rows": part})

    def _unwind(self, cypher: str, rows: pa.Table) -> None:
        for start in range(0, len(rows), _UPDATE_BATCH):
            self._execute(cypher, {"rows": rows.slice(start, _UPDATE_BATCH).to_pylist()})


def _assignments(node: str, rows: pa.Table, keys: Collection[str]) -> str:
    return ", ".join(f"{node}.`{name}` = row_{name}" for name in rows.column_names if name not in keys)


def image_folder(path: Path) -> Path:
    return path.with_name(path.name + ".images")
