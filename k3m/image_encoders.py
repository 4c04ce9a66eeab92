"""Photographs alone (paper.md 2.2.1): front ends that make objects of a photograph, one interface for all of them, and
the Transformer above.

An object has features and a 5-d position, and may be asked for by MOM; what MOM targets is the front end's choice. What
is asked for reaches no object's state (paper.md 2.3, Leak): trained front ends zero the *pixels* before anything mixes
neighbours; ready-made objects are zeroed with every one that overlaps them. A global object, the mean of what is left
to see, comes first.

Legend: B items, h w pixels, P objects, M = P + 1 with the global one, F features, T target, D width.
"""

from itertools import chain
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from k3m.config import LayerSize
from k3m.photographs import BOX, PATCH, Photographs
from k3m.transformer import TransformerLayer

if TYPE_CHECKING:
    from k3m.towers import Tower

OVERLAP = 0.4
"""Intersection over union from which an object gives another away."""


class ImageFront(nn.Module):
    """Photographs to objects. A subclass gives `features` and `targets`.

    Attributes:
        width: F.
        target: T, numbers that MOM predicts of an object.
        by_class: whether they are a distribution over classes, else a regression's.
    """

    width: int
    target: int
    by_class = False

    def forward(
        self, photographs: Photographs, zeroed: Bool[Tensor, "B P"] | None
    ) -> tuple[Float[Tensor, "B P F"], Bool[Tensor, "B P"]]:
        """Features, those of `zeroed` objects 0 or made of what is left, and which objects are left to see."""
        raise NotImplementedError

    def targets(self, photographs: Photographs) -> Float[Tensor, "B P T"]:
        raise NotImplementedError


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


class PixelFront(ImageFront):
    """Pixels, trained from scratch; the objects are 16 x 16 patches, MOM asks for their normalised pixels."""

    target = 3 * PATCH * PATCH

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.width = channels[-1]
        first, *rest = [halving(inside, outside) for inside, outside in zip((3, *channels), channels, strict=False)]
        # No residual block at full size: it would cost as much time as the three others together.
        blocks = [[*stage, ResidualBlock(outside)] for stage, outside in zip(rest, channels[1:], strict=True)]
        self.convolutions = nn.Sequential(*first, *chain.from_iterable(blocks))

    def forward(
        self, photographs: Photographs, zeroed: Bool[Tensor, "B P"] | None
    ) -> tuple[Float[Tensor, "B P F"], Bool[Tensor, "B P"]]:
        maps = self.convolutions(zero_patches(photographs.pixels, zeroed, PATCH))
        return maps.flatten(2).transpose(1, 2), photographs.there

    def targets(self, photographs: Photographs) -> Float[Tensor, "B P 768"]:
        return patch_pixels(photographs.pixels, PATCH)


class TowerFront(ImageFront):
    """A tower of open_clip, trained along: its patch tokens are the objects, MOM asks for their normalised pixels."""

    def __init__(self, tower: "Tower") -> None:
        super().__init__()
        self.visual, self.width, self.side = tower.visual, tower.width, tower.side
        self.target = 3 * tower.side * tower.side

    def forward(
        self, photographs: Photographs, zeroed: Bool[Tensor, "B P"] | None
    ) -> tuple[Float[Tensor, "B P F"], Bool[Tensor, "B P"]]:
        from k3m.towers import patch_tokens

        return patch_tokens(self.visual, zero_patches(photographs.pixels, zeroed, self.side)), photographs.there

    def targets(self, photographs: Photographs) -> Float[Tensor, "B P T"]:
        return patch_pixels(photographs.pixels, self.side)

    def load(self, name: str, weights: str) -> None:
        """From a pretrained tag or a .safetensors file; errors as `Tower.pretrained`'s."""
        from k3m.towers import Tower

        self.visual.load_state_dict(Tower.pretrained(name, weights).visual.state_dict())


