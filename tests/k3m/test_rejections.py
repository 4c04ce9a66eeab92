"""What people rejected: as ordinals, among the batch's strings, and in what the model learns."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import graphstore
from k3m.batch import ProductBatch
from k3m.config import Config
from k3m.model import K3M
from k3m.negatives import CandidateOrdinals
from k3m.predictor import ModelPredictor
from k3m.rejections import Rejections, others_of
from k3m.sampler import Triples
from k3m.streaming import Stream, learn_tokenizer
from k3m.text import OF
from tests.catalogues import tiny_catalogue
from tests.k3m.conftest import TINY

REJECTED = pd.DataFrame(
    [
        ("item-7", "size", "XL"),
        ("item-0", "fabric", "wool"),
        ("item-0", "fabric", "no candidate"),
        ("item-7", "size", "S"),
    ],
    columns=["item", "property", "value"],
)


SIZES = ("model.feed_forward=64", "text.title_tokens=36")
"""Not the preset's: what ten steps teach depends on them."""


def _stream(config: Config, n_items: int = 40) -> Stream:
    tables = tiny_catalogue(n_items)
    store = graphstore.from_tables(tables.items, tables.triples, images=tables.images, rejections=REJECTED)
    return Stream(store, config, learn_tokenizer(store, config), rejections=Rejections.from_store(store))


def _config(*more: str) -> Config:
    return Config.from_preset("small", [*TINY, *SIZES, "loss.rejected=1.0", "data.batch_size=40", *more])


def _rows(batch: ProductBatch, stream: Stream, texts: list[str]) -> list[int]:
    """Rows of the batch's strings."""
    tokens = stream.tokenizer.strings(texts, 16)
    pad = stream.tokenizer.vocabulary.pad
    wide = np.full((len(texts), batch.strings.shape[1]), pad)
    wide[:, : tokens.shape[1]] = tokens
    return [batch.strings.tolist().index(row) for row in wide.tolist()]


def test_a_run_keeps_its_rejections(tmp_path: Path) -> None:
    assert Rejections.of_run(tmp_path) is None
    Rejections(REJECTED).save(tmp_path)
    held = Rejections.of_run(tmp_path)
    assert held is not None
    assert held.table["value"].tolist() == ["no candidate", "wool", "S", "XL"]


def test_rejections_of_a_batch_are_those_of_its_items() -> None:
    stream = _stream(_config())
    assert stream.rejected is not None
    assert len(stream.rejected) == 3  # "no candidate" is none
    asked = stream.store.item_ords(["item-7", "item-1", "item-0", "item-7"])
    found = stream.rejected.of(asked)
    names, values = stream.property_names, np.unique(stream.candidates.table["value"].to_numpy(dtype=object))
    told = list(zip(found.item.tolist(), names[found.property], values[found.value], strict=True))
    sizes = [(row, "size", value) for row in (0, 3) for value in ("S", "XL")]
    assert told == [*sizes[:2], (2, "fabric", "wool"), *sizes[2:]]


def test_other_values_are_the_property_s_less_what_was_rejected() -> None:
    """Of five sizes two were rejected; of two drawn, each stands for a part of the other three."""
    table = pd.DataFrame({"property": "size", "value": list("abcde"), "count": 1})
    candidates = CandidateOrdinals.from_table(table)
    rejected = Triples(np.zeros(2, int), np.zeros(2, int), np.array([1, 3]), np.full(2, -1))
    keys = np.array([11], dtype=np.uint64)
    values, mask, drawn_from = others_of(rejected, candidates, keys, 16)
    assert [values[row][mask[row]].tolist() for row in (0, 1)] == [[0, 2, 4]] * 2
    assert drawn_from.tolist() == [3, 3]
    values, mask, drawn_from = others_of(rejected, candidates, keys, 4)
    assert set(values[mask].tolist()) <= {0, 2, 4}
    assert drawn_from.tolist() == [3, 3]
    nothing = others_of(rejected[np.zeros(2, dtype=bool)], candidates, keys, 4)
    assert [part.shape for part in nothing] == [(0, 4), (0, 4), (0,)]


def test_the_batch_names_the_rejected_and_the_other_values() -> None:
    stream = _stream(_config())
    batch = next(iter(stream.training(epoch=0)))
    assert batch.rejected_item is not None
    assert batch.rejected_value is not None
    assert batch.rejected_others is not None
    assert batch.rejected_others_mask is not None
    ids = stream.store.item_ids(batch.item.numpy())
    told = {(ids[row], value) for row, value in zip(batch.rejected_item, batch.rejected_value.tolist(), strict=True)}
    wool, small, large = _rows(batch, stream, [f"fabric{OF}wool", f"size{OF}S", f"size{OF}XL"])
    assert told == {("item-0", wool), ("item-7", small), ("item-7", large)}
    place = batch.rejected_value.tolist().index(wool)
    others = batch.rejected_others[place][batch.rejected_others_mask[place]].tolist()
    assert sorted(others) == sorted(_rows(batch, stream, [f"fabric{OF}cotton", f"fabric{OF}linen"]))
    assert next(iter(stream.evaluation(batch.item.numpy()))).rejected_item is None


def test_the_same_batch_without_rejections_is_no_other() -> None:
    config = _config()
    stream = _stream(config)
    one = next(iter(stream.training(epoch=0)))
    two = next(iter(Stream(stream.store, config, stream.tokenizer).training(epoch=0)))
    assert two.rejected_item is None
    for name in ("title", "triple_value", "hidden_value", "negative_values", "negative_items"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name
    assert torch.equal(one.strings[: len(two.strings), : two.strings.shape[1]], two.strings)


@pytest.mark.parametrize(
    "link", [(), ("loss.link=softmax", "loss.temperature=0.2"), ("loss.leave_one_out=true",)], ids=str
)
def test_training_with_rejections_lowers_the_rejected_value(link: tuple[str, ...]) -> None:
    """Behind the best of the other values, beside the same training without it."""
    ahead = {}
    for weight in (0.0, 30.0):
        config = _config(*link, f"loss.rejected={weight}", "loss.mlm=0.0", "loss.mom=0.0")
        stream = _stream(config, 10)
        torch.manual_seed(0)
        model = K3M(config, stream.tokenizer.vocabulary)
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for epoch in range(10):
            loss = model.losses(next(iter(stream.training(epoch))))["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        predictor = ModelPredictor.of(model, stream, ["item-0"])
        scores = predictor.score("fabric", ["item-0"])[0]
        wool = stream.candidates.of("fabric").tolist().index("wool")
        ahead[weight] = scores[wool] - np.delete(scores, wool).max()
    assert ahead[30.0] < ahead[0.0]
    assert ahead[30.0] < 0
