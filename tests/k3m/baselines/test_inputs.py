"""What the baselines read of a batch, and what their pretraining asks."""

import dataclasses

import numpy as np
import pytest
import torch

from graphstore import Store
from k3m.baselines import pretraining
from k3m.baselines.inputs import KNOWLEDGE, TITLE, Words, soft_positions, visible_matrix, words_of
from k3m.baselines.layers import CrossModalityLayer
from k3m.baselines.model import mismatched, scaled
from k3m.baselines.presets import PRESETS
from k3m.batch import ProductBatch
from k3m.config import Config, LayerSize
from k3m.masking import IGNORED
from k3m.streaming import Stream, learn_tokenizer
from k3m.text import TextTokenizer
from tests.k3m.tasks.conftest import SMALL, catalogue, store_of


@pytest.fixture(scope="module")
def read() -> tuple[Store, TextTokenizer, Config]:
    store = store_of(catalogue())
    config = PRESETS["vilbert_pkg"].config(Config.from_preset("small", SMALL))
    return store, learn_tokenizer(store, config), config


def batch_of(read: tuple[Store, TextTokenizer, Config], items: list[int]) -> ProductBatch:
    store, tokenizer, config = read
    return next(iter(Stream(store, config, tokenizer).evaluation(np.array(items))))


def _large(read: tuple[Store, TextTokenizer, Config]) -> ProductBatch:
    store, tokenizer, config = read
    whole = dataclasses.replace(config, data=dataclasses.replace(config.data, batch_size=40))
    return batch_of((store, tokenizer, whole), list(range(40)))


def test_a_sequence_is_the_title_and_every_triple(read: tuple[Store, TextTokenizer, Config]) -> None:
    store, tokenizer, _ = read
    words, vocabulary = words_of(batch_of(read, [0, 5]), tokenizer.vocabulary), tokenizer.vocabulary
    for row, item in enumerate([0, 5]):
        title = store.item_features([item], ("title",))["title"][0]
        found, names = store.neighbours([item]), store.property_names()
        expected = [vocabulary.cls, *(tokenizer._encoded(title) if title else []), vocabulary.sep]
        told = len(expected)
        for prop, value in zip(found.property, store.value_texts(found.value), strict=True):
            expected += [*tokenizer.pieces(names[prop])[:16], *tokenizer.pieces(value)[:16]]
        assert words.tokens[row][words.mask[row]].tolist() == expected
        assert words.kind[row][words.mask[row]].tolist() == [TITLE] * told + [KNOWLEDGE] * (len(expected) - told)
    assert (words.tokens[~words.mask] == vocabulary.pad).all()
    assert (words.labels == IGNORED).all()


def test_a_pair_is_one_item_behind_the_other(read: tuple[Store, TextTokenizer, Config]) -> None:
    vocabulary, batch = read[1].vocabulary, batch_of(read, [1, 2, 3, 6])
    one, both = words_of(batch, vocabulary), words_of(batch, vocabulary, pairs=True)
    for pair in range(2):
        rows = [one.tokens[row][one.mask[row]].tolist() for row in (2 * pair, 2 * pair + 1)]
        assert both.tokens[pair][both.mask[pair]].tolist() == rows[0] + rows[1]
        assert both.side[pair][both.mask[pair]].tolist() == [0] * len(rows[0]) + [1] * len(rows[1])


def test_what_is_too_long_is_cut_and_said(read: tuple[Store, TextTokenizer, Config]) -> None:
    with pytest.warns(UserWarning, match="are cut to 8"):
        assert words_of(batch_of(read, [1, 2]), read[1].vocabulary, longest=8).tokens.shape == (2, 8)


def test_half_of_the_photographs_are_another_item_s(read: tuple[Store, TextTokenizer, Config]) -> None:
    batch = _large(read)
    image = torch.arange(40.0)[:, None, None].expand(40, 3, 2)
    torch.manual_seed(0)
    found, _, matches = mismatched(batch, image, torch.ones(40, 3, dtype=torch.bool))
    kept = found[:, 0, 0] == torch.arange(40)
    assert torch.equal(kept, matches)
    assert 5 < int((~matches).sum()) < 25  # of 29 that have a title and a photograph
    assert (batch.has_title & batch.photographs.present)[~matches].all()