class ReadyFront(ImageFront):
    """Objects that a frozen tower or detector made beforehand. MOM asks for a region's class distribution, or, of a
    tower, which has none, for the token itself, normalised.

    A frozen tower's tokens carry their neighbours, which no masking takes out: its MOM means something only beside the
    mean of the tokens left to see as a predictor (`visible_mean`).
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.width, self.by_class = width, classes > 0
        self.target = classes or width

    def forward(
        self, photographs: Photographs, zeroed: Bool[Tensor, "B P"] | None
    ) -> tuple[Float[Tensor, "B P F"], Bool[Tensor, "B P"]]:
        if zeroed is None:
            return photographs.objects, photographs.there
        hidden = hidden_with(photographs.boxes, zeroed)
        return photographs.objects.masked_fill(hidden[..., None], 0.0), photographs.there & ~hidden

    def targets(self, photographs: Photographs) -> Float[Tensor, "B P T"]:
        return photographs.classes if self.by_class else layer_norm(photographs.objects, (self.width,))


class ImageEncoder(nn.Module):
    """E_m = LN(W_f f_m + W_l l_m) -> Transformer (paper.md 2.2.1)."""

    def __init__(self, front: ImageFront, size: LayerSize, layers: int, dropout: float) -> None:
        super().__init__()
        self.front, width = front, size.width
        self.feature, self.location = nn.Linear(front.width, width), nn.Linear(BOX, width)
        self.absent = nn.Parameter(torch.zeros(width))
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)
        self.layers = nn.ModuleList(TransformerLayer(size, dropout) for _ in range(layers))

    def forward(
        self, photographs: Photographs, zeroed: Bool[Tensor, "B P"] | None
    ) -> tuple[Float[Tensor, "B M D"], Bool[Tensor, "B M"]]:
        """Object states, the global one first, and which objects may be looked at; an item without a photograph has
        one learnt object, the first."""
        features, seen = self.front(photographs, zeroed)
        every = torch.cat([mean_of(features, seen)[:, None], features], dim=1)
        objects = torch.where(photographs.present[:, None, None], self.feature(every), self.absent)
        x = self.dropout(self.norm(objects + self.location(with_whole(photographs.boxes))))
        mask = torch.cat([torch.ones_like(photographs.present)[:, None], photographs.there], dim=1)
        for layer in self.layers:
            x = layer(x, mask)
        return x, mask


def mean_of(features: Float[Tensor, "B P F"], seen: Bool[Tensor, "B P"]) -> Float[Tensor, "B F"]:
    """Over the objects that are seen; 0 where none is."""
    return (features * seen[..., None]).sum(1) / seen.sum(1, keepdim=True).clamp(min=1)


def visible_mean(photographs: Photographs, zeroed: Bool[Tensor, "B P"]) -> Float[Tensor, "B F"]:
    """What MOM on a frozen tower must beat: the mean of the normalised tokens that are left to see."""
    seen = photographs.there & ~hidden_with(photographs.boxes, zeroed)
    return mean_of(layer_norm(photographs.objects, photographs.objects.shape[-1:]), seen)


def with_whole(boxes: Float[Tensor, "B P 5"]) -> Float[Tensor, "B M 5"]:
    """The global object's position, then the others'."""
    whole = boxes.new_tensor([0.0, 0.0, 1.0, 1.0, 1.0]).expand(len(boxes), 1, BOX)
    return torch.cat([whole, boxes], dim=1)


def hidden_with(boxes: Float[Tensor, "B P 5"], zeroed: Bool[Tensor, "B P"]) -> Bool[Tensor, "B P"]:
    """Zeroed objects and those whose boxes overlap one of them."""
    first, last = boxes[..., :2], boxes[..., 2:4]
    sides = torch.minimum(last[:, :, None], last[:, None]) - torch.maximum(first[:, :, None], first[:, None])
    common = sides.clamp(min=0).prod(-1)
    area = (last - first).prod(-1)
    overlap = common / (area[:, :, None] + area[:, None] - common).clamp(min=1e-9)
    return zeroed | ((overlap > OVERLAP) & zeroed[:, None]).any(2)


def zero_patches(
    pixels: Float[Tensor, "B 3 h w"], zeroed: Bool[Tensor, "B P"] | None, side: int
) -> Float[Tensor, "B 3 h w"]:
    if zeroed is None:
        return pixels
    seen = ~zeroed.view(-1, 1, pixels.shape[2] // side, pixels.shape[3] // side)
    return pixels * seen.repeat_interleave(side, 2).repeat_interleave(side, 3)


def patch_pixels(pixels: Float[Tensor, "B 3 h w"], side: int) -> Float[Tensor, "B P T"]:
    """Each patch's pixels, normalised to mean 0 and deviation 1 within the patch."""
    patches = pixels.unfold(2, side, side).unfold(3, side, side).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    return (patches - patches.mean(-1, keepdim=True)) / (patches.std(-1, keepdim=True) + 1e-2)
