"""How fast a catalogue goes in: `python -m benchmarks.bulk_load [--items N ...] [--stores NAME ...] [--results FILE]`.

A catalogue of N items with twelve triples each, as Parquet files; then, in one run and from the same files:
ingest into Ladybug beside a bare COPY of the same tables, ingest into Neo4j beside bare UNWIND batches (rows as lists
grouped by item, one session), and the offline import, files written by us included, beside a bare `database import
full` of ready files. The bare loads write what ours leave (nodes with ordinals, relationships), without reading,
checking, numbering or recording anything. Neo4j is a throw-away server of tools/neo4j/server.py.

Ratios within a run are what it is for: seconds depend on what else the machine does.
"""

import argparse
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import ladybug
import neo4j
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import graphstore
from graphstore import tables
from graphstore.changes import Numbered
from graphstore.neo4j_import import write_import
from graphstore.neo4j_store import SCHEMA, with_digest
from tools.neo4j import server

TRIPLES_PER_ITEM = 12
BATCH = 10_000


def catalogue(n_items: int, seed: int) -> tuple[pa.Table, pa.Table]:
    """Forty properties; a tenth as many values as items, a few of them on very many items."""
    random = np.random.default_rng(seed)
    ids = np.array([f"item-{k:08}" for k in range(n_items)])
    places = np.arange(n_items * TRIPLES_PER_ITEM)
    properties = (places % TRIPLES_PER_ITEM) + TRIPLES_PER_ITEM * (np.repeat(np.arange(n_items), TRIPLES_PER_ITEM) % 3)
    values = (random.random(len(places)) ** 3 * max(n_items // 10, 10)).astype(np.int64)
    items = pa.table({"id": ids, "title": [f"Thing number {k}, in a box" for k in range(n_items)]})
    triples = pa.table(
        {
            "item": np.repeat(ids, TRIPLES_PER_ITEM),
            "property": pa.array(np.char.add("property ", properties.astype(str))),
            "value": pa.array(np.char.add("value ", values.astype(str))),
            "source": pa.array(["generated"] * len(places)),
        }
    )
    return items, triples


class Files:
    """The catalogue as Parquet, and the rows of the graph that it becomes."""

    def __init__(self, folder: Path, n_items: int, seed: int) -> None:
        folder.mkdir()
        self.items, self.triples = folder / "items.parquet", folder / "triples.parquet"
        for table, path in zip(catalogue(n_items, seed), (self.items, self.triples), strict=True):
            pq.write_table(table, path)
        items, triples = self.read()
        graph = Numbered.of(items["id"].combine_chunks(), tables.with_columns(triples, tables.TRIPLE_COLUMNS), {})
        self.nodes = {"Item": items.join(graph.items, "id"), "Value": graph.values, "Property": graph.properties}
        self.has = tables.with_columns(triples, tables.TRIPLE_COLUMNS)

    def read(self) -> tuple[pa.Table, pa.Table]:
        return pq.read_table(self.items), pq.read_table(self.triples)


def ours(location: str, files: Files) -> None:
    with graphstore.open(location, "w") as store:
        store.ingest(*files.read())


def bare_copy(path: Path, files: Files) -> None:
    database = ladybug.Database(str(path))
    connection = ladybug.Connection(database)
    kinds = {pa.string(): "STRING", pa.int64(): "INT64"}
    for label, rows in files.nodes.items():
        columns = ", ".join(f"`{field.name}` {kinds[field.type]}" for field in rows.schema)
        connection.execute(f"CREATE NODE TABLE {label}({columns}, PRIMARY KEY (`{rows.column_names[0]}`))")
        connection.execute(f"COPY {label} FROM $rows", {"rows": rows.combine_chunks()})
    held = ", ".join(f"{name} STRING" for name in tables.HAS_COLUMNS)
    connection.execute(f"CREATE REL TABLE HAS(FROM Item TO Value, {held})")
    rows = files.has.select(["item", "value", *tables.HAS_COLUMNS]).combine_chunks()
    connection.execute("COPY HAS FROM $rows", {"rows": rows})
    connection.close()
    database.close()


def bare_unwind(session: neo4j.Session, files: Files) -> None:
    for statement in SCHEMA:
        session.run(statement).consume()
    for label, rows in files.nodes.items():
        whole = with_digest(rows) if label == "Value" else rows
        for start in range(0, len(whole), BATCH):
            given = whole.slice(start, BATCH).to_pylist()
            session.run(f"UNWIND $rows AS row CREATE (n:{label}) SET n = row", rows=given).consume()
    ords = dict(zip(files.nodes["Value"]["text"].to_pylist(), files.nodes["Value"]["ord"].to_pylist(), strict=True))
    cypher = (
        "UNWIND $rows AS row MATCH (i:Item {id: row[0]}) UNWIND row[1] AS f MATCH (v:Value {ord: f[0]}) "
        "CREATE (i)-[:HAS {property: f[1], source: f[2]}]->(v)"
    )
    for start in range(0, len(files.has), BATCH):
        part = files.has.slice(start, BATCH).to_pydict()
        grouped: dict[str, list[list[object]]] = {}
        for item, prop, value, source in zip(*(part[name] for name in (*tables.KEY, "source")), strict=True):
            grouped.setdefault(item, []).append([ords[value], prop, source])
        session.run(cypher, rows=[[item, facts] for item, facts in grouped.items()]).consume()


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def on_server(home: Path, small: Files, load: Callable[[server.Server, Files], None], whole: Files) -> float:
    """Seconds of a load into a server of its own, which has run a small ingest and a small bare load before (Java is
    slow until it has compiled)."""
    running = server.start(home)
    os.environ[server.PASSWORD] = running.password
    try:
        for warm in (ours_online, bare_online):
            warm(running, small)
            empty(running)
        return seconds(lambda: load(running, whole))
    finally:
        server.stop(running, home)


def empty(running: server.Server) -> None:
    with server.session(running.url, running.password) as database:
        database.run("MATCH (n) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 10000 ROWS").consume()


def ours_online(running: server.Server, files: Files) -> None:
    ours(running.url, files)


def bare_online(running: server.Server, files: Files) -> None:
    files.read()
    with server.session(running.url, running.password) as session:
        bare_unwind(session, files)


def bare_embedded(path: Path, files: Files) -> None:
    files.read()
    bare_copy(path, files)


def offline(home: Path, written: Path, files: Files) -> tuple[float, float]:
    """Seconds of writing the files and of importing them."""
    running = server.start(home)
    os.environ[server.PASSWORD] = running.password
    try:
        with graphstore.open(running.url) as store:
            writing = seconds(lambda: write_import(store, written, *files.read()))
    finally:
        server.stop(running, home)
    return writing, seconds(lambda: server.load_files(running.way, home, written))


def measured(n_items: int, seed: int, folder: Path, stores: list[str]) -> list[tuple[str, float, float]]:
    """Name, our seconds, bare seconds."""
    files, small = Files(folder / "whole", n_items, seed), Files(folder / "small", 2000, seed)
    rows = []
    if "ladybug" in stores:
        copied = seconds(lambda: bare_embedded(folder / "bare.lbdb", files))
        embedded = seconds(lambda: ours(str(folder / "ours.lbdb"), files))
        rows.append(("Ladybug, from Parquet", embedded, copied))
    if "neo4j" in stores:
        unwound = on_server(folder / "bare", small, bare_online, files)
        online = on_server(folder / "ours", small, ours_online, files)
        rows.append(("Neo4j online, from Parquet", online, unwound))
        writing, importing = offline(folder / "offline", folder / "files", files)
        rows.append(("Neo4j offline, from Parquet (files written, then imported)", writing + importing, importing))
    return rows


def table(rows: list[tuple[str, float, float]], n_items: int) -> list[str]:
    triples = n_items * TRIPLES_PER_ITEM
    return [
        f"| {n_items:,} | {name} | {mine:.1f} s, {triples / mine:,.0f} | {bare:.1f} s, {triples / bare:,.0f} "
        f"| {bare / mine:.2f} |"
        for name, mine, bare in rows
    ]


def report(lines: list[str], command: str) -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    machine = f"{os.cpu_count()} cores ({platform.machine()}), load {os.getloadavg()[0]:.1f} at the end"
    return "\n".join(
        [
            "# Bulk load",
            "",
            f"`{command}` at commit {commit}; {machine}; Python {platform.python_version()}, ladybug "
            f"{ladybug.__version__}, neo4j driver {neo4j.__version__}, server 5.26.",
            "",
            f"{TRIPLES_PER_ITEM} triples an item. Seconds and triples per second of the whole load; the ratio is our "
            "speed by the bare one's.",
            "",
            "| items | load | ours | bare | ratio |",
            "|---|---|---|---|---|",
            *lines,
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--stores", nargs="+", default=["ladybug", "neo4j"], choices=["ladybug", "neo4j"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path, help="Markdown file to write")
    asked = parser.parse_args()
    lines: list[str] = []
    for n_items in asked.items:
        with tempfile.TemporaryDirectory(prefix="k3m-bulk-") as folder:
            lines += table(measured(n_items, asked.seed, Path(folder), asked.stores), n_items)
        print("\n".join(lines), file=sys.stderr)
    text = report(lines, f"python -m benchmarks.bulk_load {shlex.join(sys.argv[1:])}")
    print(text)
    if asked.results:
        asked.results.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
