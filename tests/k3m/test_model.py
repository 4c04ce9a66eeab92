import dataclasses

import numpy as np
import pytest
import torch

import graphstore
from k3m.batch import ProductBatch
from k3m.config import Config
from k3m.losses import plausibility
from k3m.model import K3M, parameter_counts
from k3m.predictor import ModelPredictor
from k3m.streaming import Stream, learn_tokenizer
from k3m.text import OF
from tests.catalogues import tiny_catalogue
from tests.k3m.conftest import TINY


@pytest.fixture
def model(stream: Stream, config: Config) -> K3M:
    torch.manual_seed(0)
    return K3M(config, stream.tokenizer.vocabulary)


@pytest.fixture
def batch(stream: Stream) -> ProductBatch:
    return next(iter(stream.training(epoch=0)))


def _losses(model: K3M, batch: ProductBatch) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return model.losses(batch)


def test_the_sum_of_the_weighted_losses(model: K3M, batch: ProductBatch) -> None:
    weights = dataclasses.replace(model.config.loss, lpm=2.0, mlm=0.5, mom=0.25)
    model.config = dataclasses.replace(model.config, loss=weights)
    losses = {name: loss.item() for name, loss in _losses(model, batch).items()}
    assert losses["loss"] == pytest.approx(2 * losses["lpm"] + losses["mlm"] / 2 + losses["mom"] / 4, rel=1e-6)
    assert all(losses[name] > 0 for name in ("lpm", "mlm", "mom"))


@pytest.mark.parametrize(
    ("objective", "reaches", "leaves"),
    [
        ("lpm", ("aggregate.w1_item", "initialise.w0", "text_encoder.embedding"), ("mlm_head", "mom_head")),
        (
            "mlm",
            ("mlm_head.transform", "interactor.text", "image_encoder.feature"),
            ("aggregate", "mom_head", "initialise"),
        ),
        (
            "mom",
            ("mom_head.target", "interactor.image", "text_encoder.embedding"),
            ("aggregate", "mlm_head", "initialise"),
        ),
    ],
)
def test_each_objective_trains_its_parts_and_only_those(
    model: K3M, batch: ProductBatch, objective: str, reaches: tuple[str, ...], leaves: tuple[str, ...]
) -> None:
    _losses(model, batch)[objective].backward()
    reached = {
        name for name, parameter in model.named_parameters() if parameter.grad is not None and parameter.grad.any()
    }
    for part in reaches:
        assert any(name.startswith(part) for name in reached), part
    for part in leaves:
        assert not any(name.startswith(part) for name in reached), part


def test_hidden_tails_and_negatives_change_nothing_but_lpm(model: K3M, batch: ProductBatch) -> None:
    """paper.md 2.3, Leak: the asked value reaches neither c* nor the other objectives."""
    assert batch.negative_values is not None
    other = dataclasses.replace(
        batch,
        hidden_value=batch.hidden_value.flip(0),
        hidden_property=batch.hidden_property.flip(0),
        negative_values=batch.negative_values.flip(0),
    )
    before, after = _losses(model, batch), _losses(model, other)
    assert before["mlm"] == after["mlm"]
    assert before["mom"] == after["mom"]
    assert before["lpm"] != after["lpm"]
    model.eval()
    assert torch.equal(model(batch).item, model(other).item)


def test_evaluation_is_deterministic_to_the_bit(model: K3M, stream: Stream) -> None:
    model.eval()
    batch = next(iter(stream.evaluation(np.arange(8))))
    assert torch.equal(model(batch).item, model(batch).item)


def test_batch_mates_change_no_item(model: K3M, stream: Stream) -> None:
    model.eval()
    together = model(next(iter(stream.evaluation(np.arange(8))))).item
    alone = torch.cat([model(next(iter(stream.evaluation(np.array([item]))))).item for item in range(8)])
    assert torch.allclose(together, alone, atol=1e-5)  # fp32, products of other shapes


@pytest.mark.parametrize("without", [("title",), ("image",), ("graph",), ("title", "image", "graph")])
def test_missing_modalities_give_finite_vectors(model: K3M, stream: Stream, without: tuple[str, ...]) -> None:
    model.eval()
    vectors = model(next(iter(stream.evaluation(np.arange(8), without)))).item
    assert vectors.shape == (8, 16)
    assert torch.isfinite(vectors).all()


