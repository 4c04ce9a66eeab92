"""Graph stores for product catalogues: one interface over Neo4j, Ladybug, snapshots, memory and adopted graphs."""

import os
from pathlib import Path

from graphstore.arrays import ArrayStore, from_tables
from graphstore.errors import (
    BrokenStore,
    ConnectionFailed,
    IngestUnderWay,
    MappingError,
    NoEmbedding,
    QueryError,
    QueryParameterError,
    ReadOnlyStore,
    SchemaError,
    StaleSnapshot,
    StoreError,
    StoreLocked,
    StoreNotFound,
    TransactionTooLarge,
    UnknownItems,
    UnknownProposals,
    UnsupportedQuery,
)
from graphstore.images import ImagePack, image_key
from graphstore.predictions import AppliedReport, PredictionReport
from graphstore.snapshot import open_snapshot, write_snapshot
from graphstore.store import Counts, Edges, IngestReport, Mode, Neighbours, Store

__all__ = [
    "AppliedReport",
    "ArrayStore",
    "BrokenStore",
    "ConnectionFailed",
    "Counts",
    "Edges",
    "ImagePack",
    "IngestReport",
    "IngestUnderWay",
    "MappingError",
    "Neighbours",
    "NoEmbedding",
    "PredictionReport",
    "QueryError",
    "QueryParameterError",
    "ReadOnlyStore",
    "SchemaError",
    "StaleSnapshot",
    "Store",
    "StoreError",
    "StoreLocked",
    "StoreNotFound",
    "TransactionTooLarge",
    "UnknownItems",
    "UnknownProposals",
    "UnsupportedQuery",
    "data_dir",
    "from_tables",
    "image_key",
    "open",
    "open_existing",
    "write_snapshot",
]


def open(location: str | Path, mode: Mode = "r", *, beside: Store | None = None) -> Store:
    """The store at a location: neo4j://user@host:port/database, a snapshot's folder, a Ladybug file, or a mapping
    (MAP.toml) of another graph.

    Args:
        mode: "r" to read; "w" to ingest or write by query, which makes a Ladybug file that is not there.
        beside: a store that a snapshot must not be older than.

    Raises:
        StoreNotFound, BrokenStore, StoreLocked, ConnectionFailed, StaleSnapshot: as their names say.
        ReadOnlyStore: a snapshot or a mapping opened to write.
        MappingError, SchemaError: a mapping that is none, or whose rows are no catalogue.
    """
    if is_server(location):
        from graphstore.neo4j_store import Neo4jStore

        return _with_images(Neo4jStore(str(location), mode))
    path = Path(location)
    if path.is_dir():
        if mode == "w":
            raise ReadOnlyStore(
                f"{path} is a folder: a store to write is a file or a server's URL (snapshots are read-only)"
            )
        return open_snapshot(path, beside)
    if path.suffix == ".toml":
        from graphstore.adopted import adopt

        if mode == "w":
            raise ReadOnlyStore(f"{path} is a mapping: the graph behind it is read, and never written to")
        return adopt(path)
    from graphstore.ladybug_store import LadybugStore

    return _with_images(LadybugStore(path, mode))


def open_existing(location: str | Path) -> Store:
    """As open(location, "w"), but for a store that is there: what comes back belongs to a catalogue.

    Raises:
        StoreNotFound: where a Ladybug file would be made; and as `open`.
    """
    if not is_server(location) and not Path(location).exists():
        open(location)  # which says so
    return open(location, "w")


def is_server(location: str | Path) -> bool:
    """Whether a location is a server's URL."""
    return "://" in str(location)


def data_dir(location: str | Path) -> Path:
    """Where what belongs to a store but not into it lies: the folder of a file or snapshot; ./k3m-data/HOST-DATABASE
    of a server."""
    if is_server(location):
        from graphstore.neo4j_store import data_folder

        return data_folder(str(location))
    return Path(location).parent


def _with_images(store: Store) -> Store:
    """K3M_IMAGES names another place for the image pack."""
    if os.environ.get("K3M_IMAGES"):
        store.images = ImagePack(Path(os.environ["K3M_IMAGES"]), store.read_only)
    return store
