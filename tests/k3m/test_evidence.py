"""Vectors without a piece of evidence are those of a model that is not shown it."""

import numpy as np
import pytest
import torch

import graphstore
from graphstore import Store
from k3m.config import Config
from k3m.evidence import MODALITIES, Evidence, evidence
from k3m.model import K3M
from k3m.predictor import embed
from k3m.scoring import Items
from k3m.streaming import Stream, learn_tokenizer
from k3m.wide import NONE
from tests.catalogues import tiny_catalogue
from tests.k3m.conftest import TINY


def _stream(store: Store, *settings: str) -> tuple[K3M, Stream]:
    """An untrained model, of which all parts speak, and the store's stream for it."""
    torch.manual_seed(0)
    config = Config.from_preset("small", [*TINY, *settings])
    stream = Stream(store, config, learn_tokenizer(store, config))
    model = K3M(config, stream.tokenizer.vocabulary)
    for parameter in model.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    return model.eval(), stream


def _all(model: K3M, stream: Stream) -> list[Evidence]:
    return list(evidence(model, stream, np.arange(stream.store.num_items)))


VARIANTS = [
    (),
    ("model.fusion=soft", "model.presence=true"),
    ('visible.fields=["category", "price"]', "model.fusion=hard"),
    ("data.fan_out=[64, 4]", "model.shared_values=true"),
    ("loss.link=softmax", "model.wide_bits=12", 'visible.fields=["category"]'),
]


def _read(items: Items) -> list[list[int]] | None:
    """By the wide part, in order; None without one."""
    return None if items.features is None else [sorted(set(row) - {NONE}) for row in items.features.tolist()]


@pytest.mark.parametrize("settings", VARIANTS)
@pytest.mark.parametrize("left_out", MODALITIES)
def test_without_a_modality_vectors_are_those_of_a_stream_without_it(
    store: Store, settings: tuple[str, ...], left_out: str
) -> None:
    model, stream = _stream(store, *settings)
    ords = np.arange(store.num_items)
    whole, ours = embed(model, stream, ords), _all(model, stream)
    found = Items.joined([part.items for part in ours])
    assert torch.equal(found.vectors, whole.vectors)
    assert _read(found) == _read(whole)
    expected, less = embed(model, stream, ords, {left_out}), Items.joined([part.without[left_out] for part in ours])
    assert not torch.allclose(expected.vectors, whole.vectors, atol=1e-3)
    assert torch.allclose(less.vectors, expected.vectors, atol=1e-5)
    assert _read(less) == _read(expected)


@pytest.mark.parametrize("settings", [(), ("loss.link=softmax", "model.wide_bits=12")])
def test_without_a_triple_a_vector_is_that_of_a_store_without_it(settings: tuple[str, ...]) -> None:
    tables = tiny_catalogue()
    training = tables.triples[tables.triples["split"].isna()]
    gone = training[training["item"] == "item-7"].iloc[1]
    less = tables.triples.drop(index=gone.name)
    store, other = (graphstore.from_tables(tables.items, rows, images=tables.images) for rows in (tables.triples, less))
    model, stream = _stream(store, *settings)
    ord = store.item_ords(["item-7"])
    (found,) = evidence(model, stream, ord)
    place = found.triple_names.tolist().index([gone["property"], gone["value"]])
    changed = embed(model, Stream(other, stream.config, stream.tokenizer), other.item_ords(["item-7"]))
    left_out = found.left_out[torch.tensor([place])]
    assert torch.allclose(left_out.vectors, changed.vectors, atol=1e-5)
    assert not torch.allclose(left_out.vectors, found.items.vectors, atol=1e-3)
    assert _read(left_out) == _read(changed)


def test_triples_come_with_their_names_and_say_whether_they_are_facts(store: Store) -> None:
    model, stream = _stream(store, 'visible.fields=["category"]')
    found = _all(model, stream)
    ids = np.concatenate([store.item_ids(part.item)[part.triple_item.numpy()] for part in found])
    names = np.concatenate([part.triple_names for part in found])
    is_fact = torch.cat([part.triple_is_fact for part in found]).numpy()
    facts = store.triples().to_pandas()[["item", "property", "value"]]
    rows = {(item, *name) for item, name in zip(ids[is_fact], names[is_fact], strict=True)}
    assert rows == set(facts.itertuples(index=False, name=None))
    assert set(names[~is_fact, 0]) == {"category"}
    assert len(ids) - is_fact.sum() == store.items(("category",)).to_pandas()["category"].notna().sum()


def test_gates_are_shares_of_items_that_have_both_modalities(store: Store) -> None:
    model, stream = _stream(store, "model.fusion=hard")
    shares = torch.cat([part.title_from_image for part in _all(model, stream) if part.title_from_image is not None])
    shown = store.items(("title", "image")).to_pandas()[["title", "image"]].notna().all(axis=1).to_numpy(copy=True)
    assert torch.isnan(shares).numpy().tolist() == (~shown).tolist()
    assert ((shares[shown] > 0) & (shares[shown] < 1)).all()
    model, stream = _stream(store, "model.fusion=mean")
    assert _all(model, stream)[0].title_from_image is None