def test_an_item_with_nothing_at_all_trains(model: K3M, stream: Stream) -> None:
    """A batch of one: no title, no photograph, no triple, nothing masked, nothing hidden."""
    batch = next(iter(stream.evaluation(np.array([0]), without=("title", "image", "graph"))))
    empty = torch.empty(0, dtype=torch.long)
    batch = dataclasses.replace(
        batch,
        title_labels=torch.full_like(batch.title, -100),
        objects_asked=torch.zeros(1, 4, dtype=torch.bool),
        objects_zeroed=torch.zeros(1, 4, dtype=torch.bool),
        values_drawn_from=empty,
        negative_values=empty.view(0, 16),
        negative_values_mask=empty.view(0, 16).bool(),
        negative_items=empty.view(0, 4),
        negative_items_mask=empty.view(0, 4).bool(),
    )
    losses = _losses(model, batch)
    assert [losses[name].item() for name in ("lpm", "mlm", "mom")] == [0.0, 0.0, 0.0]
    losses["loss"].backward()


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["lpm", "mlm", "mom"])
def test_each_objective_alone_overfits_32_items(objective: str) -> None:
    torch.manual_seed(0)
    tables = tiny_catalogue(32)
    store = graphstore.from_tables(tables.items, tables.triples, images=tables.images)
    config = Config.from_preset("small", [*TINY, "model.width=32", "data.batch_size=32"])
    stream = Stream(store, config, learn_tokenizer(store, config))
    [batch] = stream.training(epoch=0)
    assert len(batch.item) == 32
    model = K3M(config, stream.tokenizer.vocabulary)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    first = _losses(model, batch)[objective].item()
    for _ in range(150):
        optimizer.zero_grad()
        _losses(model, batch)[objective].backward()
        optimizer.step()
    assert _losses(model, batch)[objective].item() < 0.2 * first


def test_leave_one_out_asks_for_every_visible_triple_and_sees_none_of_them(stream: Stream, config: Config) -> None:
    config = dataclasses.replace(config, loss=dataclasses.replace(config.loss, leave_one_out=True))
    stream = Stream(stream.store, config, stream.tokenizer)
    model = K3M(config, stream.tokenizer.vocabulary).eval()
    batch = next(iter(stream.training(epoch=0)))
    assert batch.hidden_edge is not None
    assert torch.equal(batch.triple_value[batch.hidden_edge], batch.hidden_value)
    assert len(batch.hidden_item) == len(batch.triple_item) > 20
    before = model._asking(batch, model(batch))
    edge = int(batch.hidden_edge[0])
    other = batch.triple_value.clone()
    other[edge] = (other[edge] + 1) % len(batch.strings)
    changed = dataclasses.replace(batch, triple_value=other)
    after = model._asking(changed, model(changed))
    assert torch.allclose(before[0], after[0], atol=1e-5)  # fp32, a difference of sums
    assert not torch.allclose(before[1], after[1], atol=1e-5)  # the item's next triple does see it


def test_streams_of_different_widths_as_the_paper_has_them(stream: Stream, config: Config) -> None:
    sizes = dataclasses.replace(
        config.model, image_stream=24, image_heads=3, image_feed_forward=20, interaction_width=30, feed_forward=40
    )
    model = K3M(dataclasses.replace(config, model=sizes), stream.tokenizer.vocabulary)
    batch = next(iter(stream.training(epoch=0)))
    out = model(batch)
    assert out.text.shape[-1] == out.item.shape[-1] == 16
    assert out.image.shape[-1] == 24
    _losses(model, batch)["loss"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_items_may_be_wider_than_text(stream: Stream, config: Config) -> None:
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, item_width=40))
    model = K3M(config, stream.tokenizer.vocabulary)
    batch = next(iter(stream.training(epoch=0)))
    out = model(batch)
    assert (out.item.shape[-1], out.strings.shape[-1], out.text.shape[-1]) == (40, 40, 16)
    _losses(model, batch)["loss"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    predictor = ModelPredictor.of(model, stream, stream.store.item_ids(np.arange(3)).tolist())
    assert predictor.items.vectors.shape == (3, 40)
    assert np.isfinite(predictor.score("size", list(predictor.row))).all()


def test_parameters_are_counted_once_each(stream: Stream, config: Config) -> None:
    model = K3M(config, stream.tokenizer.vocabulary)
    counts = parameter_counts(model)
    assert sum(counts.values()) == sum(parameter.numel() for parameter in set(model.parameters()))
    assert (
        counts["mlm_head"] == 16 * 16 + 16 + 2 * 16 + stream.tokenizer.vocabulary.size
    )  # its matrix is the text encoder's


def test_candidates_are_scored_as_they_were_trained(stream: Stream, config: Config) -> None:
    """The true value's score in a predictor is what the softmax took for it, all triples visible in both."""
    loss = dataclasses.replace(config.loss, link="softmax", score="complex", temperature=1.0)
    config = dataclasses.replace(config, loss=loss)
    stream = Stream(stream.store, config, stream.tokenizer)
    model = K3M(config, stream.tokenizer.vocabulary).eval()
    items = stream.store.item_ids(np.arange(8)).tolist()
    predictor = ModelPredictor.of(model, stream, items)
    out = model(next(iter(stream.evaluation(np.arange(8)))))
    values = stream.candidates.of("size").tolist()
    strings = stream.tokenizer.strings(["size", *(f"size{OF}{value}" for value in values)], 16)
    encoded = model.encode_strings(torch.from_numpy(strings))
    expected = plausibility(out.item[:, None], encoded[:1], encoded[None, 1:], loss)
    assert np.allclose(predictor.score("size", items), expected.detach().numpy(), atol=1e-5)
