import io

import numpy as np
import pytest
import torch
from PIL import Image

from k3m.photographs import PixelReader, patch_boxes


def _png(colour: tuple[int, int, int], size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_scaled_to_minus_one_to_one_and_resized() -> None:
    pixels = PixelReader(height=32, width=16)([_png((255, 0, 0), (10, 20))]).pixels
    assert pixels.shape == (1, 3, 32, 16)
    assert torch.equal(pixels[0, 0], torch.ones(32, 16))
    assert torch.equal(pixels[0, 1], -torch.ones(32, 16))


def test_a_missing_photograph_is_zeros_and_grey_levels_become_rgb() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.full((16, 16), 255, dtype=np.uint8)).save(buffer, "PNG")
    read = PixelReader(16, 16)([None, buffer.getvalue()])
    assert not read.pixels[0].any()
    assert torch.equal(read.pixels[1], torch.ones(3, 16, 16))
    assert read.present.tolist() == [False, True]
    assert read.there.tolist() == [[False], [True]]


def test_boxes_are_those_of_patches_row_by_row() -> None:
    boxes = patch_boxes(rows=2, columns=4)
    assert boxes.shape == (8, 5)
    assert boxes[0].tolist() == [0, 0, 0.25, 0.5, 0.125]
    assert boxes[7].tolist() == [0.75, 0.5, 1, 1, 0.125]


@pytest.mark.parametrize("bytes_of_none", [b"<html>no image</html>", _png((0, 255, 0), (64, 64))[:90]])
def test_what_cannot_be_read_as_an_image_is_none_and_said(bytes_of_none: bytes) -> None:
    """Of an adopted graph, whose photographs no ingest has looked at."""
    with pytest.warns(UserWarning, match=r"sha256:[0-9a-f]{64} cannot be read as an image"):
        read = PixelReader(16, 16)([_png((255, 0, 0), (16, 16)), bytes_of_none])
    assert read.present.tolist() == [True, False]
    assert not read.there[1].any()
    assert not read.pixels[1].any()
