"""The store in a Neo4j server: the system of record, and the reference for every answer.

The password comes from the environment (K3M_NEO4J_PASSWORD) and appears nowhere else. A driver does not survive a
fork: a handle that finds itself in another process opens its own. An index of Neo4j's holds 8 KB, a value may be
longer: the nodes of values are found by a digest of their text.
"""

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import SplitResult, urlsplit

import neo4j
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from neo4j.exceptions import DriverError, Neo4jError, ResultFailedError

from graphstore import tables
from graphstore.database import STATE, Batch, DatabaseStore
from graphstore.errors import (
    ConnectionFailed,
    NoEmbedding,
    QueryError,
    ReadOnlyStore,
    StoreError,
    StoreNotFound,
    TransactionTooLarge,
)
from graphstore.images import ImagePack
from graphstore.locks import Mark
from graphstore.predictions import PREDICTED_COLUMNS, PROPOSED, RUN_KEY
from graphstore.store import Edges, Mode
from graphstore.tables import Ints

Pack: TypeAlias = Callable[[pa.Table], list[Any]]
"""Rows as a query takes them, or something of each row."""
PASSWORD = "K3M_NEO4J_PASSWORD"
SCHEMA = (
    "CREATE CONSTRAINT k3m_item IF NOT EXISTS FOR (n:Item) REQUIRE n.id IS UNIQUE",
    "CREATE CONSTRAINT k3m_value IF NOT EXISTS FOR (n:Value) REQUIRE n.digest IS UNIQUE",
    "CREATE CONSTRAINT k3m_property IF NOT EXISTS FOR (n:Property) REQUIRE n.name IS UNIQUE",
    "CREATE CONSTRAINT k3m_metadata IF NOT EXISTS FOR (n:Metadata) REQUIRE n.key IS UNIQUE",
    # No constraint on ordinals: while they are renumbered, two nodes share one for a moment.
    "CREATE INDEX k3m_item_ord IF NOT EXISTS FOR (n:Item) ON (n.ord)",
    "CREATE INDEX k3m_value_ord IF NOT EXISTS FOR (n:Value) ON (n.ord)",
    "CALL db.awaitIndexes(3600)",
)
# Columns as lists in one record: many times faster over Bolt than a record an edge. A list drops nulls: they come as 0.
NEIGHBOURS = (
    "MATCH (i:Item) WHERE i.ord IN $ords MATCH (i)-[h:HAS]->(v:Value) WHERE h.split IS NULL "
    "WITH collect(i.ord) AS item, collect(i.first) AS first, collect(h.property) AS property, "
    "collect(coalesce(v.ord, -1)) AS value "
    "RETURN item, first, property, value, "
    "COLLECT { MATCH (m:Metadata) WHERE m.key IN $state RETURN m.value ORDER BY m.key } AS state"
)
TRIPLES = (
    "MATCH (i:Item) WHERE i.id IN $ids MATCH (i)-[h:HAS]->(v:Value) "
    "WHERE h.split IN $splits OR ($training AND h.split IS NULL) "
    "RETURN collect(i.id) AS item, collect(h.property) AS property, collect(v.text) AS value, "
    + ", ".join(f"collect(coalesce(h.{name}, 0)) AS {name}" for name in tables.MORE_COLUMNS)
)
# A hub's list is walked to `most` and no further.
VALUE_DEGREES = (
    "UNWIND $ords AS ord MATCH (v:Value {ord: ord}) "
    "CALL (v) { MATCH (v)<-[h:HAS]-() WHERE h.split IS NULL WITH h LIMIT $most RETURN count(h) AS degree } "
    "RETURN collect(ord) AS ord, collect(degree) AS degree"
)
# Each value's list is sorted once, by item and property as one number; only the chosen entries leave the database, with
# their edge ids: the item's first, and how many of the item's triples come before.
VALUE_EDGES = (
    "UNWIND $lists AS list MATCH (v:Value {ord: list[0]}) "
    "CALL (v) { "
    "MATCH (i:Item)-[h:HAS]->(v) WHERE h.split IS NULL "
    "WITH i, i.ord * $number + $properties[h.property] AS code ORDER BY code RETURN collect([code, i]) AS entries } "
    "UNWIND list[1] AS asked "
    "WITH v, asked, CASE WHEN asked[2] = [] THEN entries ELSE [e IN entries WHERE NOT e[0] IN asked[2]] END AS entries "
    "UNWIND asked[1] AS position "
    "WITH v.ord AS value, asked[0] AS row, entries[position][0] AS code, entries[position][1] AS i "
    "WITH value, row, code, code % $number AS property, i "
    "WITH row, code, i.first + COUNT { MATCH (i)-[h:HAS]->(w:Value) WHERE h.split IS NULL "
    "AND CASE WHEN h.property = $by_ordinal[property] THEN w.ord < value ELSE $properties[h.property] < property END } "
    "AS edge_id "
    "WITH collect(row) AS row, collect(coalesce(code, -1)) AS code, collect(coalesce(edge_id, -1)) AS edge_id "
    "RETURN row, code, edge_id, "
    "COLLECT { MATCH (m:Metadata) WHERE m.key IN $state RETURN m.value ORDER BY m.key } AS state"
)
# $rows: [item, [[value, property, ...], ...]]
MATCH_ITEMS = "UNWIND $rows AS row MATCH (i:Item {id: row[0]}) UNWIND row[1] AS fact "
ADD_TRIPLES = (
    f"{MATCH_ITEMS} MATCH (v:Value {{ord: fact[0]}}) CREATE (i)-[:HAS {{"
    + ", ".join(f"{name}: fact[{place}]" for place, name in enumerate(tables.HAS_COLUMNS, 1))
    + "}]->(v)"
)
UPDATE_TRIPLES = f"{MATCH_ITEMS} MATCH (v:Value {{ord: fact[0]}}) MATCH (i)-[h:HAS {{property: fact[1]}}]->(v) SET " + (
    ", ".join(f"h.{name} = fact[{place}]" for place, name in enumerate(tables.MORE_COLUMNS, 2))
)
# By digest: the ordinals of what goes are no more those of the graph to be.
REMOVE_TRIPLES = (
    f"{MATCH_ITEMS} MATCH (v:Value {{digest: fact[0]}}) MATCH (i)-[h:HAS {{property: fact[1]}}]->(v) DELETE h"
)
ADD_PREDICTIONS = (
    f"{MATCH_ITEMS} MATCH (v:Value {{digest: fact[0]}}) CREATE (i)-[:PREDICTED {{"
    + ", ".join(f"{name}: fact[{place}]" for place, name in enumerate(PREDICTED_COLUMNS, 1))
    + "}]->(v)"
)
MATCH_PREDICTED = (
    f"{MATCH_ITEMS} MATCH (v:Value {{digest: fact[0]}}) MATCH (i)-[p:PREDICTED {{property: fact[1]}}]->(v) "
    "WHERE coalesce(p.run, '') = fact[2]"
)
SET_VECTORS = (
    "UNWIND $rows AS row MATCH (i:Item {id: row.id}) "
    "CALL db.create.setNodeVectorProperty(i, 'embedding', row.embedding) "  # as float32
    "SET i.embedding_run = row.embedding_run, i.embedding_model = row.embedding_model, "
    "i.embedding_version = row.embedding_version"
)
REMOVE_VECTORS = (
    "MATCH (i:Item) WHERE i.embedding IS NOT NULL AND coalesce(i.embedding_model, '') <> $model CALL (i) { "
    "REMOVE i.embedding, i.embedding_run, i.embedding_model, i.embedding_version } IN TRANSACTIONS OF 10000 ROWS"
)
VECTOR_INDEX = "k3m_item_embedding"
INDEXED_WIDTH = (
    "SHOW VECTOR INDEXES YIELD name, options WHERE name = $name "
    "RETURN options.indexConfig['vector.dimensions'] AS width"
)
# The index compares coarsened vectors: of its candidates the nearest are chosen by the vectors themselves.
NEAREST = (
    "MATCH (a:Item {id: $id}) CALL db.index.vector.queryNodes($index, $candidates, a.embedding) YIELD node AS b "
    "WITH b, 2 * vector.similarity.cosine(a.embedding, b.embedding) - 1 AS similarity WHERE b.id <> $id "
    "RETURN b.id AS id, b.title AS title, similarity ORDER BY similarity DESC, id LIMIT $k"
)
CLAIM = "MERGE (m:Metadata {key: 'ingester'}) SET m.asked = $mark RETURN m.value AS held"
MARK = "MATCH (m:Metadata {key: 'ingester'}) SET m = {key: 'ingester', value: $mark}"
RELEASE = "MATCH (m:Metadata {key: 'ingester', value: $mark}) DELETE m"
MADE_MEANWHILE = "Neo.ClientError.Schema.EquivalentSchemaRuleAlreadyExists"
READ_ONLY = (
    "Neo.ClientError.General.WriteOnReadOnlyAccessDatabase",
    "Neo.ClientError.General.ForbiddenOnReadOnlyDatabase",
)
TOO_LARGE = (
    "Neo.TransientError.General.TransactionMemoryLimit",
    "Neo.TransientError.General.MemoryPoolOutOfMemoryError",
)
_BATCH = 10_000
WAIT_SECONDS = 300.0
"""A server that stops answering is asked again for this long, with growing pauses that the driver warns of."""
_INDEX_SECONDS = 24 * 3600
"""Longer than the index of any catalogue takes."""
_CANDIDATES, _LEAST_CANDIDATES = 10, 100
"""Asked of the index for each of the nearest, and at least."""
_SESSIONS = 3
"""That write side by side."""
_PAUSES = (0.1, 0.5, 2.0, 8.0, 20.0)
"""Seconds before a transaction is tried again."""


