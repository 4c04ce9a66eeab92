"""The three objectives as pure functions of tensors (paper.md 2.3). Legend: B items, Q hidden triples, K negatives, D
width."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss, relu


class NonFiniteLoss(ArithmeticError):
    """A loss is NaN or infinite; raised before the optimiser would spread it over the weights."""


def distance(
    item: Float[Tensor, "*#N D"], prop: Float[Tensor, "*#N D"], value: Float[Tensor, "*#N D"], norm: int
) -> Float[Tensor, "*#N"]:
    """TransE distance S(c, p, v) = ||c* + p - v||, over the last dimension: lower is more plausible. Only ranking
    turns it round: score = -distance. Divided by D for norm 1 and by sqrt(D) for norm 2, so that one margin fits
    every width."""
    moved = item + prop - value
    if norm == 1:
        return moved.abs().mean(-1)
    return (moved.square().mean(-1) + 1e-12).sqrt()


def margin_loss(
    positive: Float[Tensor, " Q"],
    negative: Float[Tensor, "Q K"],
    negative_mask: Bool[Tensor, "Q K"],
    item: Int[Tensor, " Q"],
    margin: float,
) -> Float[Tensor, ""]:
    """Mean over items of the mean over their hidden triples x of the mean over negatives x~ of max(S(x) - S(x~) +
    margin, 0).

    A triple without a negative (a property with one candidate, say) counts with loss 0; no hidden triple at all gives
    0.
    """
    hinge = relu(positive[:, None] - negative + margin) * negative_mask
    triple = hinge.sum(1) / negative_mask.sum(1).clamp(min=1)
    if len(triple) == 0:
        return triple.sum()
    _, row, size = torch.unique(item, return_inverse=True, return_counts=True)
    return (triple / size[row]).sum() / len(size)


def masked_language_loss(logits: Float[Tensor, "A V"], tokens: Int[Tensor, " A"]) -> Float[Tensor, ""]:
    """Mean cross-entropy over the asked tokens; 0 where none is asked."""
    return cross_entropy(logits.float(), tokens, reduction="sum") / max(len(tokens), 1)


def masked_object_loss(predicted: Float[Tensor, "A P"], pixels: Float[Tensor, "A P"]) -> Float[Tensor, ""]:
    """Mean squared error over the asked patches' normalised pixels; 0 where none is asked."""
    return mse_loss(predicted.float(), pixels, reduction="sum") / max(pixels.numel(), 1)
