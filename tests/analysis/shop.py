"""A small shop with a hostile title, and a run that stands in for a trained one."""

import io
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

import graphstore
from graphstore import Store, image_key
from k3m.candidates import Candidates
from k3m.ranks import Predictor

HOSTILE = "</script><script>window.hacked = true</script><img src=x onerror='window.hacked = true'>"
COLOURS = {"blue": (20, 40, 200), "green": (20, 160, 40), "red": (200, 30, 30)}
GROUPS = {"colour": "picture", "shape": "title", "length": "graph"}


def picture(rgb: tuple[int, int, int]) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (30, 40), rgb).save(data, "PNG")
    return data.getvalue()


def shop(num_items: int = 60, kept_back: bool = True, valid: bool = False) -> Store:
    """The catalogue of `tables` in memory."""
    return graphstore.from_tables(*tables(num_items, kept_back, valid))


def tables(
    num_items: int = 60, kept_back: bool = True, valid: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, bytes]]:
    """Items, triples, properties and images of vases and lamps: the title tells the shape, the shape the length, only
    the picture the colour.

    Some facts are missing; some are kept back as split `test`, or left out altogether, and others as `valid`.
    """
    items, triples, images = [], [], {}
    for number in range(num_items):
        item, colour, shape = f"i{number:03}", list(COLOURS)[number % 3], ("round", "square")[number // 3 % 2]
        title = HOSTILE if number == 5 else f"a {shape} thing, number {number}"
        photograph = picture(COLOURS[colour])
        images[image_key(photograph)] = photograph
        key = image_key(photograph) if number % 8 != 7 else None
        items.append((item, title if number % 10 != 9 else None, "vase" if number % 2 else "lamp", key))
        length = "long" if shape == "round" else "short"
        for place, (property, value) in enumerate([("colour", colour), ("shape", shape), ("length", length)]):
            split = "test" if (number + place) % 5 == 0 else "valid" if valid and (number + place) % 5 == 1 else None
            if (number + place) % 7 != 0 and (kept_back or split is None):
                triples.append((item, property, value, split))
    return (
        pd.DataFrame(items, columns=["id", "title", "category", "image"]),
        pd.DataFrame(triples, columns=["item", "property", "value", "split"]),
        pd.DataFrame(GROUPS.items(), columns=["name", "group"]),
        images,
    )


class FixedPredictor:
    """The share of a property's training triples that each value has, the same for every item."""

    def __init__(self, candidates: Candidates) -> None:
        self.candidates = candidates

    def score(self, property: str, items: Sequence[str]) -> np.ndarray:
        counts = self.candidates.counts(property)
        return np.tile(counts / max(1, counts.sum()), (len(items), 1))


class Knowing:
    """Knows every shape and length, and says the right colour of two items in three, but is less sure of colours."""

    def __init__(self, candidates: Candidates) -> None:
        self.candidates = candidates

    def score(self, property: str, items: Sequence[str]) -> np.ndarray:
        values = self.candidates.of(property)
        scores = np.zeros((len(items), len(values)))
        for row, number in enumerate(int(item[1:]) for item in items):
            shape = number // 3 % 2
            colour = list(COLOURS)[(number + (number % 9 < 3)) % 3]
            said = {"colour": colour, "shape": ("round", "square")[shape], "length": ("long", "short")[shape]}[property]
            scores[row, list(values).index(said)] = 4.0 if property == "colour" else 8.0
        return scores


class FixedRun:
    """Has what the command asks of a `k3m.run.Run`."""

    def __init__(self, directory: Path, predictor: Predictor | None = None) -> None:
        self.directory, self.visible = directory, ("title", "image", "price")
        self.info: dict[str, Any] = {"data_version": 1}
        self.name, self.fingerprint = directory.name, "fixed"
        self.fixed = predictor
        self.asked: list[tuple[list[str], tuple[str, ...]]] = []

    def predictor(
        self, store: Store, items: Sequence[str] | None = None, without: Collection[str] = (), progress: bool = False
    ) -> Predictor:
        self.asked.append((list(items or ()), tuple(without)))
        return self.fixed or FixedPredictor(Candidates.from_store(store))
