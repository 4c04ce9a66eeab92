"""The objectives as pure functions of tensors (paper.md 2.3). Legend: B items, Q hidden triples, K negatives, D width,
T numbers that MOM predicts of an object."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, mse_loss, relu, softplus

from k3m.config import LossConfig


@dataclass(frozen=True)
class Mean:
    """A sum and over how many it goes, apart: processes that share a batch divide by all of theirs together."""

    total: Float[Tensor, ""]
    count: int

    @property
    def value(self) -> Float[Tensor, ""]:
        """0 where there is nothing to go over."""
        return self.total / max(self.count, 1)

    def __add__(self, other: "Mean") -> "Mean":
        """Of two that go over the same."""
        assert self.count == other.count
        return Mean(self.total + other.total, self.count)

    def __rmul__(self, factor: float) -> "Mean":
        return Mean(factor * self.total, self.count)


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


def complex_product(
    item: Float[Tensor, "*#N D"], prop: Float[Tensor, "*#N D"], value: Float[Tensor, "*#N D"]
) -> Float[Tensor, "*#N"]:
    """Re(<c*, p, conj(v)>) of ComplEx (Trouillon et al., ICML 2016), the first half of each vector its real part;
    divided by sqrt(D)."""
    (item_re, item_im), (prop_re, prop_im), (value_re, value_im) = (x.chunk(2, -1) for x in (item, prop, value))
    asked_re, asked_im = item_re * prop_re - item_im * prop_im, item_re * prop_im + item_im * prop_re
    return (asked_re * value_re + asked_im * value_im).sum(-1) / item.shape[-1] ** 0.5


def plausibility(
    item: Float[Tensor, "*#N D"], prop: Float[Tensor, "*#N D"], value: Float[Tensor, "*#N D"], loss: LossConfig
) -> Float[Tensor, "*#N"]:
    """What candidates are ranked by: higher is more plausible."""
    if loss.score == "complex":
        return complex_product(item, prop, value)
    if loss.score == "transe_squared":
        return -(item + prop - value).square().mean(-1)
    return -distance(item, prop, value, loss.norm)


def margin_loss(
    positive: Float[Tensor, " Q"],
    negative: Float[Tensor, "Q K"],
    negative_mask: Bool[Tensor, "Q K"],
    item: Int[Tensor, " Q"],
    margin: float,
    weight: Float[Tensor, " Q"] | None = None,
) -> Mean:
    """Mean over items of the mean over their hidden triples x of the mean over negatives x~ of max(S(x) - S(x~) +
    margin, 0), times the triple's weight (1).

    A triple without a negative (a property with one candidate, say) counts with loss 0; no hidden triple at all gives
    0.
    """
    hinge = relu(positive[:, None] - negative + margin) * negative_mask
    return mean_by_item(hinge.sum(1) / negative_mask.sum(1).clamp(min=1), item, weight)


def softmax_loss(
    positive: Float[Tensor, " Q"],
    negative: Float[Tensor, "Q K"],
    negative_mask: Bool[Tensor, "Q K"],
    drawn_from: Int[Tensor, " Q"],
    item: Int[Tensor, " Q"],
    weight: Float[Tensor, " Q"] | None = None,
) -> Mean:
    """Cross-entropy of the true one among what could stand in its place, over hidden triples (each times its weight,
    1), then items.

    Where negatives are a draw of `drawn_from` in all, each stands for several: the sampled softmax counts it as many
    times (Jean et al., ACL 2015), so that its expectation is about the whole softmax's.
    """
    stands_for = drawn_from / negative_mask.sum(1).clamp(min=1)
    logits = negative + stands_for.clamp(min=1).log()[:, None]
    every = torch.cat([positive[:, None], logits.masked_fill(~negative_mask, -torch.inf)], dim=1)
    return mean_by_item(every.logsumexp(1) - positive, item, weight)


def rejection_loss(
    rejected: Float[Tensor, " Q"],
    others: Float[Tensor, "Q K"],
    others_mask: Bool[Tensor, "Q K"],
    drawn_from: Int[Tensor, " Q"],
    item: Int[Tensor, " Q"],
    loss: LossConfig,
) -> Mean:
    """Of scores (higher is more plausible) of rejected values and of others that may be true instead, over the items
    that have a rejection, of the mean over theirs. One without any other costs nothing.

    softmax: -log(1 - P(rejected)), P among all of them, so that what it loses goes to the others (Ishida et al.,
    "Learning from Complementary Labels", NeurIPS 2017). margin: the hinge of LPM with the best of the others in the
    place of the true value; it does not move, since it is no more than a guess.
    """
    there = others_mask.any(1)
    own, rest, mask = rejected[there], others[there].masked_fill(~others_mask[there], -torch.inf), others_mask[there]
    if loss.link == "softmax":
        stands_for = drawn_from[there] / mask.sum(1)
        term = softplus(own - (rest + stands_for.clamp(min=1).log()[:, None]).logsumexp(1))
    else:
        term = relu(own - rest.detach().amax(1) + loss.margin)
    return mean_by_item(torch.zeros_like(rejected).masked_scatter(there, term), item)


def n3_penalty(
    item: Float[Tensor, "Q D"], prop: Float[Tensor, "Q D"], value: Float[Tensor, "Q D"], of: Int[Tensor, " Q"]
) -> Mean:
    """Mean cubed modulus of the three vectors' complex entries, their halves the two parts (Lacroix et al., ICML
    2018)."""
    cubes = [_modulus(vectors).pow(3).mean(1) for vectors in (item, prop, value)]
    return mean_by_item(sum(cubes[1:], cubes[0]), of)


def _modulus(vectors: Float[Tensor, "Q D"]) -> Float[Tensor, "Q d"]:
    real, imaginary = vectors.chunk(2, -1)
    return (real.square() + imaginary.square() + 1e-12).sqrt()


def mean_by_item(
    triple: Float[Tensor, " Q"], item: Int[Tensor, " Q"], weight: Float[Tensor, " Q"] | None = None
) -> Mean:
    """Over the items that have a triple, of the mean over theirs, each times its weight (1)."""
    _, row, size = torch.unique(item, return_inverse=True, return_counts=True)
    weighted = triple if weight is None else weight * triple
    return Mean((weighted / size[row]).sum(), len(size))


def masked_language_loss(logits: Float[Tensor, "A V"], tokens: Int[Tensor, " A"]) -> Mean:
    """Cross-entropy, over the asked tokens."""
    return Mean(cross_entropy(logits.float(), tokens, reduction="sum"), len(tokens))


def masked_object_loss(predicted: Float[Tensor, "A T"], target: Float[Tensor, "A T"], by_class: bool = False) -> Mean:
    """Over the asked objects: the mean squared error of their numbers, or, where the target is a distribution over
    classes, KL(target || softmax of the prediction)."""
    if by_class:
        return Mean(kl_div(predicted.float().log_softmax(-1), target, reduction="sum"), len(target))
    return Mean(mse_loss(predicted.float(), target, reduction="none").mean(1).sum(), len(target))
