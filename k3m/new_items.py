"""A table of items that no store has seen, as a store in memory: what `Run.complete(frame)` reads."""

from pathlib import Path
from typing import Any

import pandas as pd

import graphstore
from graphstore import Store, image_key

FIELDS = ("id", "title", "category", "image")


def store_of(frame: pd.DataFrame, fields: tuple[str, ...] = ()) -> Store:
    """One row an item. Columns: id; title, image (bytes, or a file's path), category and `fields` where there are
    any; every other column is a property, whose cells hold a value, a list of values, or nothing.

    Raises:
        ValueError: for a table without ids.
        FileNotFoundError: for an image that is not there.
    """
    if "id" not in frame or frame["id"].isna().any():
        raise ValueError(
            f"a table of new items needs a column id without gaps (got columns {', '.join(map(str, frame.columns))})"
        )
    frame = frame.assign(id=frame["id"].astype(str))
    own = [name for name in dict.fromkeys((*FIELDS, *fields)) if name in frame]
    items = frame[own]
    images: dict[str, bytes] = {}
    if "image" in own:
        pictures = [_bytes(photo) if _given(photo) else None for photo in frame["image"]]
        images = {image_key(picture): picture for picture in pictures if picture is not None}
        keys = [None if picture is None else image_key(picture) for picture in pictures]
        items = items.assign(image=pd.Series(keys, index=items.index, dtype=object))
    properties = [name for name in frame if name not in own]
    rows = [
        (item, name, str(value))
        for name in properties
        for item, cell in zip(frame["id"], frame[name], strict=True)
        for value in _values(cell)
    ]
    triples = pd.DataFrame(rows, columns=["item", "property", "value"], dtype=object)
    return graphstore.from_tables(items, triples, images=images)


def _given(cell: Any) -> bool:
    return cell is not None and not (isinstance(cell, float) and cell != cell) and cell is not pd.NA


def _values(cell: Any) -> list[Any]:
    many = list(cell) if isinstance(cell, list | tuple | set) else [cell]
    return [value for value in many if _given(value) and str(value)]


def _bytes(photo: bytes | str | Path) -> bytes:
    return photo if isinstance(photo, bytes) else Path(photo).read_bytes()
