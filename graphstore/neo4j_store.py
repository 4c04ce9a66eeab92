"""The store in a Neo4j server: the system of record, and the reference for every answer.

The password comes from the environment (K3M_NEO4J_PASSWORD) and appears nowhere else. A driver does not survive a
fork: a handle that finds itself in another process opens its own.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import neo4j
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from neo4j import exceptions

from graphstore import tables
from graphstore.database import DatabaseStore
from graphstore.errors import ConnectionFailed, QueryError, ReadOnlyStore, StoreError
from graphstore.images import ImagePack
from graphstore.store import Mode
from graphstore.tables import Ints

PASSWORD = "K3M_NEO4J_PASSWORD"
SCHEMA = (
    "CREATE CONSTRAINT k3m_item IF NOT EXISTS FOR (n:Item) REQUIRE n.id IS UNIQUE",
    "CREATE CONSTRAINT k3m_value IF NOT EXISTS FOR (n:Value) REQUIRE n.text IS UNIQUE",
    "CREATE CONSTRAINT k3m_property IF NOT EXISTS FOR (n:Property) REQUIRE n.name IS UNIQUE",
    "CREATE CONSTRAINT k3m_metadata IF NOT EXISTS FOR (n:Metadata) REQUIRE n.key IS UNIQUE",
    # No constraint on ordinals: while they are renumbered, two nodes share one for a moment.
    "CREATE INDEX k3m_item_ord IF NOT EXISTS FOR (n:Item) ON (n.ord)",
    "CREATE INDEX k3m_value_ord IF NOT EXISTS FOR (n:Value) ON (n.ord)",
    "CALL db.awaitIndexes(60)",
)
# Columns as lists in one record: many times faster over Bolt than a record an edge. A list drops nulls: null is NULL.
NULL = "\x00"
NEIGHBOURS = (
    "MATCH (i:Item) WHERE i.ord IN $ords MATCH (i)-[h:HAS]->(v:Value) WHERE h.split IS NULL "
    "RETURN collect(i.ord) AS item, collect(i.first) AS first, collect(h.property) AS property, collect(v.ord) AS value"
)
TRIPLES = (
    "MATCH (i:Item) WHERE i.ord >= $start AND i.ord < $end MATCH (i)-[h:HAS]->(v:Value) "
    "WHERE h.split IN $splits OR ($training AND h.split IS NULL) "
    "RETURN collect(i.id) AS item, collect(h.property) AS property, collect(v.text) AS value, "
    "collect(coalesce(h.source, $null)) AS source, collect(coalesce(h.split, $null)) AS split"
)
ADD_TRIPLES = (
    "UNWIND $rows AS row MATCH (i:Item {id: row[0]}) UNWIND row[1] AS fact MATCH (v:Value {text: fact[1]}) "
    "CREATE (i)-[:HAS {property: fact[0], source: fact[2], split: fact[3]}]->(v)"
)
UPDATE_TRIPLES = (
    "UNWIND $rows AS row MATCH (:Item {id: row.item})-[h:HAS {property: row.property}]->(:Value {text: row.value}) "
    "SET h.source = row.source, h.split = row.split"
)
_BATCH = 10_000


class Neo4jStore(DatabaseStore):
    """A store behind a URL, neo4j://user@host:port/database or another scheme of the driver's.

    Raises:
        StoreError: for a URL with a password in it.
        ConnectionFailed: no server there, or it refuses the user; names the URL, never the password.
    """

    def __init__(self, url: str, mode: Mode) -> None:
        super().__init__(url, mode)
        parts = urlsplit(url)
        if parts.password is not None:
            raise StoreError(f"a URL holds no password: put it into the environment variable {PASSWORD}")
        self._address = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        self._user, self._database = parts.username or "neo4j", parts.path.strip("/") or "neo4j"
        self.images = ImagePack(image_folder(url), self.read_only)
        self._driver: neo4j.Driver | None = None
        self._process = 0
        self._rows("RETURN 1 AS one")  # a server that is not there says so now
        if not self.read_only:
            for statement in SCHEMA:
                self._rows(statement)

    def close(self) -> None:
        if self._driver is not None and self._process == os.getpid():
            self._driver.close()
        self._driver = None

    def _session(self) -> neo4j.Session:
        if self._driver is None or self._process != os.getpid():
            password = os.environ.get(PASSWORD)
            auth = (self._user, password) if password else None
            self._driver = neo4j.GraphDatabase.driver(self._address, auth=auth, notifications_min_severity="OFF")
            self._process = os.getpid()
        access = neo4j.READ_ACCESS if self.read_only else neo4j.WRITE_ACCESS
        return self._driver.session(database=self._database, default_access_mode=access)

    def _query(self, cypher: str, parameters: Mapping[str, Any]) -> pd.DataFrame:
        self._cached_names = self._cached_items = None  # the query may write
        columns, rows = self._run(cypher, parameters)
        return pd.DataFrame(rows, columns=columns)

    def _rows(self, cypher: str, **parameters: Any) -> pa.Table:
        columns, rows = self._run(cypher, parameters)
        by_column = zip(*rows, strict=True) if rows else [()] * len(columns)
        return pa.table({name: pa.array(column) for name, column in zip(columns, by_column, strict=True)})

    def _run(self, cypher: str, parameters: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
        try:
            with self._session() as session:
                result = session.run(cypher, dict(parameters))  # type: ignore[arg-type]  # our templates, and the user's query
                return list(result.keys()), result.values()
        except (exceptions.ServiceUnavailable, exceptions.AuthError, exceptions.ConfigurationError) as error:
            raise ConnectionFailed(f"{self.location}: {error} (user {self._user}; password from {PASSWORD})") from error
        except exceptions.ClientError as error:
            if error.code == "Neo.ClientError.Statement.AccessMode":
                raise ReadOnlyStore(
                    f"{self.location} was opened to read: writing needs graphstore.open(location, 'w')"
                ) from error
            raise QueryError(f"{self.location}: {error.message}") from error

    # A column a list

    def _triples(self, splits: Any) -> pa.Table:
        named = [name for name in splits if name is not None]
        parts = [
            self._lists(
                TRIPLES,
                tables.TRIPLE_COLUMNS,
                start=start,
                end=start + _BATCH,
                splits=named,
                training=None in splits,
                null=NULL,
            )
            for start in range(0, max(self._count_items(), 1), _BATCH)
        ]
        found = pa.concat_tables(
            [pa.table({name: pa.array(part[name], pa.string()) for name in part}) for part in parts]
        )
        for place, name in ((3, "source"), (4, "split")):
            column = found[name]
            found = found.set_column(place, name, pc.if_else(pc.equal(column, NULL), None, column))
        return found

    def _count_items(self) -> int:
        return self._rows("MATCH (i:Item) RETURN count(*) AS n")["n"][0].as_py()

    def _edges(self, ords: Ints) -> dict[str, Any]:
        return self._lists(NEIGHBOURS, ("item", "first", "property", "value"), ords=ords.tolist())

    def _lists(self, cypher: str, names: tuple[str, ...], **parameters: Any) -> dict[str, list[Any]]:
        _, rows = self._run(cypher, parameters)
        return dict(zip(names, rows[0], strict=True))

    # What is written

    def _declare(self, fields: dict[str, str], known: dict[str, str]) -> None:
        """Nodes take any property."""

    def _add_nodes(self, label: str, key: str, rows: pa.Table) -> None:
        self._unwind(f"UNWIND $rows AS row CREATE (n:{label}) SET n = row", rows)

    def _update_nodes(self, label: str, key: str, rows: pa.Table) -> None:
        self._unwind(f"UNWIND $rows AS row MATCH (n:{label} {{{key}: row.{key}}}) SET n += row", rows)

    def _add_triples(self, rows: pa.Table) -> None:
        """Rows as lists, grouped by item: one look-up an item, and less to send than maps."""
        for start in range(0, len(rows), _BATCH):
            part = rows.slice(start, _BATCH).to_pydict()
            grouped: dict[str, list[tuple[Any, ...]]] = {}
            facts = zip(part["property"], part["value"], part["source"], part["split"], strict=True)
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
        with self._session() as session:
            session.execute_write(lambda transaction: transaction.run(cypher, rows=rows).consume())  # type: ignore[arg-type]


def image_folder(url: str) -> Path:
    return data_folder(url) / "images"


def data_folder(url: str) -> Path:
    """./k3m-data/HOST-DATABASE."""
    parts = urlsplit(url)
    return Path("k3m-data") / f"{parts.hostname}-{parts.path.strip('/') or 'neo4j'}"
