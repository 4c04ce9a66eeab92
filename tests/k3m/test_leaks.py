"""What is asked changes nothing of what is seen: through store, sampler, batch and model, at two hops with fan-outs
below the degrees."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

import graphstore
from k3m.batch import ProductBatch
from k3m.config import Config
from k3m.model import K3M
from k3m.streaming import Stream, learn_tokenizer
from k3m.text import TextTokenizer
from tests.catalogues import Tables, tiny_catalogue
from tests.k3m.conftest import TINY

TWO_HOPS = ("model.shared_values=true", "data.fan_out=[2, 2]", "data.batch_size=40", "loss.hide=0.3")


def _settings(*more: str) -> Config:
    return Config.from_preset("small", [*TINY, *more])


def _stream(tables: Tables, config: Config, tokenizer: TextTokenizer | None = None) -> Stream:
    store = graphstore.from_tables(tables.items, tables.triples, images=tables.images)
    return Stream(store, config, tokenizer or learn_tokenizer(store, config))


def _seen(model: K3M, batch: ProductBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """c*, and the two objectives that are not asked for triples."""
    with torch.no_grad():
        parts = model.eval().objectives(batch)
        return model(batch).item, parts["mlm"].value, parts["mom"].value


@pytest.mark.parametrize("knowledge", ["strings", "sequence"])
def test_a_hidden_value_changes_no_vector_and_no_other_objective(knowledge: str) -> None:
    tables, config = tiny_catalogue(), _settings(*TWO_HOPS, f"text.knowledge={knowledge}")
    stream = _stream(tables, config)
    torch.manual_seed(0)
    model = K3M(config, stream.tokenizer.vocabulary)
    batch = next(iter(stream.training(epoch=0)))
    before, changed = _seen(model, batch), 0
    ids, sizes = stream.store.item_ids(batch.item.numpy()), tables.triples["property"] == "size"
    for item in ids[np.unique(batch.hidden_item.numpy())]:
        row = sizes & (tables.triples["item"] == item) & tables.triples["split"].isna()
        for value in ("S", "XL"):
            changed_triples = tables.triples.assign(value=tables.triples["value"].where(~row, value))
            if row.sum() != 1 or changed_triples.equals(tables.triples) or not _hidden(stream, batch, item, "size"):
                continue
            other = _stream(dataclasses.replace(tables, triples=changed_triples), config, stream.tokenizer)
            after = _seen(model, next(iter(other.training(epoch=0))))
            assert all(torch.allclose(one, two, atol=1e-6) for one, two in zip(before, after, strict=True))
            changed += 1
    assert changed >= 5


def _hidden(stream: Stream, batch: ProductBatch, item: str, prop: str) -> bool:
    row = stream.store.item_ids(batch.item.numpy()).tolist().index(item)
    asked = batch.strings[batch.hidden_property[batch.hidden_item == row]]
    name = stream.tokenizer.strings([prop], 16)[0]
    return any(tokens[: len(name)].tolist() == name.tolist() for tokens in asked)


def test_a_kept_back_triple_changes_nothing_at_all() -> None:
    """Another value for every triple that has a split; what training reads is the same to the bit."""
    tables, config = tiny_catalogue(), _settings(*TWO_HOPS, "loss.leave_one_out=false")
    kept = tables.triples["split"].notna()
    other = tables.triples.assign(value=tables.triples["value"].where(~kept, "something else"))
    other = other.drop_duplicates(["item", "property", "value"], ignore_index=True)
    streams = [_stream(tables, config), _stream(dataclasses.replace(tables, triples=other), config)]
    torch.manual_seed(0)
    model = K3M(config, streams[0].tokenizer.vocabulary)
    one, two = (_seen(model, next(iter(stream.training(epoch=0)))) for stream in streams)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("hops", [(), ("model.shared_values=true", "data.fan_out=[64, 64]")], ids=["one", "two"])
def test_leaving_a_triple_out_sees_nothing_of_it(hops: tuple[str, ...]) -> None:
    """Of one hop or two: c* asked for a triple is the same whatever its value, and whoever shares it."""
    config = _settings("loss.leave_one_out=true", "data.batch_size=40", *hops)
    tables = tiny_catalogue()
    stream = _stream(tables, config)
    torch.manual_seed(0)
    model = K3M(config, stream.tokenizer.vocabulary).eval()
    batch = next(iter(stream.training(epoch=0)))
    asked = int((batch.hidden_property == _row_of(batch, stream, "size")).nonzero()[3])
    row, sizes = int(batch.hidden_item[asked]), tables.triples["property"] == "size"
    item = stream.store.item_ids(batch.item.numpy())[row]
    place = sizes & (tables.triples["item"] == item)
    other_value = "XL" if tables.triples.loc[place, "value"].item() != "XL" else "S"
    changed = tables.triples.assign(value=tables.triples["value"].where(~place, other_value))
    other = next(
        iter(_stream(dataclasses.replace(tables, triples=changed), config, stream.tokenizer).training(epoch=0))
    )
    with torch.no_grad():
        first, second = (model._asking(of, model(of)) for of in (batch, other))
    own = (batch.hidden_item == row).nonzero()[:, 0]
    assert torch.allclose(first[asked], second[asked], atol=1e-5)
    rest = [edge for edge in own.tolist() if edge != asked]
    assert not torch.allclose(first[rest], second[rest], atol=1e-5)  # the item's other triples do see it


def _row_of(batch: ProductBatch, stream: Stream, prop: str) -> int:
    name = stream.tokenizer.strings([prop], 16)[0].tolist()
    padded = name + [stream.tokenizer.vocabulary.pad] * (batch.strings.shape[1] - len(name))
    return batch.strings.tolist().index(padded)


def test_shuffling_an_item_s_triples_changes_nothing() -> None:
    config, tables = _settings(), tiny_catalogue()
    shuffled = tables.triples.sample(frac=1.0, random_state=0, ignore_index=True)
    torch.manual_seed(0)
    first = _stream(tables, config)
    second = _stream(dataclasses.replace(tables, triples=shuffled), config, first.tokenizer)
    model = K3M(config, first.tokenizer.vocabulary).eval()
    one, two = (next(iter(stream.evaluation(np.arange(40)))) for stream in (first, second))
    with torch.no_grad():
        assert torch.equal(model(one).item, model(two).item)


def test_triples_that_are_not_shown_are_asked_of_what_is_left() -> None:
    config = _settings("loss.leave_one_out=true", "corrupt.drop_graph=1.0", "data.batch_size=40")
    stream = _stream(tiny_catalogue(), config)
    torch.manual_seed(0)
    model = K3M(config, stream.tokenizer.vocabulary).eval()
    batch = next(iter(stream.training(epoch=0)))
    assert batch.hidden_edge is not None
    unseen = batch.hidden_edge < 0
    assert 0 < unseen.sum() < len(unseen) == stream.store.num_training_triples
    assert len(batch.triple_item) == int((~unseen).sum())
    with torch.no_grad():
        out = model(batch)
        asking = model._asking(batch, out)
    assert torch.equal(asking[unseen], out.item[batch.hidden_item[unseen]])
    assert not torch.allclose(asking[~unseen], out.item[batch.hidden_item[~unseen]], atol=1e-5)


def test_a_cold_item_is_informed_by_those_that_share_its_values() -> None:
    """Its vector follows the titles of others, which is what the second hop is for; without it, it does not."""
    tables = tiny_catalogue()
    colour = tables.triples[(tables.triples["property"] == "colour") & tables.triples["split"].isna()]
    cold, friend = colour[colour["value"] == "red"]["item"].tolist()[:2]
    titles = tables.items["title"].where(tables.items["id"] != friend, "another title altogether 围巾")
    other = dataclasses.replace(tables, items=tables.items.assign(title=titles))
    for hops, follows in ((("model.shared_values=true", "data.fan_out=[64, 64]"), True), ((), False)):
        config = _settings(*hops)
        torch.manual_seed(0)
        stream = _stream(tables, config)
        model = K3M(config, stream.tokenizer.vocabulary).eval()
        row = stream.store.item_ords([cold])
        batches = (next(iter(of.evaluation(row))) for of in (stream, _stream(other, config, stream.tokenizer)))
        with torch.no_grad():
            one, two = (model(batch).item for batch in batches)
        assert torch.equal(one, two) != follows


def test_frame_of_values_is_what_the_tests_above_change() -> None:
    """The catalogue has one size an item, and several values to change it to."""
    sizes = tiny_catalogue().triples.query("property == 'size'")
    assert sizes.groupby("item").size().max() == 1
    assert {"S", "XL"} <= set(pd.unique(sizes["value"]))
