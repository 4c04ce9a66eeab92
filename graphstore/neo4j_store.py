"""The store in a Neo4j server: the system of record, and the reference for every answer.

The password comes from the environment (K3M_NEO4J_PASSWORD) and appears nowhere else. A driver does not survive a
fork: a handle that finds itself in another process opens its own. An index of Neo4j's holds 8 KB, a value may be
longer: the nodes of values are found by a digest of their text.
"""

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import neo4j
import pandas as pd
import pyarrow as pa
from neo4j.exceptions import DriverError, Neo4jError

from graphstore import tables
from graphstore.database import STATE, Batch, DatabaseStore
from graphstore.errors import ConnectionFailed, QueryError, StoreError, StoreNotFound
from graphstore.images import ImagePack
from graphstore.store import Mode
from graphstore.tables import Ints

PASSWORD = "K3M_NEO4J_PASSWORD"
SCHEMA = (
    "CREATE CONSTRAINT k3m_item IF NOT EXISTS FOR (n:Item) REQUIRE n.id IS UNIQUE",
    "CREATE CONSTRAINT k3m_value IF NOT EXISTS FOR (n:Value) REQUIRE n.digest IS UNIQUE",
    "CREATE CONSTRAINT k3m_property IF NOT EXISTS FOR (n:Property) REQUIRE n.name IS UNIQUE",
    "CREATE CONSTRAINT k3m_metadata IF NOT EXISTS FOR (n:Metadata) REQUIRE n.key IS UNIQUE",
    # No constraint on ordinals: while they are renumbered, two nodes share one for a moment.
    "CREATE INDEX k3m_item_ord IF NOT EXISTS FOR (n:Item) ON (n.ord)",
    "CREATE INDEX k3m_value_ord IF NOT EXISTS FOR (n:Value) ON (n.ord)",
    "CALL db.awaitIndexes(60)",
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
    "collect(coalesce(h.source, 0)) AS source, collect(coalesce(h.split, 0)) AS split"
)
ADD_TRIPLES = (
    "UNWIND $rows AS row MATCH (i:Item {id: row[0]}) UNWIND row[1] AS fact MATCH (v:Value {ord: fact[1]}) "
    "CREATE (i)-[:HAS {property: fact[0], source: fact[2], split: fact[3]}]->(v)"
)
UPDATE_TRIPLES = (
    "UNWIND $rows AS row MATCH (:Item {id: row.item})-[h:HAS {property: row.property}]->(:Value {text: row.value}) "
    "SET h.source = row.source, h.split = row.split"
)
_BATCH = 10_000
WAIT_SECONDS = 300.0
"""A server that stops answering is asked again for this long, with growing pauses that the driver warns of."""


