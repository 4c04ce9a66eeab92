"""Tiny generated catalogues that the tests share."""

import io
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from graphstore import image_key

PROPERTIES = {
    "colour": ["red", "blue", "green", "grey"],
    "brand": ["Aldo", "Birk", "Córdoba", "大华"],
    "size": ["S", "M", "L", "XL", "one size"],
    "fabric": ["wool", "cotton", "linen"],
    "tag": ["new", "sale", "blue", 'it\'s "quoted"', "`tick`\nline"],
}
KEPT_BACK_ONLY = "seen by nobody in training"


@dataclass(frozen=True)
class Tables:
    """items (id, title, category, image, price), triples (item, property, value, source, split), images by key, and
    properties (name, group)."""

    items: pd.DataFrame
    triples: pd.DataFrame
    images: dict[str, bytes]
    properties: pd.DataFrame | None = None


def tiny_catalogue(n_items: int = 40, seed: int = 0) -> Tables:
    """Items with missing titles and photographs, one without triples, several values a cell ("tag"), kept-back
    triples of the splits valid, test and cold, and a value that only a kept-back triple has."""
    random = np.random.default_rng(seed)
    ids = [f"item-{number}" for number in range(n_items)]
    pictures = [_picture(random) for _ in range(n_items // 4)]
    images = {image_key(picture): picture for picture in pictures}
    triples = pd.concat([_triples_of(item, random) for item in ids[1:]], ignore_index=True)
    triples.loc[len(triples)] = [ids[1], "fabric", KEPT_BACK_ONLY, "generated", "test"]
    colours = triples[triples["property"] == "colour"].drop_duplicates("item").set_index("item")["value"]
    items = pd.DataFrame(
        {
            "id": ids,
            "title": [
                None if n % 9 == 4 else f"{colours.get(item, '')} thing {n % 5} 围巾".strip()
                for n, item in enumerate(ids)
            ],
            "category": [None if n % 11 == 3 else ("scarf", "hat")[n % 2] for n in range(n_items)],
            "image": [None if n % 5 == 2 else list(images)[n % len(images)] for n in range(n_items)],
            "price": [float(n) for n in range(n_items)],
        }
    ).astype({"title": object, "category": object, "image": object})
    triples = triples.drop_duplicates(["item", "property", "value"], ignore_index=True)
    properties = pd.DataFrame({"name": ["colour", "brand", "size"], "group": ["picture", "title", "graph"]})
    return Tables(items, triples, images, properties)


def without_kept_back(tables: Tables) -> Tables:
    """The catalogue as if the kept-back triples had never been."""
    training = tables.triples[tables.triples["split"].isna()].reset_index(drop=True)
    return Tables(tables.items, training, tables.images, tables.properties)


def _triples_of(item: str, random: np.random.Generator) -> pd.DataFrame:
    rows = []
    for name, values in PROPERTIES.items():
        for value in random.choice(values, size=2 if name == "tag" else 1, replace=False):
            split = random.choice(["valid", "test", "cold", ""], p=[0.08, 0.08, 0.04, 0.8]) or None
            rows.append((item, name, str(value), "generated", split))
    return pd.DataFrame(rows, columns=["item", "property", "value", "source", "split"], dtype=object)


def _picture(random: np.random.Generator) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (20, 16, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
