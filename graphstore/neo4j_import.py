"""The first load of an empty Neo4j, offline: the files that `neo4j-admin database import full` reads.

Several times faster than an ingest into the running server, and the same graph: rows, ordinals, metadata. Constraints
and indexes come after it, by schema.cypher or by the first handle that is opened to write. Nulls are empty cells,
strings stand in quotes, so that an empty one stays one.
"""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from graphstore import changes, tables
from graphstore.changes import Numbered
from graphstore.database import BASE_FIELDS
from graphstore.errors import StoreError
from graphstore.neo4j_store import CONSTRAINTS, Neo4jStore, with_digest
from graphstore.store import IngestReport, Store
from graphstore.tables import Table

ARGUMENTS = "import.args"
SCHEMA = "schema.cypher"
COMMAND = f"neo4j-admin database import full @{ARGUMENTS}"
"""To run in the folder of the files, on the server's machine, while the server is stopped."""
TYPES = {"STRING": "string", "INT64": "long", "DOUBLE": "double", "BOOL": "boolean"}
_READ_BUFFER = 4 << 20
"""The importer's own; a cell must fit into it."""


def write_import(
    store: Store, directory: str | Path, items: Table, triples: Table, properties: Table | None = None
) -> IngestReport:
    """Write the files of a first ingest of these tables (as `Store.ingest` takes them) into an empty folder.

    Raises:
        StoreError: the store is no Neo4j database or not empty, or the folder is not.
        SchemaError: as `Store.ingest`.
    """
    folder = Path(directory)
    database = _require_empty(store, folder)
    item_rows = changes.checked_types(tables.item_table(items), BASE_FIELDS)
    triple_rows = tables.with_columns(tables.triple_table(triples), tables.TRIPLE_COLUMNS)
    tables.require_known_items(triple_rows, item_rows["id"])
    groups = tables.property_table(properties)
    graph = Numbered.of(
        item_rows["id"].combine_chunks(),
        triple_rows,
        dict(zip(groups["name"].to_pylist(), groups["group"].to_pylist(), strict=True)),
    )
    folder.mkdir(parents=True, exist_ok=True)
    fields = BASE_FIELDS | changes.kinds(item_rows)
    files = {
        "--nodes=Item": _nodes("Item", item_rows.join(graph.items, "id").sort_by("ord")),
        "--nodes=Value": _nodes("Value", with_digest(graph.values)),
        "--nodes=Property": _nodes("Property", graph.properties),
        "--nodes=Metadata": _nodes("Metadata", _metadata(fields)),
        "--relationships=HAS": _relationships(triple_rows, graph),
    }
    arguments = [database, "--overwrite-destination=true", "--id-type=integer", "--bad-tolerance=0"]
    for option, columns in files.items():
        name = option.partition("=")[2]
        _write(folder, name, columns)
        arguments.append(f"{option}={name}-header.csv,{name}.csv")
    arguments += _for_cells({name.partition("=")[2]: list(columns.values()) for name, columns in files.items()})
    (folder / ARGUMENTS).write_text("\n".join(arguments) + "\n", encoding="utf-8")
    (folder / SCHEMA).write_text("".join(f"{statement};\n" for statement in CONSTRAINTS), encoding="utf-8")
    return IngestReport(len(item_rows), 0, 0, len(triple_rows), 0, 0, data_version=1)


def _require_empty(store: Store, folder: Path) -> str:
    """The database's name."""
    if not isinstance(store, Neo4jStore):
        raise StoreError(f"{store.location} is no Neo4j database: ingest into it without import files")
    nodes = int(store.query("MATCH (n) RETURN count(*) AS n")["n"][0])
    if nodes:
        raise StoreError(f"{store.location} holds {nodes} nodes, and an offline import would overwrite them: ingest")
    if folder.exists() and any(folder.iterdir()):
        raise StoreError(f"{folder} is not empty: name another folder for the import files")
    return store.database


def _metadata(fields: dict[str, str]) -> pa.Table:
    values = {"item_fields": json.dumps(fields), "data_version": "1", "ingest": "finished"}
    return pa.table({"key": list(values), "value": list(values.values())})


def _nodes(label: str, rows: pa.Table) -> dict[str, pa.ChunkedArray]:
    """Columns by their heading; a node's id, for the import alone, is its place."""
    headed = {f"{name}:{TYPES[kind]}": rows[name] for name, kind in changes.kinds(rows).items()}
    return {f":ID({label})": pa.chunked_array([np.arange(len(rows))]), **headed}


def _relationships(triples: pa.Table, graph: Numbered) -> dict[str, pa.ChunkedArray]:
    ends = {
        ":START_ID(Item)": tables.positions(triples["item"], graph.items["id"].combine_chunks()),
        ":END_ID(Value)": tables.positions(triples["value"], graph.values["text"].combine_chunks()),
    }
    held = {f"{name}:string": triples[name] for name in tables.HAS_COLUMNS}
    return {name: pa.chunked_array([places]) for name, places in ends.items()} | held


def _write(folder: Path, name: str, columns: dict[str, pa.ChunkedArray]) -> None:
    (folder / f"{name}-header.csv").write_text(",".join(columns) + "\n", encoding="utf-8")
    rows = pa.table([_for_java(column) for column in columns.values()], names=list(columns))
    options = csv.WriteOptions(include_header=False, quoting_style="needed")
    csv.write_csv(rows, folder / f"{name}.csv", options)


def _for_java(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Arrow writes inf where Java reads Infinity."""
    return pc.replace_substring(column.cast(pa.string()), "inf", "Infinity") if column.type == pa.float64() else column


def _for_cells(files: dict[str, list[pa.ChunkedArray]]) -> list[str]:
    """Options for files with line breaks inside of cells, which the importer cannot cut for its threads, and for cells
    that its buffer does not hold."""
    texts = {name: [column for column in columns if column.type == pa.string()] for name, columns in files.items()}
    broken = [
        f"{name}.csv"
        for name, columns in texts.items()
        if any(pc.any(pc.match_substring_regex(column, "[\r\n]")).as_py() for column in columns)
    ]
    longest = max(pc.max(pc.binary_length(column)).as_py() or 0 for columns in texts.values() for column in columns)
    options = [f"--multiline-fields={','.join(broken)}", "--multiline-fields-format=v2"] if broken else []
    return [*options, f"--read-buffer-size={max(_READ_BUFFER, 2 * longest + 1024)}"]
