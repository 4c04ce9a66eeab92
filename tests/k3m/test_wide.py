"""The wide part: what it reads, and that it never reads what is asked."""

import numpy as np
import pytest
import torch

import graphstore
from k3m.config import Config
from k3m.model import K3M
from k3m.predictor import ModelPredictor
from k3m.scoring import Items, Values, scores
from k3m.streaming import Stream, learn_tokenizer
from k3m.text import CLS, MASK, PAD, Vocabulary
from k3m.wide import NONE, WidePart, codes, without_code
from tests.catalogues import tiny_catalogue
from tests.k3m.conftest import TINY

WIDE = (*TINY, "loss.link=softmax", "loss.score=complex", "loss.temperature=1.0", "model.wide_bits=14")


def _stream(*settings: str) -> Stream:
    tables, config = tiny_catalogue(), Config.from_preset("small", [*WIDE, *settings])
    store = graphstore.from_tables(tables.items, tables.triples, images=tables.images)
    return Stream(store, config, learn_tokenizer(store, config))


def _model(stream: Stream) -> K3M:
    torch.manual_seed(0)
    model = K3M(stream.config, stream.tokenizer.vocabulary)
    assert model.wide is not None
    model.wide.weight.data.normal_()
    return model.eval()


def _read(features: torch.Tensor) -> list[list[int]]:
    """Row by row, in order, without what fills up."""
    return [sorted(set(row) - {NONE}) for row in features.tolist()]


def test_a_score_is_the_sum_of_the_weights_of_its_pairs() -> None:
    """Learnt for one pair, a weight counts in each score that has the pair, and in no other."""
    wide = WidePart(16, Vocabulary(100))
    features, values = torch.tensor([[11, 13, NONE], [13, 17, 19]]), torch.tensor([[101, 103], [103, 107]])
    torch.testing.assert_close(wide(features, values), torch.zeros(2, 2))
    wide(torch.tensor([[13]]), torch.tensor([[103]])).backward()
    assert wide.weight.grad is not None
    assert wide.weight.grad.count_nonzero() == 1
    wide.weight.data += 0.5 * wide.weight.grad
    torch.testing.assert_close(wide(features, values), torch.tensor([[0.0, 0.5], [0.5, 0.0]]))


def test_codes_know_order_and_not_padding() -> None:
    strings = torch.tensor([[5, 1, PAD], [2, 2, PAD], [1, 5, PAD], [5, 1, 7], [5, PAD, PAD]])
    found = codes(strings).tolist()
    assert len(set(found)) == 5
    assert codes(strings[:3, :2]).tolist() == found[:3]
    assert codes(torch.tensor([[5, 1]])).tolist() == [2855895134359357475]  # a run's weights are read with it


def test_codes_of_many_strings_do_not_meet() -> None:
    one, two = torch.meshgrid(torch.arange(5, 405), torch.arange(5, 405), indexing="ij")
    assert len(codes(torch.stack([one.flatten(), two.flatten()], dim=1)).unique()) == 160_000


def test_tokens_are_read_as_far_as_they_are_shown() -> None:
    red, mug = (int(codes(torch.tensor([[token]]))) for token in (10, 11))
    title = torch.tensor([[CLS, 10, 11], [CLS, MASK, 11], [CLS, 10, PAD], [CLS, PAD, PAD]])
    assert _read(WidePart(8, Vocabulary(100))._words(title)) == [sorted([red, mug]), [mug], [red], []]


def test_what_is_asked_is_not_read() -> None:
    """By leaving one out: as in a store that lacks the triple."""
    stream = _stream("loss.leave_one_out=true")
    model, batch = _model(stream), next(iter(stream.training(epoch=0)))
    asked, whole = model._asking_features(batch), model.features(batch)
    assert asked is not None
    assert whole is not None
    own = codes(batch.strings)[batch.hidden_value]
    for row, item, code in zip(_read(asked), batch.hidden_item.tolist(), own.tolist(), strict=True):
        assert code not in row
        assert sorted([*row, code]) == _read(whole[item : item + 1])[0]


