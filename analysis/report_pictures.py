"""The photographs and titles that the report shows, each once however often it is shown."""

import base64
import io
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from analysis.report_tables import Table
from graphstore import Store
from k3m.photographs import open_one

PICTURES_SHOWN = {"proposals": 2000, "conflicts": 300, "cold": 300, "nearest": 900}
"""Photographs, about 1.5 KiB each."""
THUMBNAIL = (48, 64)
"""Largest width and height in pixels."""


def items_of(tables: Mapping[str, Table], reasons: pd.DataFrame | None) -> dict[str, list[str]]:
    """Which items the tables show, each once, by what for."""
    found = {name: _distinct(row[1] for row in tables[name]["rows"]) for name in PICTURES_SHOWN if name in tables}
    near = [] if reasons is None else [near["item"] for close in reasons["nearest"] for near in close]
    others = _distinct(row[1] for row in tables["changes"]["rows"]) if "changes" in tables else []
    return found | {"nearest": _distinct(near), "changes": others}


def titles_and_pictures(store: Store, items: Mapping[str, list[str]]) -> tuple[dict[str, list[Any]], list[str], int]:
    """Item -> [title, place of its picture]; the pictures; how many were left out for their number."""
    there = set(store.items()["id"].to_pylist())  # the last report may name items that are gone
    every = [item for item in _distinct(item for group in items.values() for item in group) if item in there]
    features = store.item_features(store.item_ords(every), ("title", "image"))
    keys = dict(zip(every, features["image"], strict=True))
    chosen = {
        keys[item]: None
        for group, number in PICTURES_SHOWN.items()
        for item in items.get(group, [])[:number]
        if keys.get(item) is not None
    }
    made = {key: picture for key in chosen if (picture := thumbnail(store.images.get(key))) is not None}
    place = {key: place for place, key in enumerate(made)}
    titles = zip(every, features["title"], strict=True)
    found = {item: [title or "", place.get(keys[item])] for item, title in titles}
    left_out = len({key for key in keys.values() if key is not None}) - len(chosen)
    return found, [picture.partition(",")[2] for picture in made.values()], left_out


def thumbnail(data: bytes) -> str | None:
    """A data URI of the picture, made small; None of one that cannot be read."""
    image = open_one(data, (2 * THUMBNAIL[0], 2 * THUMBNAIL[1]))
    if image is None:
        return None
    image.thumbnail(THUMBNAIL)
    small = io.BytesIO()
    image.save(small, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(small.getvalue()).decode('ascii')}"


def _distinct(items: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(items))
