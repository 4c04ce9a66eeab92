import math

import pytest
import torch

from k3m.config import LossConfig
from k3m.losses import (
    Mean,
    complex_product,
    distance,
    margin_loss,
    masked_language_loss,
    masked_object_loss,
    n3_penalty,
    plausibility,
    rejection_loss,
    softmax_loss,
)


def test_distance_by_hand() -> None:
    item, prop, value = torch.tensor([1.0, 2.0]), torch.tensor([1.0, -1.0]), torch.tensor([5.0, -3.0])
    # c + p - v = (-3, 4)
    assert distance(item, prop, value, norm=1).item() == pytest.approx(7 / 2)
    assert distance(item, prop, value, norm=2).item() == pytest.approx(5 / math.sqrt(2))


@pytest.mark.parametrize("norm", [1, 2])
def test_an_exact_translation_is_the_nearest(norm: int) -> None:
    item, prop = torch.randn(4, 8), torch.randn(4, 8)
    assert (distance(item, prop, item + prop, norm) < 1e-5).all()
    assert (distance(item, prop, torch.randn(4, 8), norm) > 0.1).all()


def test_margin_by_hand() -> None:
    """Two items: the first has two hidden triples, so that each counts half; the mask drops a negative."""
    positive = torch.tensor([1.0, 2.0, 0.5])
    negative = torch.tensor([[1.5, 9.0], [2.5, 1.0], [3.0, 0.0]])
    mask = torch.tensor([[True, True], [True, True], [True, False]])
    # hinge: [.5, 0] -> .25; [.5, 2] -> 1.25; [0] -> 0; items: (.25 + 1.25) / 2 = .75 and 0
    loss = margin_loss(positive, negative, mask, torch.tensor([4, 4, 7]), margin=1.0).value
    assert loss.item() == pytest.approx(0.375)
    weight = torch.tensor([2.0, 0.4, 5.0])  # (.5 + .5) / 2 and 0
    weighted = margin_loss(positive, negative, mask, torch.tensor([4, 4, 7]), 1.0, weight).value
    assert weighted.item() == pytest.approx(0.25)


def test_sign_a_better_triple_lowers_the_loss() -> None:
    negative, mask, item = torch.tensor([[1.0]]), torch.ones(1, 1, dtype=torch.bool), torch.tensor([0])
    better, worse = (margin_loss(torch.tensor([d]), negative, mask, item, 1.0).value for d in (0.2, 0.8))
    assert better < worse
    positive = torch.tensor([0.8], requires_grad=True)
    margin_loss(positive, negative, mask, item, 1.0).value.backward()
    assert positive.grad is not None
    assert positive.grad.item() > 0


def test_nothing_hidden_and_nothing_masked_cost_nothing() -> None:
    nothing, none = torch.empty(0, requires_grad=True), torch.empty(0, dtype=torch.long)
    negative, mask = torch.empty(0, 3), torch.empty(0, 3, dtype=torch.bool)
    losses = [
        margin_loss(nothing, negative, mask, none, 1.0),
        softmax_loss(nothing, negative, mask, none, none),
        rejection_loss(nothing, negative, mask, none, none, LossConfig()),
        n3_penalty(torch.empty(0, 4), torch.empty(0, 4), torch.empty(0, 4), none),
        masked_language_loss(torch.empty(0, 5), none),
        masked_object_loss(torch.empty(0, 768), torch.empty(0, 768)),
        masked_object_loss(torch.empty(0, 9), torch.empty(0, 9), by_class=True),
    ]
    assert [(loss.value.item(), loss.count) for loss in losses] == [(0.0, 0)] * 7


def test_a_triple_without_negatives_counts_as_zero() -> None:
    loss = margin_loss(
        torch.tensor([3.0, 1.0]), torch.zeros(2, 1), torch.tensor([[False], [True]]), torch.tensor([0, 1]), 1.0
    )
    assert loss.value.item() == pytest.approx((0 + 2) / 2)


