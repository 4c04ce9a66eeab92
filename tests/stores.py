"""Every kind of store with one graph in it, for the tests that all kinds must pass."""

from pathlib import Path
from typing import Any

import pytest

import graphstore
from graphstore import Store
from tests.catalogues import Tables
from tests.foreign import facts_graph, facts_mapping

DATABASES = ["ladybug", pytest.param("neo4j", marks=pytest.mark.neo4j)]
KINDS = ["memory", "snapshot", *DATABASES]


def _adopted(way: str) -> list[Any]:
    marked = {"ladybug": [], "neo4j": [pytest.mark.neo4j]}
    return [pytest.param(f"{way} from {database}", marks=marks) for database, marks in marked.items()]


ADOPTED, STREAMED = _adopted("adopted"), _adopted("streamed")
"""The same content under other labels (tests/foreign.py), its triples in memory or asked for batch by batch."""


def empty_database(kind: str, request: pytest.FixtureRequest) -> str | Path:
    """The location of a database that holds nothing."""
    if kind == "neo4j":
        # Its image pack lies under the working directory.
        request.getfixturevalue("monkeypatch").chdir(request.getfixturevalue("tmp_path"))
        url: str = request.getfixturevalue("neo4j_url")
        return url
    folder: Path = request.getfixturevalue("tmp_path")
    return folder / "store.lbdb"


def ingested(location: str | Path, tables: Tables) -> Store:
    """A handle to read the database at `location`, with these tables in it."""
    with graphstore.open(location, "w") as store:
        for data in tables.images.values():
            store.images.add(data)
        store.ingest(tables.items, tables.triples, tables.properties)
    return graphstore.open(location)


def store_of(kind: str, tables: Tables, request: pytest.FixtureRequest) -> Store:
    """A handle to read a store of this kind; snapshots are made from Ladybug."""
    if kind == "memory":
        return graphstore.from_tables(tables.items, tables.triples, tables.properties, tables.images)
    if " from " in kind:
        way, _, database = kind.partition(" from ")
        location = facts_graph(str(empty_database(database, request)), tables)
        return graphstore.open(facts_mapping(location, tables, request.getfixturevalue("tmp_path"), way == "streamed"))
    if kind != "snapshot":
        return ingested(empty_database(kind, request), tables)
    folder: Path = request.getfixturevalue("tmp_path")
    with ingested(folder / "origin.lbdb", tables) as origin:
        graphstore.write_snapshot(origin, folder / "snapshot")
    return graphstore.open(folder / "snapshot")
