import numpy as np
import pandas as pd
import pytest
import torch

from k3m.batch import ProductBatch
from k3m.config import Config
from k3m.model import K3M
from k3m.negatives import CandidateOrdinals
from k3m.sampler import Triples, TripleSampler
from k3m.streaming import Stream
from k3m.text import PAD, SEP


def _strings(batch: ProductBatch, stream: Stream, rows: torch.Tensor) -> list[str]:
    return [
        stream.tokenizer.tokenizer.decode(_own([t for t in batch.strings[row].tolist() if t != PAD]))
        for row in rows.flatten()
    ]


def _own(tokens: list[int]) -> list[int]:
    """What stands behind the [SEP] of a value, or all of a property."""
    return tokens[tokens.index(SEP) + 1 :] if SEP in tokens else tokens


def _plain(stream: Stream, texts: np.ndarray) -> list[str]:
    """The texts as the tokenizer gives them back."""
    return [stream.tokenizer.tokenizer.decode(stream.tokenizer.pieces(text)) for text in texts]


def test_each_string_is_there_once_and_the_indices_point_at_the_right_ones(stream: Stream) -> None:
    batch = next(iter(stream.training(epoch=0)))
    assert len({tuple(row) for row in batch.strings.tolist()}) <= len(batch.strings)
    sampler = TripleSampler(stream.store, seed=0, epoch=0, hide=stream.config.loss.hide)
    subgraph, _ = sampler.subgraph(batch.item.numpy())
    names, values = (
        np.array(stream.store.property_names(), dtype=object),
        stream.store.value_texts(np.arange(stream.store.num_values)),
    )
    assert _strings(batch, stream, batch.triple_property) == _plain(stream, names[subgraph.visible.property])
    assert _strings(batch, stream, batch.triple_value) == _plain(stream, values[subgraph.visible.value])
    assert _strings(batch, stream, batch.hidden_property) == _plain(stream, names[subgraph.hidden.property])
    assert _strings(batch, stream, batch.hidden_value) == _plain(stream, values[subgraph.hidden.value])


def test_negatives_are_candidates_of_the_property_and_no_training_triple(stream: Stream) -> None:
    training = set(stream.store.triples().to_pandas()[["item", "property", "value"]].itertuples(index=False, name=None))
    plain = {(item, *_plain(stream, np.array([p, v], dtype=object))) for item, p, v in training}
    candidates = {p: set(_plain(stream, stream.candidates.of(p))) for p in stream.candidates.properties}
    of_plain = {_plain(stream, np.array([p], dtype=object))[0]: values for p, values in candidates.items()}
    checked = 0
    for batch in stream.training(epoch=0):
        items = stream.store.item_ids(batch.item.numpy())
        props, values = (_strings(batch, stream, rows) for rows in (batch.hidden_property, batch.hidden_value))
        for q in range(len(batch.hidden_item)):
            own = items[batch.hidden_item[q]]
            for value in _strings(batch, stream, batch.negative_values[q][batch.negative_values_mask[q]]):
                assert value in of_plain[props[q]]
                assert (own, props[q], value) not in plain
                checked += 1
            for other in batch.negative_items[q][batch.negative_items_mask[q]]:
                assert (items[other], props[q], values[q]) not in plain
                checked += 1
    assert checked > 100


def test_no_draw_is_lost_where_the_candidates_are_few(stream: Stream) -> None:
    """With K or fewer candidates, every one that is no training triple of the item is a negative, once."""
    for batch in stream.training(epoch=0):
        for q, prop in enumerate(_strings(batch, stream, batch.hidden_property)):
            name = next(
                p for p in stream.candidates.properties if _plain(stream, np.array([p], dtype=object)) == [prop]
            )
            drawn = batch.negative_values[q][batch.negative_values_mask[q]]
            if len(stream.candidates.of(name)) <= stream.config.loss.value_negatives:
                assert len(set(drawn.tolist())) == len(drawn) <= len(stream.candidates.of(name)) - 1


