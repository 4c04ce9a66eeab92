import pytest
import torch
from torch.nn.functional import elu, leaky_relu

from k3m.aggregation import ItemInitialisation, StructureAggregation


def _graph() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    items, strings = torch.randn(4, 6, generator=generator), torch.randn(5, 6, generator=generator)
    triple_item = torch.tensor([0, 0, 0, 2, 3, 3])
    return items, strings, triple_item, torch.tensor([0, 1, 0, 1, 0, 1]), torch.tensor([2, 3, 4, 2, 3, 3])


def _aggregated(layer: StructureAggregation, items: torch.Tensor, *graph: torch.Tensor) -> torch.Tensor:
    return layer(items, layer.score(items, *graph))


def _left_out(layer: StructureAggregation, items: torch.Tensor, *graph: torch.Tensor) -> torch.Tensor:
    return layer.leave_one_out(items, layer.score(items, *graph))


def test_equals_the_paper_read_item_by_item() -> None:
    items, strings, triple_item, prop, value = _graph()
    layer = StructureAggregation(6, heads=3)
    expected = []
    for row, c in enumerate(items):
        heads = []
        for head in range(3):
            part = slice(head * 6, head * 6 + 6)
            t = [
                layer.w1_item.weight[part] @ c
                + layer.w1_item.bias[part]
                + layer.w1_property.weight[part] @ strings[prop[x]]
                + layer.w1_value.weight[part] @ strings[value[x]]
                for x in (triple_item == row).nonzero().flatten()
            ]
            b = torch.stack([leaky_relu(layer.w2[head] @ t_x, 0.2) for t_x in t]) if t else torch.empty(0)
            heads.append(sum((a * t_x for a, t_x in zip(b.softmax(0), t, strict=True)), torch.zeros(6)))
        expected.append(layer.w3(c) + elu(torch.stack(heads).mean(0)))
    found = _aggregated(layer, items, strings, triple_item, prop, value)
    assert torch.allclose(found, torch.stack(expected), atol=1e-6)  # fp32, sums in another order


def test_order_of_triples_and_batch_mates_change_nothing() -> None:
    items, strings, triple_item, prop, value = _graph()
    layer = StructureAggregation(6, heads=8)
    whole = _aggregated(layer, items, strings, triple_item, prop, value)
    shuffled = torch.tensor([2, 0, 1, 3, 5, 4])
    assert torch.allclose(
        _aggregated(layer, items, strings, triple_item, prop[shuffled], value[shuffled]), whole, atol=1e-6
    )
    alone = _aggregated(layer, items[:1], strings, triple_item[:3], prop[:3], value[:3])
    assert torch.allclose(alone, whole[:1], atol=1e-6)


def test_an_item_without_triples_keeps_its_own_vector() -> None:
    items, strings, *_ = _graph()
    layer, none = StructureAggregation(6, heads=2), torch.empty(0, dtype=torch.long)
    assert torch.allclose(_aggregated(layer, items, strings, none, none, none), layer.w3(items))


def test_initialisation_is_the_mean_over_valid_tokens_and_objects_only() -> None:
    layer = ItemInitialisation(2, 2)
    layer.w0.weight.data, layer.w0.bias.data = 2 * torch.eye(2), torch.zeros(2)
    text = torch.tensor([[[1.0, 1.0], [99.0, 99.0]], [[5.0, 5.0], [5.0, 5.0]]])
    image = torch.tensor([[[2.0, 0.0]], [[7.0, 7.0]]])
    c = layer(text, torch.tensor([[True, False], [False, False]]), image, torch.tensor([[True], [False]]))
    # (1, 1) and W0 (2, 0) = (4, 0); the second item has nothing
    assert torch.equal(c, torch.tensor([[2.5, 0.5], [0.0, 0.0]]))


@pytest.mark.parametrize("sharpness", [1.0, 10.0, 100.0, 1000.0])
def test_leave_one_out_equals_really_leaving_out(sharpness: float) -> None:
    """Also where one triple has all of the attention: a bound on what the others have left would tell its value."""
    items, strings, triple_item, prop, value = _graph()
    layer = StructureAggregation(6, heads=3)
    layer.w2.data.mul_(sharpness)
    closed = _left_out(layer, items, strings, triple_item, prop, value)
    for edge in range(len(triple_item)):
        rest = torch.arange(len(triple_item)) != edge
        without = _aggregated(layer, items, strings, triple_item[rest], prop[rest], value[rest])
        assert torch.allclose(closed[edge], without[triple_item[edge]], atol=1e-5)  # fp32, a difference of sums


def test_triples_of_equal_score_leave_one_another() -> None:
    items, strings, triple_item, prop, value = _graph()
    layer = StructureAggregation(6, heads=2)
    layer.w2.data.zero_()
    closed = _left_out(layer, items, strings, triple_item, prop, value)
    without = _aggregated(layer, items, strings, triple_item[1:], prop[1:], value[1:])
    assert torch.allclose(closed[0], without[0], atol=1e-6)


@pytest.mark.parametrize("sharpness", [0.0, 1.0, 200.0])
@pytest.mark.parametrize("bf16", [False, True])
def test_a_left_out_value_changes_nothing_however_sharp_the_attention(sharpness: float, bf16: bool) -> None:
    items, strings, triple_item, prop, value = _graph()
    layer = StructureAggregation(6, heads=3)
    layer.w2.data.mul_(sharpness)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        vectors = [
            _left_out(layer, items, strings, triple_item, prop, torch.tensor([other, *value[1:].tolist()]))[0]
            for other in range(len(strings))
        ]
    assert all(torch.allclose(vector, vectors[0], atol=1e-6) for vector in vectors[1:])


@pytest.mark.parametrize("sharpness", [0.0, 1.0, 10.0, 100.0, 1000.0])
def test_gradients_equal_those_of_really_leaving_out(sharpness: float) -> None:
    items, strings, triple_item, prop, value = _graph()
    layer = StructureAggregation(6, heads=3)
    layer.w2.data.mul_(sharpness)
    weights = torch.randn(6, 6, generator=torch.Generator().manual_seed(1))

    def really(c: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        rests = [torch.arange(6) != edge for edge in range(6)]
        wholes = [_aggregated(layer, c, s, triple_item[rest], prop[rest], value[rest]) for rest in rests]
        return torch.stack([whole[item] for whole, item in zip(wholes, triple_item, strict=True)])

    def closed(c: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        return _left_out(layer, c, s, triple_item, prop, value)

    found = []
    for vectors in (closed, really):
        given = [items.clone().requires_grad_(), strings.clone().requires_grad_(), *layer.parameters()]
        found.append(torch.autograd.grad((vectors(given[0], given[1]) * weights).sum(), given))
    for own, expected in zip(*found, strict=True):
        # fp32 scores in the thousands are exact to a few 1e-4
        assert torch.allclose(own, expected, rtol=1e-3, atol=1e-3 * max(1.0, expected.abs().max().item()))
