import torch

from k3m.encoders import PixelEncoder, TextEncoder, patch_boxes, patch_pixels, zero_patches
from k3m.text import CLS, PAD, SEP


def _pixel_encoder() -> PixelEncoder:
    torch.manual_seed(0)
    return PixelEncoder((8, 8, 16, 16), width=16, heads=2, layers=1, dropout=0.0).eval()


def test_boxes_are_the_global_object_then_patches_row_by_row() -> None:
    boxes = patch_boxes(rows=2, columns=4)
    assert boxes.shape == (9, 5)
    assert boxes[0].tolist() == [0, 0, 1, 1, 1]
    assert boxes[1].tolist() == [0, 0, 0.25, 0.5, 0.125]
    assert boxes[8].tolist() == [0.75, 0.5, 1, 1, 0.125]


def test_patches_are_normalised_and_in_the_boxes_order() -> None:
    pixels = torch.zeros(1, 3, 32, 32)
    pixels[0, 0, 0, 16] = 1.0  # the top right patch
    patches = patch_pixels(pixels)
    assert patches.shape == (1, 4, 768)
    assert patches[0, 1].abs().sum() > 0
    assert not patches[0, [0, 2, 3]].any()
    noisy = patch_pixels(torch.randn(2, 3, 32, 32))
    assert torch.allclose(noisy.mean(-1), torch.zeros(2, 4), atol=1e-5)
    assert torch.allclose(noisy.std(-1), torch.ones(2, 4), atol=0.02)  # the floor under the deviation takes 1 %


def test_zeroing_hides_the_asked_patches_alone() -> None:
    pixels = torch.ones(1, 3, 32, 32)
    seen = zero_patches(pixels, torch.tensor([[False, True, False, False]]))
    assert not seen[0, :, :16, 16:].any()
    assert seen.sum() == 3 * 3 * 256


def test_a_zeroed_patch_gives_itself_away_to_no_object() -> None:
    """MOM's leak (paper.md 2.3): neither the neighbours nor the global object may carry what is asked."""
    encoder, zeroed = _pixel_encoder(), torch.tensor([[False, True, False, False]])
    pixels = torch.randn(1, 3, 32, 32)
    other = pixels.clone()
    other[:, :, :16, 16:] = torch.randn(1, 3, 16, 16)
    has_image = torch.tensor([True])
    assert torch.equal(encoder(pixels, has_image, zeroed)[0], encoder(other, has_image, zeroed)[0])
    assert not torch.allclose(encoder(pixels, has_image, None)[0], encoder(other, has_image, None)[0])


def test_a_missing_photograph_is_one_learnt_object_whatever_the_pixels() -> None:
    encoder = _pixel_encoder()
    first, mask = encoder(torch.zeros(1, 3, 32, 32), torch.tensor([False]), None)
    second, _ = encoder(torch.randn(1, 3, 32, 32), torch.tensor([False]), None)
    assert mask.tolist() == [[True, False, False, False, False]]
    assert torch.equal(first[:, 0], second[:, 0])


def test_padding_and_batch_mates_change_no_token() -> None:
    torch.manual_seed(0)
    encoder = TextEncoder(50, longest=12, width=16, heads=2, layers=2, dropout=0.1).eval()
    alone = torch.tensor([[CLS, 7, 9]])
    padded = torch.tensor([[CLS, 7, 9, PAD, PAD], [CLS, 8, 8, 8, 8]])
    assert torch.allclose(encoder(alone)[0], encoder(padded)[0, :3], atol=1e-6)
    assert torch.allclose(encoder.encode_strings(alone)[0], encoder(alone)[0].mean(0), atol=1e-6)
    assert torch.allclose(encoder.encode_strings(padded)[0], encoder(alone)[0].mean(0), atol=1e-6)


def test_a_value_is_the_mean_of_its_own_tokens_read_in_the_light_of_its_property() -> None:
    torch.manual_seed(0)
    encoder = TextEncoder(50, longest=12, width=16, heads=2, layers=2, dropout=0.0).eval()
    of_eight, of_nine, long = [8, SEP, 5, 6], [9, SEP, 5, 6], [9, SEP, 5, 6, 7, 7, 7, 7]
    tokens = torch.tensor([long, [*of_eight, *[PAD] * 4], [*of_nine, *[PAD] * 4]])
    values = encoder.encode_strings(tokens)
    for row, string in enumerate((long, of_eight, of_nine)):
        assert torch.allclose(values[row], encoder(torch.tensor([string]))[0, 2:].mean(0), atol=1e-6)
    assert not torch.allclose(values[1], values[2], atol=1e-3)
