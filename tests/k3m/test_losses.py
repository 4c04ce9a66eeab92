import math

import pytest
import torch

from k3m.losses import distance, margin_loss, masked_language_loss, masked_object_loss


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
    loss = margin_loss(positive, negative, mask, torch.tensor([4, 4, 7]), margin=1.0)
    assert loss.item() == pytest.approx(0.375)


def test_sign_a_better_triple_lowers_the_loss() -> None:
    negative, mask, item = torch.tensor([[1.0]]), torch.ones(1, 1, dtype=torch.bool), torch.tensor([0])
    better, worse = (margin_loss(torch.tensor([d]), negative, mask, item, 1.0) for d in (0.2, 0.8))
    assert better < worse
    positive = torch.tensor([0.8], requires_grad=True)
    margin_loss(positive, negative, mask, item, 1.0).backward()
    assert positive.grad is not None
    assert positive.grad.item() > 0


def test_nothing_hidden_and_nothing_masked_cost_nothing() -> None:
    empty = torch.empty(0, requires_grad=True)
    assert (
        margin_loss(
            empty, torch.empty(0, 3), torch.empty(0, 3, dtype=torch.bool), torch.empty(0, dtype=torch.long), 1.0
        )
        == 0
    )
    assert masked_language_loss(torch.empty(0, 5), torch.empty(0, dtype=torch.long)) == 0
    assert masked_object_loss(torch.empty(0, 768), torch.empty(0, 768)) == 0


def test_a_triple_without_negatives_counts_as_zero() -> None:
    loss = margin_loss(
        torch.tensor([3.0, 1.0]), torch.zeros(2, 1), torch.tensor([[False], [True]]), torch.tensor([0, 1]), 1.0
    )
    assert loss.item() == pytest.approx((0 + 2) / 2)


def test_masked_losses_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.25, 0.75], [0.5, 0.5]]))
    assert masked_language_loss(logits, torch.tensor([1, 0])).item() == pytest.approx(
        -(math.log(0.75) + math.log(0.5)) / 2
    )
    assert masked_object_loss(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0]])).item() == pytest.approx(2.5)
