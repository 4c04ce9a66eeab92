"""Each modality alone (paper.md 2.2.1): the text Transformer that titles, properties and values share, and the pixel
front end.

Legend: B items, L tokens, S strings, W tokens a string, h w pixels, M objects (patches and one global), D width.
"""

import math
from itertools import chain

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import gelu

from k3m.photographs import PATCH
from k3m.text import PAD, SEP

SHORT = 6
"""Tokens of a short string."""


class Attention(nn.Module):
    """Multi-head attention of `queries` over `context`; places where `mask` is False are not looked at."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(
        self, queries: Float[Tensor, "B L D"], context: Float[Tensor, "B M D"], mask: Bool[Tensor, "B M"]
    ) -> Float[Tensor, "B L D"]:
        q, k, v = self._split(self.query(queries)), self._split(self.key(context)), self._split(self.value(context))
        # Written out: titles and values are a few tokens long, where torch's fused kernel takes three times as long.
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
        weights = scores.masked_fill(~mask[:, None, None, :], -torch.inf).softmax(-1)
        return self.out((weights.to(v.dtype) @ v).transpose(1, 2).flatten(2))

    def _split(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B H L d"]:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        return self.narrow(gelu(self.widen(x)))


class TransformerLayer(nn.Module):
    """BERT's layer: attention and feed-forward, each with dropout, residual and layer norm after it."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention, self.feed_forward = Attention(width, heads), FeedForward(width)
        self.norm_attention, self.norm_feed_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        x = self.norm_attention(x + self.dropout(self.attention(x, x, mask)))
        return self.norm_feed_forward(x + self.dropout(self.feed_forward(x)))


class TextEncoder(nn.Module):
    """WordPiece tokens to token states."""

    def __init__(self, vocabulary: int, longest: int, width: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(vocabulary, width, padding_idx=PAD), nn.Embedding(longest, width)
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)
        self.layers = nn.ModuleList(TransformerLayer(width, heads, dropout) for _ in range(layers))

    def forward(self, tokens: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        position = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.dropout(self.norm(self.token(tokens) + self.position(position)))
        for layer in self.layers:
            x = layer(x, tokens != PAD)
        return x

    def encode_strings(self, tokens: Int[Tensor, "S W"]) -> Float[Tensor, "S D"]:
        """p_x and v_x: the mean over all of a string's own tokens (paper.md 2.2.1).

        A value's own tokens are those behind the [SEP]: it is read in the light of its property, as in the paper's
        figure, where each pair "p v" stands in one sequence. A translation c* + p - v of values that properties share
        could not say "one" of the one and "two" of the other.
        """
        # Most strings are a word or two and a few are sentences: apart, the short ones are not padded to the longest.
        long = (tokens[:, SHORT:] != PAD).any(1)
        means = torch.cat([self._mean(tokens[~long, :SHORT]), self._mean(tokens[long])])
        return means[torch.argsort(torch.argsort(long, stable=True))]

    def _mean(self, tokens: Int[Tensor, "S W"]) -> Float[Tensor, "S D"]:
        separator = tokens == SEP
        own = (separator.cumsum(1) == separator.sum(1, keepdim=True)) & ~separator & (tokens != PAD)
        return (self(tokens) * own[..., None]).sum(1) / own.sum(1, keepdim=True)


def halving(inside: int, outside: int) -> list[nn.Module]:
    """Halves the picture. Group norm: a photograph's features do not depend on its batch mates."""
    return [nn.Conv2d(inside, outside, 3, stride=2, padding=1), nn.GroupNorm(8, outside), nn.ReLU()]


class ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(8, channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(8, channels),
        )

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        return torch.relu(x + self.convolutions(x))


def patch_boxes(rows: int, columns: int) -> Float[Tensor, "M 5"]:
    """Positions (x1/W, y1/H, x2/W, y2/H, area fraction) of the global object, then of the patches row by row."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    x1, y1 = x.flatten() / columns, y.flatten() / rows
    boxes = torch.stack([x1, y1, x1 + 1 / columns, y1 + 1 / rows, torch.full_like(x1, 1 / (rows * columns))], dim=1)
    return torch.cat([torch.tensor([[0.0, 0.0, 1.0, 1.0, 1.0]]), boxes])


class PixelEncoder(nn.Module):
    """Pixels, trained from scratch: E_m = LN(W_f f_m + W_l l_m) -> Transformer (paper.md 2.2.1).

    Objects are the 16 x 16 patches and one global object, their mean. What MOM asks for is zeroed in the *pixels*,
    before any convolution mixes neighbours, so neither a neighbour nor the global object gives it away.
    """

    def __init__(self, channels: tuple[int, ...], width: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        first, *rest = [halving(inside, outside) for inside, outside in zip((3, *channels), channels, strict=False)]
        # No residual block at full size: it would cost as much time as the three others together.
        blocks = [[*stage, ResidualBlock(outside)] for stage, outside in zip(rest, channels[1:], strict=True)]
        self.convolutions = nn.Sequential(*first, *chain.from_iterable(blocks))
        self.feature, self.location = nn.Linear(channels[-1], width), nn.Linear(5, width)
        self.absent = nn.Parameter(torch.zeros(width))
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)
        self.layers = nn.ModuleList(TransformerLayer(width, heads, dropout) for _ in range(layers))

    def forward(
        self, pixels: Float[Tensor, "B 3 h w"], has_image: Bool[Tensor, " B"], zeroed: Bool[Tensor, "B P"] | None
    ) -> tuple[Float[Tensor, "B M D"], Bool[Tensor, "B M"]]:
        """Object states and which objects may be looked at; an item without a photograph has one learnt object, the
        first."""
        maps = self.convolutions(pixels if zeroed is None else zero_patches(pixels, zeroed))
        features = maps.flatten(2).transpose(1, 2)
        objects = self.feature(torch.cat([features.mean(1, keepdim=True), features], dim=1))
        objects = torch.where(has_image[:, None, None], objects, self.absent)
        boxes = patch_boxes(maps.shape[2], maps.shape[3]).to(pixels.device)
        x = self.dropout(self.norm(objects + self.location(boxes)))
        mask = has_image[:, None].repeat(1, x.shape[1])
        mask[:, 0] = True
        for layer in self.layers:
            x = layer(x, mask)
        return x, mask


def zero_patches(pixels: Float[Tensor, "B 3 h w"], zeroed: Bool[Tensor, "B P"]) -> Float[Tensor, "B 3 h w"]:
    rows, columns = pixels.shape[2] // PATCH, pixels.shape[3] // PATCH
    seen = ~zeroed.view(-1, 1, rows, columns)
    return pixels * seen.repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)


def patch_pixels(pixels: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B P 768"]:
    """MOM's target: each patch's pixels, normalised to mean 0 and deviation 1 within the patch."""
    patches = pixels.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    return (patches - patches.mean(-1, keepdim=True)) / (patches.std(-1, keepdim=True) + 1e-2)
