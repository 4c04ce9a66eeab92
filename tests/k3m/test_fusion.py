import pytest
import torch

from k3m.config import Fusion
from k3m.fusion import InitialInteractiveFusion


def _pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 4, generator=generator), torch.randn(2, 3, 4, generator=generator)


def test_mean_and_off() -> None:
    alone, interactive = _pair()
    assert torch.equal(InitialInteractiveFusion(4, "mean")(alone, interactive), (alone + interactive) / 2)
    assert torch.equal(InitialInteractiveFusion(4, "off")(alone, interactive), interactive)


def test_soft_by_hand() -> None:
    fusion = InitialInteractiveFusion(1, "soft")
    for gate, weight in (
        (fusion.gate_alone, [[1.0, 0.0]]),
        (fusion.gate_interactive, [[0.0, 1.0]]),
        (fusion.mix, [[2.0, 3.0]]),
    ):
        gate.weight.data, gate.bias.data = torch.tensor(weight), torch.zeros(1)
    fused = fusion(torch.tensor([[[1.0]]]), torch.tensor([[[-1.0]]]))
    # 2 * sigmoid(1) * 1 + 3 * sigmoid(-1) * -1
    assert fused.item() == pytest.approx(2 * 0.7310586 - 3 * 0.2689414)


def test_hard_takes_one_of_the_two_in_every_dimension() -> None:
    alone, interactive = _pair()
    fusion = InitialInteractiveFusion(4, "hard")
    for mode in (True, False):
        fused = fusion.train(mode)(alone, interactive)
        assert torch.isclose(fused, alone).logical_or(torch.isclose(fused, interactive)).all()


def test_hard_is_the_arg_max_at_evaluation_and_random_in_training() -> None:
    alone, interactive = _pair()
    fusion = InitialInteractiveFusion(4, "hard").eval()
    both = torch.cat([alone, interactive], -1)
    prefers_alone = fusion.gate_alone(both) > fusion.gate_interactive(both)
    assert torch.equal(fusion(alone, interactive), torch.where(prefers_alone, alone, interactive))
    torch.manual_seed(0)
    draws = torch.stack([fusion.train()(alone, interactive) for _ in range(20)])
    assert (draws.std(0) > 0).any()


def test_hard_chooses_with_the_softmax_probability_and_passes_gradient_to_the_gates() -> None:
    fusion = InitialInteractiveFusion(1, "hard").train()
    fusion.gate_alone.weight.data.zero_(), fusion.gate_interactive.weight.data.zero_()
    fusion.gate_alone.bias.data.fill_(1.0), fusion.gate_interactive.bias.data.zero_()
    torch.manual_seed(0)
    fused = fusion(torch.ones(1, 20_000, 1), torch.zeros(1, 20_000, 1))
    assert fused.mean().item() == pytest.approx(torch.sigmoid(torch.tensor(1.0)).item(), abs=0.015)  # 4.7 deviations
    fused.sum().backward()
    assert fusion.gate_alone.bias.grad is not None
    assert fusion.gate_alone.bias.grad.item() > 0


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.fusion must be one of mean, soft, hard, off"):
        InitialInteractiveFusion(4, "glue")  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", ["soft", "hard"])
def test_gates_may_be_told_which_modalities_there_are(variant: Fusion) -> None:
    torch.manual_seed(0)
    fusion = InitialInteractiveFusion(4, variant, modalities=2).eval()
    fusion.gate_presence.weight.data.mul_(100)
    alone, interactive = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    both, image_only = torch.tensor([[1.0, 1.0], [1.0, 1.0]]), torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    one, other = fusion(alone, interactive, both), fusion(alone, interactive, image_only)
    assert torch.equal(one[0], other[0])
    assert not torch.equal(one[1], other[1])


def test_the_share_of_what_was_taken_alone() -> None:
    fusion = InitialInteractiveFusion(2, "hard").eval()
    for gate in (fusion.gate_alone, fusion.gate_interactive):
        gate.weight.data.zero_()
    fusion.gate_alone.bias.data = torch.tensor([1.0, -1.0])  # the first dimension alone, the second not
    fusion.gate_interactive.bias.data.zero_()
    alone, interactive = torch.ones(1, 1, 2), torch.zeros(1, 1, 2)
    assert fusion(alone, interactive).tolist() == [[[1.0, 0.0]]]
    assert fusion.share_alone is not None
    assert fusion.share_alone.item() == 0.5