def test_a_branch_goes_on_from_the_item_and_sees_itself_and_the_item(
    read: tuple[Store, TextTokenizer, Config],
) -> None:
    """[CLS] red [SEP] | p v | p v w, and padding."""
    vocabulary = read[1].vocabulary
    triple = torch.tensor([[-1, -1, -1, 0, 1, 2, 3, 3, -1]])
    tokens = torch.tensor([[vocabulary.cls, 9, vocabulary.sep, 10, 11, 10, 12, 13, vocabulary.pad]])
    mask, none = tokens != vocabulary.pad, torch.zeros_like(tokens)
    words = Words(tokens, mask, torch.where(triple >= 0, KNOWLEDGE, TITLE), none, triple, none)
    assert soft_positions(words)[0, :8].tolist() == [0, 1, 2, 1, 2, 1, 2, 3]
    seen = visible_matrix(words, vocabulary)[0]
    assert seen[0].tolist() == [True] * 8 + [False]
    assert seen[1].tolist() == [True] * 3 + [False] * 6
    assert seen[3].tolist() == [True, False, False, True, True, False, False, False, False]
    assert seen[6].tolist() == [True, False, False, False, False, True, True, True, False]


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_objective_is_asked_and_trains_the_whole_model(
    name: str, read: tuple[Store, TextTokenizer, Config]
) -> None:
    store, tokenizer, _ = read
    encoder, _ = pretraining.fresh(name, store, settings=[*SMALL, "data.batch_size=40"])
    batch = next(iter(pretraining.WholeStream(store, encoder.config, tokenizer).training(0)))
    assert len(batch.hidden_item) == 0
    torch.manual_seed(1)
    found: dict[str, list[int]] = {}
    for _ in range(4 if encoder.preset.one_masked else 1):
        parts = encoder.objectives(batch)
        torch.stack([part.value for part in parts.values()]).sum().backward()
        for objective, part in parts.items():
            found.setdefault(objective, []).append(part.count)
            assert torch.isfinite(part.value)
    assert set(found) == set(encoder.preset.objectives)
    assert all(max(counts) > 0 for counts in found.values())
    unused = [part for part, weights in encoder.named_parameters() if weights.grad is None]
    assert not [part for part in unused if "side" not in part]


def test_lxmert_s_two_directions_share_their_weights() -> None:
    layer = CrossModalityLayer(LayerSize(8, 2, 16), LayerSize(8, 2, 16), 0.0).eval()
    x, y = torch.randn(2, 3, 8), torch.randn(2, 3, 8)
    mask = torch.ones(2, 3, dtype=torch.bool)
    layer.image, layer.norm_image = layer.text, layer.norm_text
    there, back = layer(x, mask, y, mask), layer(y, mask, x, mask)
    assert torch.allclose(there[0], back[1], atol=1e-6)


def test_layers_are_the_paper_s_at_its_size_and_a_third_of_them_in_a_small_model() -> None:
    small = Config.from_preset("small")
    paper = dataclasses.replace(small, text=dataclasses.replace(small.text, layers=12))
    assert [scaled(layers, paper) for layers in (9, 5, 0)] == [9, 5, 0]
    assert [scaled(layers, small) for layers in (9, 5, 12, 0)] == [3, 2, 4, 0]


@pytest.mark.slow
def test_a_text_model_may_be_a_pretrained_encoder_alone(read: tuple[Store, TextTokenizer, Config]) -> None:
    from tests.k3m.test_text_encoders import MINILM

    own = ["text.front=pretrained", f"text.checkpoint={MINILM}", "model.width=384"]
    encoder, tokenizer = pretraining.fresh("text_pkg", read[0], settings=[*SMALL, *own])
    assert encoder.longest == 512
    assert len(encoder.old()) > 50
    batch = next(iter(Stream(read[0], encoder.config, tokenizer).evaluation(np.array([1, 2]))))
    words = words_of(batch, tokenizer.vocabulary)
    with torch.no_grad():
        encoder.eval()
        states = encoder.text_encoder(words.tokens)
        expected = states[:, 0] + encoder.kind.weight[0] + encoder.side.weight[0] + encoder.mixer.kind.weight[0]  # type: ignore[union-attr, index]
        assert torch.allclose(encoder.encode(batch), expected, atol=1e-5)
