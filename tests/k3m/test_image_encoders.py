import pytest
import torch

from k3m.config import LayerSize
from k3m.image_encoders import (
    ImageEncoder,
    PixelFront,
    ReadyFront,
    hidden_with,
    patch_pixels,
    visible_mean,
    with_whole,
    zero_patches,
)
from k3m.photographs import Photographs, of_pixels

ONE = torch.tensor([True])


def _pixel_encoder() -> ImageEncoder:
    torch.manual_seed(0)
    return ImageEncoder(PixelFront((8, 8, 16, 16)), LayerSize(16, 2, 64), layers=1, dropout=0.0).eval()


def _pixels(pixels: torch.Tensor, present: torch.Tensor = ONE) -> Photographs:
    return of_pixels(pixels, present, 16)


def test_the_global_object_comes_first() -> None:
    boxes = with_whole(_pixels(torch.zeros(1, 3, 32, 32)).boxes)
    assert boxes[0].tolist() == [
        [0, 0, 1, 1, 1],
        [0, 0, 0.5, 0.5, 0.25],
        [0.5, 0, 1, 0.5, 0.25],
        [0, 0.5, 0.5, 1, 0.25],
        [0.5, 0.5, 1, 1, 0.25],
    ]


def test_patches_are_normalised_and_in_the_boxes_order() -> None:
    pixels = torch.zeros(1, 3, 32, 32)
    pixels[0, 0, 0, 16] = 1.0  # the top right patch
    patches = patch_pixels(pixels, 16)
    assert patches.shape == (1, 4, 768)
    assert patches[0, 1].abs().sum() > 0
    assert not patches[0, [0, 2, 3]].any()
    noisy = patch_pixels(torch.randn(2, 3, 32, 32), 16)
    assert torch.allclose(noisy.mean(-1), torch.zeros(2, 4), atol=1e-5)
    assert torch.allclose(noisy.std(-1), torch.ones(2, 4), atol=0.02)  # the floor under the deviation takes 1 %


def test_zeroing_hides_the_asked_patches_alone() -> None:
    pixels = torch.ones(1, 3, 32, 32)
    seen = zero_patches(pixels, torch.tensor([[False, True, False, False]]), 16)
    assert not seen[0, :, :16, 16:].any()
    assert seen.sum() == 3 * 3 * 256


def test_a_zeroed_patch_gives_itself_away_to_no_object() -> None:
    """MOM's leak (paper.md 2.3): neither the neighbours nor the global object may carry what is asked."""
    encoder, zeroed = _pixel_encoder(), torch.tensor([[False, True, False, False]])
    pixels = torch.randn(1, 3, 32, 32)
    other = pixels.clone()
    other[:, :, :16, 16:] = torch.randn(1, 3, 16, 16)
    assert torch.equal(encoder(_pixels(pixels), zeroed)[0], encoder(_pixels(other), zeroed)[0])
    assert not torch.allclose(encoder(_pixels(pixels), None)[0], encoder(_pixels(other), None)[0])


def test_a_missing_photograph_is_one_learnt_object_whatever_the_pixels() -> None:
    encoder, absent = _pixel_encoder(), torch.tensor([False])
    first, mask = encoder(_pixels(torch.zeros(1, 3, 32, 32), absent), None)
    second, _ = encoder(_pixels(torch.randn(1, 3, 32, 32), absent), None)
    assert mask.tolist() == [[True, False, False, False, False]]
    assert torch.equal(first[:, 0], second[:, 0])


# Objects made beforehand: three boxes, of which the second overlaps the first by two thirds and the third by nothing.

BOXES = torch.tensor([[[0.0, 0, 0.5, 0.5, 0.25], [0.1, 0, 0.6, 0.5, 0.25], [0.6, 0.6, 1, 1, 0.16]]])


def _ready(classes: int = 0) -> tuple[ImageEncoder, Photographs]:
    torch.manual_seed(0)
    encoder = ImageEncoder(ReadyFront(6, classes), LayerSize(16, 2, 64), layers=1, dropout=0.0).eval()
    there = torch.ones(1, 3, dtype=torch.bool)
    distribution = torch.randn(1, 3, classes).softmax(-1)
    return encoder, Photographs(ONE, there, BOXES, torch.empty(1, 3, 0, 0), torch.randn(1, 3, 6), distribution)


def test_an_object_hides_with_those_that_overlap_it() -> None:
    """.4 x .5 common of .3 together: .667; at a shift of .25 it is .333, below the bound of .4."""
    asked = torch.tensor([[True, False, False]])
    assert hidden_with(BOXES, asked).tolist() == [[True, True, False]]
    apart = BOXES.clone()
    apart[0, 1, [0, 2]] += 0.15
    assert hidden_with(apart, asked).tolist() == [[True, False, False]]


def test_what_is_asked_of_a_region_reaches_no_object() -> None:
    encoder, photographs = _ready(classes=4)
    zeroed = torch.tensor([[True, False, False]])
    other = photographs.objects.clone()
    other[0, :2] = torch.randn(2, 6)
    changed = Photographs(ONE, photographs.there, BOXES, photographs.pixels, other, photographs.classes)
    assert torch.equal(encoder(photographs, zeroed)[0], encoder(changed, zeroed)[0])
    assert not torch.allclose(encoder(photographs, None)[0], encoder(changed, None)[0])


@pytest.mark.parametrize("classes", [0, 4])
def test_targets_are_the_class_distribution_or_the_normalised_token(classes: int) -> None:
    encoder, photographs = _ready(classes)
    target = encoder.front.targets(photographs)
    if classes:
        assert encoder.front.by_class
        assert torch.equal(target, photographs.classes)
    else:
        assert torch.allclose(target.mean(-1), torch.zeros(1, 3), atol=1e-6)
        assert torch.allclose(target.std(-1, unbiased=False), torch.ones(1, 3), atol=1e-3)


def test_the_predictor_to_beat_is_the_mean_of_what_is_left_to_see() -> None:
    encoder, photographs = _ready()
    found = visible_mean(photographs, torch.tensor([[True, False, False]]))
    assert torch.allclose(found, encoder.front.targets(photographs)[:, 2])