class Neo4jStore(DatabaseStore):
    """A store behind a URL, neo4j://user@host:port/database or another scheme of the driver's.

    Raises:
        ConnectionFailed: no server there, or it refuses the user, or the URL is none or holds a password (never shown).
        StoreNotFound: a server without that database.
    """

    live = True
    _closed = False

    def __init__(self, url: str, mode: Mode) -> None:
        super().__init__(url, mode)
        parts = urlsplit(url)
        user, _, host = parts.netloc.rpartition("@")
        if ":" in user or not _ends_in_port(parts) or "@" in parts.path:
            raise ConnectionFailed(
                f"a store's URL is neo4j://user@host:port/database, without a password: this one comes from {PASSWORD}"
            )
        self._address = f"{parts.scheme}://{host}"
        self._user, self.database = parts.username or "neo4j", parts.path.strip("/") or "neo4j"
        self.images = ImagePack(image_folder(url), self.read_only)
        self._column_names: dict[str, list[str]] = {}
        self._driver: neo4j.Driver | None = None
        self._process = 0
        try:
            self._require_server()
            for statement in () if self.read_only else SCHEMA:
                self._make(statement)
        except StoreError:
            self.close()
            raise

    def _require_server(self) -> None:
        """A server that was never there says so now; only one that goes away later is waited for."""
        with self._named_errors(), self._session() as session:
            session.run("RETURN 1").consume()

    def _make(self, statement: str) -> None:
        """A constraint or an index, unless another handle has made it a moment ago."""
        try:
            self._transact(lambda transaction: transaction.run(statement).consume())
        except QueryError as error:
            if getattr(error.__cause__, "code", None) != MADE_MEANWHILE:
                raise

    def changed(self) -> bool:
        now = self._state_now()
        return "unfinished" in now if self._cached_state is None else now != self._cached_state

    def close(self) -> None:
        if self._driver is not None and self._process == os.getpid():
            self._driver.close()
        self._driver, self._closed = None, True

    def _session(self) -> neo4j.Session:
        if self._closed:
            raise QueryError(f"{self.location}: the store was closed")
        if self._driver is None or self._process != os.getpid():
            password = os.environ.get(PASSWORD)
            auth = (self._user, password) if password else None
            self._driver = neo4j.GraphDatabase.driver(
                self._address,
                auth=auth,
                notifications_min_severity="OFF",
                max_transaction_retry_time=WAIT_SECONDS,
            )
            self._process = os.getpid()
        access = neo4j.READ_ACCESS if self.read_only else neo4j.WRITE_ACCESS
        return self._driver.session(database=self.database, default_access_mode=access)

    def _query(self, cypher: str, parameters: Mapping[str, Any]) -> pd.DataFrame:
        if not self.read_only:
            self._forget()
        columns, rows = self._run(cypher, parameters)
        return pd.DataFrame(rows, columns=columns)

    def _rows(self, cypher: str, **parameters: Any) -> pa.Table:
        columns, rows = self._run(cypher, parameters)
        by_column = zip(*rows, strict=True) if rows else [()] * len(columns)
        return pa.table({name: pa.array(column) for name, column in zip(columns, by_column, strict=True)})

    def batches(self, cypher: str, parameters: Mapping[str, Any], whole: bool = False) -> Iterator[Batch]:
        if whole:
            yield self._run_as_list(cypher.rstrip().rstrip(";"), parameters)
            return
        with self._named_errors(), self._session() as session:
            result = session.run(cypher, dict(parameters))
            names = list(result.keys())
            yield names, [record.values() for record in result.fetch(_BATCH)]
            while result.peek() is not None:
                yield names, [record.values() for record in result.fetch(_BATCH)]

    def _run_as_list(self, cypher: str, parameters: Mapping[str, Any]) -> Batch:
        """The rows as one list in one record: five times faster over Bolt than a record each."""
        if cypher not in self._column_names:
            self._column_names[cypher], _ = self._run(f"EXPLAIN {cypher}", parameters)
        names = self._column_names[cypher]
        row = ", ".join("`" + name.replace("`", "``") + "`" for name in names)
        _, [[rows]] = self._run(f"CALL {{\n{cypher}\n}}\nRETURN collect([{row}])", parameters)
        return names, rows

    def _run(self, cypher: str, parameters: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
        with self._named_errors(), self._session() as session:
            if self.read_only:  # a read may be asked twice
                return session.execute_read(_result, cypher, dict(parameters))
            return _result(session, cypher, dict(parameters))

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except (DriverError, Neo4jError) as failure:
            error = _cause(failure)
            if isinstance(error, DriverError):
                raise self._connection_failed(str(error)) from failure
            raise self._named(error.code or "", error.message or "") from failure

    def _named(self, code: str, message: str) -> StoreError:
        if code.startswith("Neo.ClientError.Security"):
            return self._connection_failed(message)
        if code == "Neo.ClientError.Database.DatabaseNotFound":
            return StoreNotFound(f"{self.location}: {message}")
        if code == "Neo.ClientError.Statement.AccessMode":
            return self._refused_write()
        if code in READ_ONLY:
            return ReadOnlyStore(f"{self.location}: by its configuration (server.databases.read_only): {message}")
        if code in TOO_LARGE:
            return TransactionTooLarge(f"{self.location}: {message}")
        return QueryError(f"{self.location}: {message}")

    def _connection_failed(self, message: str) -> ConnectionFailed:
        return ConnectionFailed(f"{self.location}: {message} (user {self._user}; password from {PASSWORD})")

    # A column a list

    def _triples(self, splits: Collection[str | None]) -> pa.Table:
        return self._triples_by_id(self._lists("MATCH (i:Item) RETURN collect(i.id)", ("id",))["id"], splits)

    def _triples_of(self, ords: Ints, splits: Collection[str | None]) -> pa.Table:
        return self._triples_by_id(self.item_ids(ords).tolist(), splits)

    def _triples_by_id(self, ids: list[str], splits: Collection[str | None]) -> pa.Table:
        named = {"splits": [name for name in splits if name is not None], "training": None in splits}
        parts = [
            self._lists(TRIPLES, tables.TRIPLE_COLUMNS, ids=ids[start : start + _BATCH], **named)
            for start in range(0, len(ids), _BATCH)
        ]
        for part in parts:
            for name in tables.MORE_COLUMNS:
                part[name] = [None if text == 0 else text for text in part[name]]
        schema = pa.schema([(name, pa.string()) for name in tables.TRIPLE_COLUMNS])
        return pa.concat_tables([schema.empty_table(), *(pa.table(part, schema=schema) for part in parts)])

    def _edges(self, ords: Ints) -> dict[str, Any]:
        names = ("item", "first", "property", "value", "state")
        found = self._lists(NEIGHBOURS, names, ords=ords.tolist(), state=list(STATE))
        self._require_state(found.pop("state"))
        return found

    def _degrees(self, ords: Ints, most: int) -> dict[str, Any]:
        return self._lists(VALUE_DEGREES, ("ord", "degree"), ords=ords.tolist(), most=most)

    def _value_edges(self, values: Ints, positions: Ints, without: Edges) -> Edges:
        names = self.property_names()
        found = self._lists(
            VALUE_EDGES,
            ("row", "code", "edge_id", "state"),
            lists=_asked(values, positions, without.row, without.item * len(names) + without.property),
            properties={name: ord for ord, name in enumerate(names)},
            number=len(names),
            by_ordinal=names,
            state=list(STATE),
        )
        self._require_state(found.pop("state"))
        found_row, code, found_id = (np.asarray(column, dtype=np.int64) for column in found.values())
        order = np.argsort(found_row, kind="stable")  # they came value by value
        row = np.nonzero(positions >= 0)[0]
        there = np.isin(row, found_row)
        item, prop, edge_id = (np.full(len(row), -1) for _ in range(3))
        item[there], prop[there], edge_id[there] = *np.divmod(code[order], max(len(names), 1)), found_id[order]
        return Edges(row, item, prop, values[row], edge_id)

    def _lists(self, cypher: str, names: tuple[str, ...], **parameters: Any) -> dict[str, list[Any]]:
        _, rows = self._run(cypher, parameters)
        return dict(zip(names, rows[0], strict=True))

    # What is written

    def _declare(self, fields: dict[str, str]) -> None:
        """Nodes take any property."""

    def _add_nodes(self, label: str, key: str, rows: pa.Table) -> None:
        if label == "Value":
            rows = with_digest(rows)
        self._unwind(f"UNWIND $rows AS row CREATE (n:{label}) SET n = row", rows)

    def _update_nodes(self, label: str, key: str, rows: pa.Table) -> None:
        self._unwind_by_key("SET n += row", label, key, rows)

    def _remove_nodes(self, label: str, key: str, rows: pa.Table) -> None:
        self._unwind_by_key("DETACH DELETE n", label, key, rows)

    def _unwind_by_key(self, write: str, label: str, key: str, rows: pa.Table) -> None:
        if label == "Value" and len(rows):
            rows, key = with_digest(rows), "digest"
            self._digest_what_queries_made()
        self._unwind(f"UNWIND $rows AS row MATCH (n:{label} {{{key}: row.{key}}}) {write}", rows)

    def _digest_what_queries_made(self) -> None:
        made = self._rows("MATCH (v:Value) WHERE v.digest IS NULL RETURN v.text AS text")
        cypher = (
            "UNWIND $rows AS row MATCH (v:Value) WHERE v.digest IS NULL AND v.text = row.text SET v.digest = row.digest"
        )
        self._unwind(cypher, with_digest(made))

    def _add_triples(self, rows: pa.Table, values: pa.Array) -> None:
        self._write_by_item(ADD_TRIPLES, rows, lambda batch: _ordinals(batch, values))

    def _update_triples(self, rows: pa.Table, values: pa.Array) -> None:
        self._write_by_item(UPDATE_TRIPLES, rows, lambda batch: _ordinals(batch, values))

    def _remove_triples(self, rows: pa.Table) -> None:
        if len(rows):
            self._digest_what_queries_made()
        self._write_by_item(REMOVE_TRIPLES, rows, lambda batch: _digests(batch["value"]))

    def _write_by_item(self, cypher: str, rows: pa.Table, value_keys: Pack) -> None:
        self._write_batches(cypher, _item_batches(rows), lambda batch: _by_item(batch, value_keys(batch)))

    def _add_predictions(self, rows: pa.Table) -> None:
        self._write_predicted(ADD_PREDICTIONS, rows, PREDICTED_COLUMNS)

    def _update_predictions(self, rows: pa.Table) -> None:
        columns = [name for name in rows.column_names if name not in RUN_KEY]
        assignments = ", ".join(f"p.{name} = fact[{place}]" for place, name in enumerate(columns, 3))
        self._write_predicted(f"{MATCH_PREDICTED} SET {assignments}", rows, ("property", "run", *columns))

    def _remove_proposals(self, rows: pa.Table) -> None:
        cypher = f"{MATCH_PREDICTED} AND coalesce(p.status, '{PROPOSED}') = '{PROPOSED}' DELETE p"
        self._write_predicted(cypher, rows, ("property", "run"))

    def _write_predicted(self, cypher: str, rows: pa.Table, held: Sequence[str]) -> None:
        """Values by digest: those of completions alone have no ordinal."""
        if len(rows):
            self._digest_what_queries_made()
        batches = _item_batches(tables.sorted_triples(rows))
        self._write_batches(cypher, batches, lambda batch: _by_item(batch, _digests(batch["value"]), held))

    def _remove_vectors_but(self, model: str) -> None:
        self._run(REMOVE_VECTORS, {"model": model})

    def _set_vectors(self, rows: pa.Table) -> None:
        self._unwind(SET_VECTORS, rows)

    def _index_vectors(self) -> None:
        held = self._rows("MATCH (i:Item) WHERE i.embedding IS NOT NULL RETURN size(i.embedding) AS width LIMIT 1")
        indexed = self._rows(INDEXED_WIDTH, name=VECTOR_INDEX)
        if not len(held):
            return
        if not held.equals(indexed):
            self._make_vector_index(held["width"][0].as_py())
        self._run("CALL db.awaitIndex($name, $seconds)", {"name": VECTOR_INDEX, "seconds": _INDEX_SECONDS})

    def _make_vector_index(self, width: int) -> None:
        config = {"vector.dimensions": width, "vector.similarity_function": "cosine"}
        make = f"CREATE VECTOR INDEX {VECTOR_INDEX} FOR (i:Item) ON (i.embedding) OPTIONS $options"
        self._run(f"DROP INDEX {VECTOR_INDEX} IF EXISTS", {})
        self._run(make, {"options": {"indexConfig": config}})

    def _nearest(self, item: str, k: int, width: int) -> pd.DataFrame:
        if self._rows(INDEXED_WIDTH, name=VECTOR_INDEX)["width"].to_pylist() != [width]:
            raise NoEmbedding(
                f"{self.location} has vectors of width {width} without their index: the k3m embed that was cut off "
                "again completes it"
            )
        candidates = max(_LEAST_CANDIDATES, _CANDIDATES * k)
        columns, rows = self._run(NEAREST, {"id": item, "k": k, "candidates": candidates, "index": VECTOR_INDEX})
        return pd.DataFrame(rows, columns=columns)

    def _unwind(self, cypher: str, rows: pa.Table) -> None:
        batches = [rows.slice(start, _BATCH) for start in range(0, len(rows), _BATCH)]
        self._write_batches(cypher, batches, lambda batch: batch.to_pylist())

    def _write_batches(self, cypher: str, batches: Sequence[pa.Table], pack: Pack) -> None:
        """Side by side, in no order: no two of them are about one node's key or one item. The first error stops what
        has not begun."""
        with ThreadPoolExecutor(_SESSIONS) as sessions:
            list(sessions.map(lambda batch: self._write_batch(cypher, batch, pack), batches))

    def _write_batch(self, cypher: str, rows: pa.Table, pack: Pack) -> None:
        """One transaction, tried again where the server says that the error passes; two of half the rows where they
        are too many for the server's memory."""
        try:
            self._transact(lambda transaction: transaction.run(cypher, rows=pack(rows)).consume())
        except TransactionTooLarge:
            if len(rows) == 1:
                raise
            half = len(rows) // 2
            for part in (rows.slice(0, half), rows.slice(half)):
                self._write_batch(cypher, part, pack)

    def _transact(self, work: Callable[[neo4j.Transaction], Any]) -> None:
        """Tried again where the server says that the error passes: the driver's own loop would also repeat what is too
        large for the server's memory, for half a minute."""
        with self._named_errors(), self._session() as session:
            for pause in (*_PAUSES, None):
                try:
                    with session.begin_transaction() as transaction:
                        work(transaction)
                        transaction.commit()
                    return
                except (DriverError, Neo4jError) as failure:
                    error = _cause(failure)
                    too_large = isinstance(error, Neo4jError) and error.code in TOO_LARGE
                    if pause is None or too_large or not error.is_retryable():
                        raise
                    time.sleep(pause)

    @contextmanager
    def _alone(self, take_over: bool) -> Iterator[None]:
        """By a mark in the database: no lock of the server's outlives a transaction."""
        mark = Mark.mine()
        self._transact(lambda transaction: self._claim(transaction, mark, take_over))
        self._forget()
        try:
            yield
        finally:
            with suppress(StoreError):  # the mark of a process that has ended keeps nobody out
                self._transact(lambda transaction: transaction.run(RELEASE, mark=str(mark)).consume())

    def _claim(self, transaction: neo4j.Transaction, mark: Mark, take_over: bool) -> None:
        """CLAIM writes before it reads, so that who claims at the same moment waits until the mark is there."""
        held = transaction.run(CLAIM, mark=str(mark)).single(strict=True)["held"]
        if held is not None and not take_over:
            Mark.read(held).require_ended(self.location)
        transaction.run(MARK, mark=str(mark)).consume()


def _result(
    asked: neo4j.Session | neo4j.ManagedTransaction, cypher: str, parameters: dict[str, Any]
) -> tuple[list[str], list[list[Any]]]:
    result = asked.run(cypher, parameters)
    return list(result.keys()), result.values()


def _cause(failure: DriverError | Neo4jError) -> DriverError | Neo4jError:
    """The error itself, where closing the transaction replaced it by "a result has failed"."""
    cause = failure.__cause__ if isinstance(failure, ResultFailedError) else None
    return cause if isinstance(cause, DriverError | Neo4jError) else failure


def _asked(values: Ints, positions: Ints, without_row: Ints, without: Ints) -> list[list[Any]]:
    """For each value once: [value, [[row, its positions, the codes that its list lacks], ...]]."""
    lacking: dict[int, list[int]] = {}
    for row, code in zip(without_row.tolist(), without.tolist(), strict=True):
        lacking.setdefault(row, []).append(code)
    lists: dict[int, list[list[Any]]] = {}
    for row, (value, chosen) in enumerate(zip(values.tolist(), positions.tolist(), strict=True)):
        asked = [row, [position for position in chosen if position >= 0], lacking.get(row, [])]
        lists.setdefault(value, []).append(asked)
    return [[value, asked] for value, asked in lists.items()]


def _item_batches(rows: pa.Table) -> list[pa.Table]:
    """Slices of about _BATCH rows, sorted by item, none of which shares an item with another: two transactions that
    wrote to one item would wait for each other."""
    if not len(rows):
        return []
    first = pc.not_equal(rows["item"].slice(1), rows["item"].slice(0, len(rows) - 1)).to_numpy()
    starts = np.concatenate([[0], np.flatnonzero(first) + 1, [len(rows)]])
    cuts = np.unique(starts[np.searchsorted(starts, np.arange(0, len(rows) + _BATCH, _BATCH).clip(max=len(rows)))])
    return [rows.slice(start, stop - start) for start, stop in pairwise(cuts.tolist())]


def _by_item(rows: pa.Table, values: list[Any], columns: Sequence[str] = tables.HAS_COLUMNS) -> list[Any]:
    """Rows as lists, grouped by item: one look-up an item, and less to send than maps."""
    held = [name for name in columns if name in rows.column_names]
    grouped: dict[str, list[list[Any]]] = {}
    facts = zip(values, *(rows[name].to_pylist() for name in held), strict=True)
    for item, fact in zip(rows["item"].to_pylist(), facts, strict=True):
        grouped.setdefault(item, []).append(list(fact))
    return [[item, own] for item, own in grouped.items()]


def _ordinals(rows: pa.Table, values: pa.Array) -> list[int]:
    return tables.positions(rows["value"], values).tolist()


def with_digest(values: pa.Table) -> pa.Table:
    return values.append_column("digest", pa.array(_digests(values["text"]), pa.string()))


def _digests(texts: pa.ChunkedArray) -> list[str]:
    return [sha256(text.encode()).hexdigest() for text in texts.to_pylist()]


def _ends_in_port(parts: SplitResult) -> bool:
    """False where the host ends in ":" and no number: the beginning of a password with a slash in it."""
    try:
        return parts.port is None or parts.port > 0
    except ValueError:
        return False


def image_folder(url: str) -> Path:
    return data_folder(url) / "images"


def data_folder(url: str) -> Path:
    """./k3m-data/HOST-DATABASE."""
    parts = urlsplit(url)
    return Path("k3m-data") / f"{parts.hostname}-{parts.path.strip('/') or 'neo4j'}"