def test_masked_losses_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.25, 0.75], [0.5, 0.5]]))
    found = masked_language_loss(logits, torch.tensor([1, 0]))
    assert found.value.item() == pytest.approx(-(math.log(0.75) + math.log(0.5)) / 2)
    predicted, target = torch.tensor([[1.0, 3.0], [0.0, 0.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    found = masked_object_loss(predicted, target)
    assert found.value.item() == pytest.approx(((1 + 4) / 2 + 1 / 2) / 2)
    assert found.count == 2


def test_a_class_distribution_by_hand() -> None:
    """KL(target || prediction); a class of probability 0 adds nothing."""
    predicted = torch.log(torch.tensor([[0.5, 0.25, 0.25]])) + 7  # logits, up to a constant
    target = torch.tensor([[0.75, 0.25, 0.0]])
    found = masked_object_loss(predicted, target, by_class=True)
    assert found.value.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(1.0))
    assert masked_object_loss(torch.log(target + 1e-9), target, by_class=True).value.item() == pytest.approx(
        0, abs=1e-6
    )


def test_softmax_by_hand() -> None:
    """Two items; the first one's triples count half each. The mask drops a negative."""
    positive = torch.tensor([1.0, 0.0, 2.0])
    negative = torch.tensor([[0.0, 1.0], [0.0, 9.0], [2.0, 2.0]])
    mask = torch.tensor([[True, True], [True, False], [True, True]])
    found = softmax_loss(positive, negative, mask, mask.sum(1), torch.tensor([5, 5, 6]))
    first, second = math.log(2 * math.e + 1) - 1, math.log(2)
    assert found.value.item() == pytest.approx(((first + second) / 2 + math.log(3)) / 2)


def test_a_draw_of_negatives_stands_for_all_of_them() -> None:
    """Three of nine: each counts three times. With equal scores that is the whole softmax exactly."""
    mask = torch.ones(1, 3, dtype=torch.bool)
    found = softmax_loss(torch.zeros(1), torch.zeros(1, 3), mask, torch.tensor([9]), torch.tensor([0]))
    assert found.value.item() == pytest.approx(math.log(10))


def test_softmax_sign_a_better_triple_lowers_the_loss() -> None:
    positive = torch.tensor([0.2], requires_grad=True)
    mask = torch.ones(1, 1, dtype=torch.bool)
    softmax_loss(positive, torch.zeros(1, 1), mask, mask.sum(1), torch.tensor([0])).value.backward()
    assert positive.grad is not None
    assert positive.grad.item() < 0


def test_complex_product_by_hand() -> None:
    """D = 2: c = 1 + 2i, p = 3 - i, v = 2 + i; c p conj(v) = (5 + 5i)(2 - i) = 15 + 5i."""
    item, prop, value = torch.tensor([1.0, 2.0]), torch.tensor([3.0, -1.0]), torch.tensor([2.0, 1.0])
    assert complex_product(item, prop, value).item() == pytest.approx(15 / math.sqrt(2))


def test_n3_by_hand() -> None:
    """|3 + 4i|^3 = 125 and |0|^3, a mean of 62.5 a vector."""
    vectors = torch.tensor([[3.0, 0.0, 4.0, 0.0]])
    assert n3_penalty(vectors, vectors, vectors, torch.tensor([3])).value.item() == pytest.approx(187.5)


def test_what_is_nearer_is_more_plausible() -> None:
    item, prop, value = torch.tensor([1.0, 2.0]), torch.tensor([1.0, -1.0]), torch.tensor([5.0, -3.0])
    assert plausibility(item, prop, value, LossConfig(norm=2)).item() == pytest.approx(-5 / math.sqrt(2))
    squared = LossConfig(link="softmax", score="transe_squared")
    assert plausibility(item, prop, value, squared).item() == pytest.approx(-25 / 2)
    trilinear = LossConfig(link="softmax", score="complex")
    assert plausibility(item, prop, value, trilinear) == complex_product(item, prop, value)


def test_means_that_go_over_the_same_add_up() -> None:
    both = Mean(torch.tensor(3.0), 2) + 0.5 * Mean(torch.tensor(4.0), 2)
    assert both.value.item() == 2.5
    assert Mean(torch.tensor(0.0), 0).value.item() == 0.0


def _rejected(link: str, own: list[float], others: list[list[float]], mask: torch.Tensor, drawn: list[int]) -> Mean:
    loss = LossConfig(link=link, margin=0.5)  # type: ignore[arg-type]
    item = torch.tensor([4, 4, 7])
    return rejection_loss(torch.tensor(own), torch.tensor(others), mask, torch.tensor(drawn), item, loss)


def test_rejections_by_hand() -> None:
    """Two items, the first with two rejections; the last one's only other value is masked, so that it costs nothing."""
    own, others = [1.0, 0.0, 5.0], [[0.0, 2.0], [1.0, 9.0], [0.0, 0.0]]
    mask = torch.tensor([[True, True], [True, False], [False, False]])
    # relu(1 - 2 + .5) = 0; relu(0 - 1 + .5) = 0: both are a margin behind the best of the others
    assert _rejected("margin", own, others, mask, [2, 1, 0]).value.item() == 0
    # relu(2 - 2 + .5) = .5; relu(1.5 - 1 + .5) = 1: (.5 + 1) / 2, and 0 for the second item
    assert _rejected("margin", [2.0, 1.5, 5.0], others, mask, [2, 1, 0]).value.item() == pytest.approx(0.375)
    # -log(1 - P): P = e / (e + 1 + e^2) and 1 / (1 + e)
    first = -math.log(1 - math.e / (math.e + 1 + math.e**2))
    second = -math.log(1 - 1 / (1 + math.e))
    found = _rejected("softmax", own, others, mask, [2, 1, 0])
    assert found.value.item() == pytest.approx((first + second) / 2 / 2)
    assert found.count == 2


def test_a_draw_of_other_values_stands_for_all_of_them() -> None:
    """Two of eight: each counts four times."""
    mask = torch.ones(3, 2, dtype=torch.bool)
    found = _rejected("softmax", [0.0] * 3, [[0.0, 0.0]] * 3, mask, [8, 8, 8])
    assert found.value.item() == pytest.approx(math.log(9 / 8))


@pytest.mark.parametrize("link", ["margin", "softmax"])
def test_rejections_push_the_rejected_value_away(link: str) -> None:
    own, others = torch.tensor([1.0], requires_grad=True), torch.tensor([[0.9, 0.1]], requires_grad=True)
    mask = torch.ones(1, 2, dtype=torch.bool)
    loss = LossConfig(link=link)  # type: ignore[arg-type]
    rejection_loss(own, others, mask, mask.sum(1), torch.tensor([0]), loss).value.backward()
    assert own.grad is not None
    assert own.grad.item() > 0
    if link == "margin":
        assert others.grad is None
    else:
        assert others.grad is not None
        assert (others.grad < 0).all()
