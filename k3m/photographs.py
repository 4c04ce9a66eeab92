"""Photographs to what a front end takes: one decoding and one transform for training, completion and new items.

A `PhotographReader` works wherever batches are made, in worker processes too: it pickles as its settings.
"""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from graphstore import image_key

PATCH = 16
"""Side of a patch in pixels, an object of the pixel front end."""
BOX = 5
"""Numbers of a position: x1/W, y1/H, x2/W, y2/H, area fraction."""


@dataclass(frozen=True)
class Photographs:
    """A batch's photographs: as pixels, or as objects that were made of them beforehand.

    Legend: B items, h w pixels, P objects, F features, C classes.
    """

    present: Bool[Tensor, " B"]
    there: Bool[Tensor, "B P"]
    """Objects that there are; none of an item without a photograph."""
    boxes: Float[Tensor, "B P 5"]
    pixels: Float[Tensor, "B 3 h w"]
    """Zeros where there is none (presence is a bit, not a colour); no pixels where objects are given."""
    objects: Float[Tensor, "B P F"]
    classes: Float[Tensor, "B P C"]
    """Of each object given, the detector's distribution over its classes."""

    def rows(self, index: Tensor) -> "Photographs":
        """Those of other rows."""
        return Photographs(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


class PhotographReader(Protocol):
    def __call__(self, images: Sequence[bytes | None]) -> Photographs:
        """Of a batch; None where an item has none."""
        ...


@dataclass(frozen=True)
class PixelReader:
    """RGB in [-1, 1], resized to height x width pixels."""

    height: int
    width: int

    def __call__(self, images: Sequence[bytes | None]) -> Photographs:
        pixels, opened = np.zeros((len(images), self.height, self.width, 3), dtype=np.uint8), open_all(images)
        for row, image in enumerate(opened):
            if image is not None:
                pixels[row] = np.asarray(image.resize((self.width, self.height), Image.Resampling.BILINEAR))
        present = torch.tensor([image is not None for image in opened])
        scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        return of_pixels(scaled * present[:, None, None, None], present, PATCH)


def open_all(images: Sequence[bytes | None]) -> list[Image.Image | None]:
    """In RGB; None also of one that cannot be read (`open_one`)."""
    return [None if data is None else open_one(data) for data in images]


def open_one(data: bytes, at_least: tuple[int, int] | None = None) -> Image.Image | None:
    """In RGB, a JPEG decoded no larger than it takes to be `at_least` so wide and high. Ingest has checked what it
    took; of an adopted graph, a photograph that cannot be read is none, and a warning says so."""
    try:
        opened = Image.open(io.BytesIO(data))
        if at_least is not None:
            opened.draft("RGB", at_least)
        return opened.convert("RGB")
    except (OSError, Image.DecompressionBombError) as error:
        warnings.warn(f"{image_key(data)} cannot be read as an image ({error}): its items go without", stacklevel=3)
        return None


def of_pixels(pixels: Float[Tensor, "B 3 h w"], present: Bool[Tensor, " B"], side: int) -> Photographs:
    """Whose objects are patches of that side."""
    boxes = patch_boxes(pixels.shape[2] // side, pixels.shape[3] // side)
    number = len(boxes)
    return Photographs(
        present=present,
        there=present[:, None].repeat(1, number),
        boxes=boxes.expand(len(pixels), number, BOX),
        pixels=pixels,
        objects=pixels.new_empty(len(pixels), number, 0),
        classes=pixels.new_empty(len(pixels), number, 0),
    )


def patch_boxes(rows: int, columns: int) -> Float[Tensor, "P 5"]:
    """Positions of patches, row by row."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    x1, y1 = x.flatten() / columns, y.flatten() / rows
    area = torch.full_like(x1, 1 / (rows * columns))
    return torch.stack([x1, y1, x1 + 1 / columns, y1 + 1 / rows, area], dim=1)
