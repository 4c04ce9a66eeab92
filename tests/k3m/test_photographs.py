import io

import numpy as np
import torch
from PIL import Image

from k3m.photographs import decode


def _png(colour: tuple[int, int, int], size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_scaled_to_minus_one_to_one_and_resized() -> None:
    pixels = decode([_png((255, 0, 0), (10, 20))], height=32, width=16)
    assert pixels.shape == (1, 3, 32, 16)
    assert torch.equal(pixels[0, 0], torch.ones(32, 16))
    assert torch.equal(pixels[0, 1], -torch.ones(32, 16))


def test_a_missing_photograph_is_zeros_and_grey_levels_become_rgb() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.full((16, 16), 255, dtype=np.uint8)).save(buffer, "PNG")
    pixels = decode([None, buffer.getvalue()], 16, 16)
    assert not pixels[0].any()
    assert torch.equal(pixels[1], torch.ones(3, 16, 16))