def test_a_hidden_value_is_no_feature() -> None:
    stream = _stream("loss.hide=0.5")
    model, batch = _model(stream), next(iter(stream.training(epoch=0)))
    features, own = model.features(batch), codes(batch.strings)[batch.hidden_value]
    assert features is not None
    assert len(own) > 8
    assert not (features[batch.hidden_item] == own[:, None]).any()


def test_link_prediction_alone_trains_it() -> None:
    stream = _stream()
    model, batch = _model(stream), next(iter(stream.training(epoch=0)))
    assert model.wide is not None
    objectives = model.objectives(batch)
    for name, reached in (("mlm", False), ("mom", False), ("lpm", True)):
        model.zero_grad()
        objectives[name].value.backward(retain_graph=True)
        assert (model.wide.weight.grad is not None and bool(model.wide.weight.grad.any())) == reached


def test_its_scores_come_on_top_and_batches_change_nothing() -> None:
    """Of a predictor, whose batches are padded to their own lengths, and of items one by one."""
    stream = _stream('visible.fields=["category"]', "data.batch_size=3")
    model, ids = _model(stream), stream.store.item_ids(np.arange(8)).tolist()
    predictor = ModelPredictor.of(model, stream, ids)
    found = predictor.score("size", ids)
    alone = [ModelPredictor.of(model, stream, [item]).score("size", [item]) for item in ids]
    np.testing.assert_allclose(found, np.concatenate(alone), atol=1e-4)
    property, values = predictor.strings("size")
    deep = scores(predictor.items, property, values, stream.config.loss, None).numpy()
    assert model.wide is not None
    assert predictor.items.features is not None
    assert values.codes is not None
    wide = [
        [sum(model.wide(torch.tensor([[f]]), torch.tensor([[code]])).item() for f in row) for code in values.codes]
        for row in map(set, _read(predictor.items.features))
    ]
    repeated = [len(row) - row.count(NONE) - len(set(row) - {NONE}) for row in predictor.items.features.tolist()]
    assert repeated == [0] * 8
    np.testing.assert_allclose(found, deep + np.array(wide), atol=1e-4)


def test_it_learns_what_no_vector_holds() -> None:
    """A value for each of 200 words, drawn at random: the weights tell it after a few steps."""
    generator = torch.Generator().manual_seed(0)
    wide, words = WidePart(18, Vocabulary(300)), codes(torch.arange(5, 205)[:, None])[:, None]
    values = codes(torch.arange(205, 245)[:, None]).expand(200, 40)
    true = torch.randint(40, (200,), generator=generator)
    optimizer = torch.optim.Adam(wide.parameters(), lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(wide(words, values), true).backward()
        optimizer.step()
    assert (wide(words, values).argmax(1) == true).all()


def test_items_are_joined_at_their_longest() -> None:
    short = Items(torch.zeros(1, 2), torch.tensor([[3]]))
    long = Items(torch.ones(2, 2), torch.tensor([[4, 5], [6, NONE]]))
    joined = Items.joined([short, long])
    assert joined.features is not None
    assert joined.features.tolist() == [[3, NONE], [4, 5], [6, NONE]]
    assert without_code(joined.features, torch.tensor([3, 5, 5])).tolist() == [[NONE, NONE], [4, NONE], [6, NONE]]
    assert Items.joined([Items(torch.zeros(1, 2), None)]).features is None


def test_the_same_values_or_each_item_its_own() -> None:
    wide, loss = WidePart(10, Vocabulary(300)), Config.from_preset("small", WIDE).loss
    wide.weight.data.normal_()
    items = Items(torch.randn(3, 4), torch.tensor([[3], [5], [7]]))
    values, property = Values(torch.randn(6, 4), torch.arange(6)), torch.randn(1, 4)
    same = scores(items, property, values, loss, wide)
    rows = torch.tensor([[0, 1], [2, 3], [4, 5]])
    torch.testing.assert_close(scores(items, property, values[rows], loss, wide), same.gather(1, rows))


def test_a_distance_has_no_place_for_it() -> None:
    with pytest.raises(ValueError, match=r"model\.wide_bits needs loss\.link = softmax"):
        Config.from_preset("small", [*TINY, "model.wide_bits=14"])
