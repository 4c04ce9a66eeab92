"""VideoBERT's visual words and PKGM's service vectors."""

import dataclasses

import numpy as np
import pytest
import torch

from graphstore import Store
from k3m.baselines import pretraining
from k3m.baselines.model import Baseline
from k3m.baselines.visual_words import VisualWordFront, cells, hierarchical
from k3m.batch import ProductBatch
from k3m.streaming import Stream
from k3m.tasks import models
from k3m.tasks.neural import NeuralTuned
from tests.k3m.tasks.conftest import QUICK, SMALL, catalogue, questions, store_of

Made = tuple[Baseline, ProductBatch]


@pytest.fixture(scope="module")
def made() -> dict[str, Made]:
    store, found = store_of(catalogue()), {}
    for name in ("videobert", "pkgm"):
        encoder, tokenizer = pretraining.fresh(name, store, settings=SMALL)
        batch = next(iter(Stream(store, encoder.config, tokenizer).evaluation(np.arange(8))))
        found[name] = encoder.eval(), batch
    return found


def test_words_are_centres_within_clusters() -> None:
    patches = np.array([[0.0, 0.0], [0.0, 1.0], [9.0, 0.0], [9.0, 1.0]], dtype=np.float32)
    assert sorted(hierarchical(patches, 2, 0).tolist()) == patches.tolist()
    assert hierarchical(patches[:1], 2, 0).tolist() == [[0.0, 0.0]] * 4


def test_a_patch_is_its_cells_colours() -> None:
    pixels = torch.zeros(1, 3, 8, 16)
    pixels[0, 1, :, 8:] = 2.0
    assert cells(pixels, 8).tolist() == [[[0.0] * 48, [0.0] * 16 + [2.0] * 16 + [0.0] * 16]]


def test_a_masked_word_reaches_no_state(made: dict[str, Made]) -> None:
    encoder, batch = made["videobert"]
    front = encoder.image_encoder.front
    assert isinstance(front, VisualWordFront)
    assert len(front.words(batch.photographs)[batch.photographs.there].unique()) > 1
    zeroed = torch.zeros_like(batch.photographs.there)
    zeroed[:, 0] = True
    pixels = batch.photographs.pixels.clone()
    pixels[:, :, :16, :16] = 1.0
    other = dataclasses.replace(batch.photographs, pixels=pixels)
    there = encoder.image_encoder(batch.photographs, zeroed)[0]
    assert torch.equal(encoder.image_encoder(other, zeroed)[0], there)
    assert not torch.equal(encoder.image_encoder(other, None)[0], encoder.image_encoder(batch.photographs, None)[0])


def test_service_vectors_are_of_the_triples_shown(made: dict[str, Made]) -> None:
    service, batch = made["pkgm"][0].service, made["pkgm"][1]
    vectors = service._vectors(batch.strings)
    own = batch.triple_item == 0
    difference = vectors[batch.triple_value[own]] - vectors[batch.triple_property[own]]
    item = (service.prior + difference.sum(0)) / (1 + len(difference))
    relation = service._vectors(service.relations)[0]
    found, there = service(batch)
    marks = service.module.weight
    assert torch.allclose(found[0, 0], service.norm(item + relation) + marks[0], atol=1e-5)
    exists = service.norm(service.matrices[0] @ item - relation) + marks[1]
    assert torch.allclose(found[0, 10], exists, atol=1e-5)
    assert there[0].tolist() == service._there.tolist() * 2


def test_a_triple_is_asked_of_the_item_without_it(made: dict[str, Made], monkeypatch: pytest.MonkeyPatch) -> None:
    service, batch = made["pkgm"][0].service, made["pkgm"][1]
    asked = []
    monkeypatch.setattr(service, "_triple_loss", lambda _, item: asked.append(item))
    service.losses(batch)
    _, difference = service._items(batch)
    own = torch.nonzero(batch.triple_item == int(batch.triple_item[0]))[:, 0]
    expected = (service.prior + difference[own[1:]].sum(0)) / len(own)
    assert torch.allclose(asked[0][0], expected, atol=1e-5)


def test_no_value_that_the_item_has_stands_for_a_false_one(made: dict[str, Made]) -> None:
    service, batch = made["pkgm"][0].service, made["pkgm"][1]
    assert service._known(batch, batch.triple_value).all()
    one = batch.triple_value[:1].expand_as(batch.triple_value)
    has = {int(i) for i, v in zip(batch.triple_item, batch.triple_value, strict=True) if v == batch.triple_value[0]}
    assert service._known(batch, one).tolist() == [int(i) in has for i in batch.triple_item]


def test_pkgm_never_sees_the_asked_triple() -> None:
    """Of an item whose asked value is changed in the source, no score changes; what is not asked is seen."""
    store, tables = store_of(catalogue()), catalogue()
    data = questions(store)
    tuned = models.tuned_by("pkgm", data, store, QUICK, None, SMALL)
    assert isinstance(tuned, NeuralTuned)
    examples = data.test.take([0])
    item, asked, value = examples.table.loc[examples.table.index[0], ["item", "property", "value"]]
    before = tuned.scores(examples, store)
    assert np.array_equal(tuned.scores(examples, _changed(tables, item, asked, f"not {value}")), before)
    others = tables.triples[(tables.triples["item"] == item) & (tables.triples["property"] != asked)]
    shown = _changed(tables, item, others["property"].iloc[0], "another")
    assert not np.array_equal(tuned.scores(examples, shown), before)


def _changed(tables, item: str, prop: str, value: str) -> Store:  # type: ignore[no-untyped-def]
    rows = (tables.triples["item"] == item) & (tables.triples["property"] == prop)
    triples = tables.triples.assign(value=tables.triples["value"].where(~rows, value))
    return store_of(dataclasses.replace(tables, triples=triples))
