"""Snapshots: a store's graph, texts and images as memory-mapped files, for machines without a database.

Reading one needs numpy and pyarrow only. A snapshot knows its data version and the store it was made from.
"""

import json
import os
import shutil
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from graphstore import tables
from graphstore.arrays import Arrays, ArrayStore
from graphstore.errors import StaleSnapshot, StoreError, StoreNotFound
from graphstore.images import ImagePack
from graphstore.store import Store
from graphstore.tables import Ints, Table

META = "snapshot.json"
_TABLES = ("items", "triples", "properties", "values", "rejections")
_ARRAYS = ("digest", "indptr", "property", "value", "value_indptr", "value_edge", "value_item", "place")


def write_snapshot(
    store: Store,
    directory: str | Path,
    *,
    items: int | None = None,
    all_for_training: bool = False,
    triples: Table | None = None,
) -> None:
    """Write a snapshot of `store`; one that was there is replaced once the new one is whole.

    Args:
        items: only so many, the first by the SHA-256 of their ids, with their triples: to try something on less.
        all_for_training: kept-back triples become training triples, to train on everything once nothing is to be
            evaluated any more.
        triples: in the place of the store's: with other splits, say, or other values.

    Raises:
        SchemaError: triples that are none of the store's items', or otherwise wrong.
        StoreError: where the directory holds something else, or an ingest changes the store meanwhile.
    """
    directory = Path(directory)
    if directory.exists() and not (directory / META).exists() and any(directory.iterdir()):
        raise StoreError(f"{directory} is not empty and no snapshot: name another directory")
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _write(store, partial, items, all_for_training, triples)
    shutil.rmtree(directory, ignore_errors=True)
    os.replace(partial, directory)


def _write(
    store: Store, directory: Path, number: int | None, all_for_training: bool, given: Table | None = None
) -> None:
    version = store.data_version
    items, groups = store.items(store.item_fields()), store.property_groups()
    triples, rejections = store.triples((None, *store.counts().splits)), store.rejections()
    if store.data_version != version:  # nobody locks a server
        raise StoreError(f"{store.location} was changed by an ingest while it was read: write the snapshot again")
    if given is not None:
        triples = tables.with_columns(tables.triple_table(given), tables.TRIPLE_COLUMNS)
        tables.require_known_items(triples, items["id"])
    if number is not None:
        items = items.filter(pc.is_in(items["id"], _first_by_hash(items["id"], number)))
        ids = items["id"].combine_chunks()
        triples, rejections = (rows.filter(pc.is_in(rows["item"], ids)) for rows in (triples, rejections))
    if all_for_training:
        triples = triples.set_column(triples.column_names.index("split"), "split", pa.nulls(len(triples), pa.string()))
    properties = pa.table({"name": pa.array(groups, pa.string()), "group": pa.array(groups.values(), pa.string())})
    pack = ImagePack(directory, read_only=False)
    keys = {key: pack.add(store.images.get(key)) for key in pc.unique(items["image"].drop_null()).to_pylist()}
    packed = pa.array([keys.get(key) for key in items["image"].to_pylist()], pa.string())
    items = items.set_column(items.column_names.index("image"), "image", packed)
    arrays = Arrays.of(items, triples, properties, version, rejections)
    write_arrays(arrays, directory, store.location, store.split_manifest)


def _first_by_hash(ids: pa.ChunkedArray, number: int) -> pa.Array:
    return pa.array(sorted(ids.to_pylist(), key=lambda id: sha256(id.encode()).digest())[:number], pa.string())


def write_arrays(
    arrays: Arrays, directory: Path, location: str, split_manifest: Mapping[str, Any] | None = None
) -> None:
    """The files of a snapshot of the store at `location`, less its images."""
    for name in _TABLES:
        table = pa.table({"text": arrays.values}) if name == "values" else getattr(arrays, name)
        with pa.OSFile(str(directory / f"{name}.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table.combine_chunks())
    for name in _ARRAYS:
        array = getattr(arrays, name)
        np.save(directory / f"{name}.npy", array if name == "digest" or name.endswith("indptr") else _narrow(array))
    meta = {"store": location, "data_version": arrays.data_version, "split_manifest": split_manifest}
    (directory / META).write_text(json.dumps(meta, indent=2), encoding="utf-8")


def _narrow(array: Ints) -> NDArray[np.signedinteger]:
    """As int32 where that holds it: half the pages to read."""
    return array.astype(np.int32 if array.max(initial=0) < 2**31 else np.int64)


def open_snapshot(directory: Path, beside: Store | None = None) -> ArrayStore:
    """The snapshot in `directory`.

    Raises:
        StaleSnapshot: where the store `beside` it has another data version, or an older release wrote it.
    """
    if not (directory / META).exists():
        raise StoreNotFound(f"{directory} is a folder, but holds no snapshot ({META} is missing)")
    meta = json.loads((directory / META).read_text(encoding="utf-8"))
    if beside is not None and beside.data_version != meta["data_version"]:
        raise StaleSnapshot(
            f"{directory} is a snapshot of data version {meta['data_version']}, "
            f"{beside.location} is at {beside.data_version}: renew it with k3m snapshot {beside.location} {directory}"
        )
    files = {name: f"{name}.npy" for name in _ARRAYS} | {name: f"{name}.arrow" for name in _TABLES}
    lacking = [name for name, file in files.items() if not (directory / file).exists()]
    if lacking:
        raise StaleSnapshot(
            f"{directory} is a snapshot of an older release (no {', '.join(lacking)}): "
            f"renew it with k3m snapshot {meta['store']} {directory}"
        )
    read = {name: pa.ipc.open_file(pa.memory_map(str(directory / f"{name}.arrow"))).read_all() for name in _TABLES}
    # As plain arrays over the mapped pages: numpy's memmap class costs time at every index.
    arrays = {name: np.load(directory / f"{name}.npy", mmap_mode="r").view(np.ndarray) for name in _ARRAYS}
    values = read.pop("values")["text"].combine_chunks()
    whole = Arrays(**read, values=values, **arrays, data_version=meta["data_version"])
    store = ArrayStore(whole, ImagePack(directory), str(directory))
    store.split_manifest = meta.get("split_manifest")
    return store