class Neo4jStore(DatabaseStore):
    """A store behind a URL, neo4j://user@host:port/database or another scheme of the driver's.

    Raises:
        ConnectionFailed: no server there, or it refuses the user, or the URL is none or holds a password (never shown).
        StoreNotFound: a server without that database.
    """

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
        self._user, self._database = parts.username or "neo4j", parts.path.strip("/") or "neo4j"
        self.images = ImagePack(image_folder(url), self.read_only)
        self._column_names: dict[str, list[str]] = {}
        self._driver: neo4j.Driver | None = None
        self._process = 0
        try:
            self._require_server()
            for statement in () if self.read_only else SCHEMA:
                self._rows(statement)
        except StoreError:
            self.close()
            raise

    def _require_server(self) -> None:
        """A server that was never there says so now; only one that goes away later is waited for."""
        with self._named_errors(), self._session() as session:
            session.run("RETURN 1").consume()

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
        return self._driver.session(database=self._database, default_access_mode=access)

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
        except DriverError as error:
            raise self._connection_failed(str(error)) from error
        except Neo4jError as error:
            raise self._named(error.code or "", error.message or "") from error

    def _named(self, code: str, message: str) -> StoreError:
        if code.startswith("Neo.ClientError.Security"):
            return self._connection_failed(message)
        if code == "Neo.ClientError.Database.DatabaseNotFound":
            return StoreNotFound(f"{self.location}: {message}")
        if code == "Neo.ClientError.Statement.AccessMode":
            return self._refused_write()
        return QueryError(f"{self.location}: {message}")

    def _connection_failed(self, message: str) -> ConnectionFailed:
        return ConnectionFailed(f"{self.location}: {message} (user {self._user}; password from {PASSWORD})")

    # A column a list

    def _triples(self, splits: Collection[str | None]) -> pa.Table:
        named = {"splits": [name for name in splits if name is not None], "training": None in splits}
        ids = self._lists("MATCH (i:Item) RETURN collect(i.id)", ("id",))["id"]
        parts = [
            self._lists(TRIPLES, tables.TRIPLE_COLUMNS, ids=ids[start : start + _BATCH], **named)
            for start in range(0, len(ids), _BATCH)
        ]
        for part in parts:
            for name in ("source", "split"):
                part[name] = [text or None for text in part[name]]
        schema = pa.schema([(name, pa.string()) for name in tables.TRIPLE_COLUMNS])
        return pa.concat_tables([schema.empty_table(), *(pa.table(part, schema=schema) for part in parts)])

    def _edges(self, ords: Ints) -> dict[str, Any]:
        names = ("item", "first", "property", "value", "state")
        found = self._lists(NEIGHBOURS, names, ords=ords.tolist(), state=list(STATE))
        self._require_state(found.pop("state"))
        return found

    def _lists(self, cypher: str, names: tuple[str, ...], **parameters: Any) -> dict[str, list[Any]]:
        _, rows = self._run(cypher, parameters)
        return dict(zip(names, rows[0], strict=True))

    # What is written

    def _declare(self, fields: dict[str, str]) -> None:
        """Nodes take any property."""

    def _add_nodes(self, label: str, key: str, rows: pa.Table) -> None:
        if label == "Value":
            rows = _with_digest(rows)
        self._unwind(f"UNWIND $rows AS row CREATE (n:{label}) SET n = row", rows)

    def _update_nodes(self, label: str, key: str, rows: pa.Table) -> None:
        if label == "Value" and len(rows):
            rows, key = _with_digest(rows), "digest"
            self._digest_what_queries_made()
        self._unwind(f"UNWIND $rows AS row MATCH (n:{label} {{{key}: row.{key}}}) SET n += row", rows)

    def _digest_what_queries_made(self) -> None:
        made = self._rows("MATCH (v:Value) WHERE v.digest IS NULL RETURN v.text AS text")
        cypher = (
            "UNWIND $rows AS row MATCH (v:Value) WHERE v.digest IS NULL AND v.text = row.text SET v.digest = row.digest"
        )
        self._unwind(cypher, _with_digest(made))

    def _add_triples(self, rows: pa.Table, values: pa.Array) -> None:
        """Rows as lists, grouped by item: one look-up an item, and less to send than maps."""
        for start in range(0, len(rows), _BATCH):
            batch = rows.slice(start, _BATCH)
            ords = tables.positions(batch["value"], values).tolist()
            part = batch.to_pydict()
            grouped: dict[str, list[tuple[Any, ...]]] = {}
            facts = zip(part["property"], ords, part["source"], part["split"], strict=True)
            for item, fact in zip(part["item"], facts, strict=True):
                grouped.setdefault(item, []).append(fact)
            self._write_batch(ADD_TRIPLES, [[item, [list(fact) for fact in own]] for item, own in grouped.items()])

    def _update_triples(self, rows: pa.Table) -> None:
        self._unwind(UPDATE_TRIPLES, rows)

    def _unwind(self, cypher: str, rows: pa.Table) -> None:
        for start in range(0, len(rows), _BATCH):
            self._write_batch(cypher, rows.slice(start, _BATCH).to_pylist())

    def _write_batch(self, cypher: str, rows: list[Any]) -> None:
        """One transaction, tried again where the server says that the error passes."""
        with self._named_errors(), self._session() as session:
            session.execute_write(lambda transaction: transaction.run(cypher, rows=rows).consume())


def _result(
    asked: neo4j.Session | neo4j.ManagedTransaction, cypher: str, parameters: dict[str, Any]
) -> tuple[list[str], list[list[Any]]]:
    result = asked.run(cypher, parameters)
    return list(result.keys()), result.values()


def _with_digest(values: pa.Table) -> pa.Table:
    digests = [sha256(text.encode()).hexdigest() for text in values["text"].to_pylist()]
    return values.append_column("digest", pa.array(digests, pa.string()))


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