def test_visible_fields_become_visible_triples(stream: Stream, config: Config) -> None:
    plain = next(iter(stream.evaluation(np.arange(8))))
    with_category = Config.from_dict({"visible": {"fields": ["category"]}, "image": {"height": 32, "width": 32}})
    batch = next(iter(Stream(stream.store, with_category, stream.tokenizer).evaluation(np.arange(8))))
    categories = stream.store.item_features(np.arange(8), ("category",))["category"]
    assert len(batch.triple_item) - len(plain.triple_item) == sum(category is not None for category in categories) > 0
    assert (batch.triple_item.diff() >= 0).all()


def test_leaving_a_modality_out(stream: Stream) -> None:
    batch = next(iter(stream.evaluation(np.arange(8), without=("title", "image", "graph"))))
    assert not batch.has_title.any()
    assert not batch.photographs.present.any()
    assert len(batch.triple_item) == 0


def test_weights_of_triples_by_hand() -> None:
    """Two properties of 9 and 1 training triples: by the root, 1/3 and 1, which are 4/10 on average."""
    table = pd.DataFrame({"property": ["a", "a", "b"], "value": ["x", "y", "x"], "count": [4, 5, 1]})
    candidates = CandidateOrdinals.from_table(table)
    hidden = Triples(
        item=np.zeros(3, int), property=np.array([0, 1, 0]), value=np.zeros(3, int), edge_id=np.zeros(3, int)
    )
    np.testing.assert_allclose(candidates.weights(hidden, 0.5), [1 / 1.2, 3 / 1.2, 1 / 1.2], rtol=1e-6)
    np.testing.assert_allclose(candidates.weights(hidden, 1.0), [10 / 18, 5, 10 / 18], rtol=1e-6)


def test_rare_properties_count_more_where_that_is_asked_for(stream: Stream) -> None:
    settings = {"image": {"height": 32, "width": 32}, "loss": {"balance": 0.5}, "data": {"batch_size": 8}}
    balanced = Stream(stream.store, Config.from_dict(settings), stream.tokenizer)
    weight, prop = [], []
    for batch in balanced.training(epoch=0):
        assert batch.hidden_weight is not None
        weight += batch.hidden_weight.tolist()
        prop += _strings(batch, stream, batch.hidden_property)
    of_property = pd.DataFrame({"weight": weight, "property": prop}).groupby("property")["weight"].agg(["min", "max"])
    assert (of_property["min"] == of_property["max"]).all()
    counts = stream.candidates.table.groupby("property")["count"].sum().to_dict()
    rare, common = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    of_rare, of_common = of_property["min"].loc[_plain(stream, np.array([rare, common]))]
    assert of_rare / of_common == pytest.approx((counts[common] / counts[rare]) ** 0.5)


@pytest.mark.parametrize("leave_one_out", [True, False])
def test_modalities_that_a_run_never_sees_and_triples_that_are_asked_for_all_the_same(
    stream: Stream, leave_one_out: bool
) -> None:
    settings = {
        "visible": {"fields": ["category"], "without": ["title", "image", "graph"]},
        "image": {"height": 32, "width": 32},
        "loss": {"leave_one_out": leave_one_out},
    }
    unseeing = Stream(stream.store, Config.from_dict(settings), stream.tokenizer)
    batch = next(iter(unseeing.training(epoch=0)))
    assert not batch.has_title.any()
    assert not batch.photographs.present.any()
    fields = unseeing.store.item_features(batch.item.numpy(), ("category",))["category"]
    assert len(batch.triple_item) == sum(field is not None for field in fields)
    assert len(batch.hidden_item) > 0
    if leave_one_out:
        assert batch.hidden_edge is not None
        assert (batch.hidden_edge == -1).all()
    model = K3M(unseeing.config, stream.tokenizer.vocabulary)
    losses = model.losses(batch)
    assert losses["mlm"] == losses["mom"] == 0
    assert losses["lpm"] > 0
    assert torch.isfinite(losses["loss"])


def test_an_epoch_visits_every_item_once_and_continues_where_it_was_left(stream: Stream) -> None:
    whole = [batch.item for batch in stream.training(epoch=3)]
    assert sorted(torch.cat(whole).tolist()) == list(range(stream.store.num_items))
    rest = list(stream.training(epoch=3, first_step=2))
    assert [batch.item.tolist() for batch in rest] == [items.tolist() for items in whole[2:]]
