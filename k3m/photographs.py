"""Photographs to tensors: one decoding and one transform for training, completion and new items."""

import io
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

PATCH = 16
"""Side of a patch in pixels, an object of the pixel front end."""


def decode(images: Sequence[bytes | None], height: int, width: int) -> Float[Tensor, "B 3 h w"]:
    """RGB in [-1, 1], resized to height x width pixels; zeros where there is none (presence is a bit of the batch,
    not a colour).

    Raises:
        PIL.UnidentifiedImageError: for bytes that are no image; ingest has set such items aside.
    """
    pixels = np.zeros((len(images), height, width, 3), dtype=np.uint8)
    for row, data in enumerate(images):
        if data is not None:
            image = Image.open(io.BytesIO(data)).convert("RGB")
            pixels[row] = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    present = torch.tensor([data is not None for data in images])
    scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    return scaled * present[:, None, None, None]
