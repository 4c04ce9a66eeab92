from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch_geometric.sampler import NodeSamplerInput

import graphstore
from graphstore import Store
from k3m import rng
from k3m.sampler import HAS, REVERSE, Subgraph, TripleSampler, first_hop
from tests.catalogues import tiny_catalogue


def _store(degrees: list[int]) -> Store:
    items = pd.DataFrame(
        {"id": [f"i{row}" for row in range(len(degrees))], "title": "a", "category": None, "image": None}
    )
    rows = [(f"i{row}", f"p{place}", f"v{place % 3}") for row, degree in enumerate(degrees) for place in range(degree)]
    return graphstore.from_tables(items, pd.DataFrame(rows, columns=["item", "property", "value"]))


def test_hidden_and_visible_triples_part_the_known_ones() -> None:
    store = _store([6, 0, 1, 9])
    subgraph, edge_ids = TripleSampler(store, seed=0, hide=0.15).subgraph(np.array([3, 1, 0, 2]))
    assert subgraph.digests.tolist() == [rng.key(item) for item in ("i3", "i1", "i0", "i2")]
    assert np.bincount(subgraph.known.item, minlength=4).tolist() == [9, 0, 6, 1]
    assert len(subgraph.hidden) + len(subgraph.visible) == len(subgraph.known)
    assert set(np.unique(subgraph.hidden.item)) == {0, 2, 3}  # every item with a triple hides one at least
    assert len(edge_ids) == len(subgraph.visible)
    assert len(set(edge_ids)) == len(edge_ids)


def test_without_hiding_everything_is_visible() -> None:
    subgraph, _ = TripleSampler(_store([6, 2]), seed=0).subgraph(np.array([0, 1]))
    assert len(subgraph.hidden) == 0
    assert len(subgraph.visible) == 8


def test_share_of_hidden_triples() -> None:
    subgraph, _ = TripleSampler(_store([50] * 40), seed=0, hide=0.15).subgraph(np.arange(40))
    assert abs(len(subgraph.hidden) / 2000 - 0.15) < 0.03  # 3.7 deviations


def test_fan_out_bounds_what_is_left_after_hiding_and_draws_every_triple_in_time() -> None:
    sampler = TripleSampler(_store([12, 3]), seed=0, fan_out=(4,), hide=0.15)
    seen: set[int] = set()
    for sampler.epoch in range(40):
        subgraph, edge_ids = sampler.subgraph(np.array([0, 1]))
        left = np.bincount(subgraph.known.item) - np.bincount(subgraph.hidden.item)
        assert np.bincount(subgraph.visible.item).tolist() == np.minimum(left, 4).tolist()
        seen |= set(edge_ids.tolist())
    assert seen == set(range(15))


def test_an_items_draws_do_not_depend_on_its_batch_mates() -> None:
    sampler = TripleSampler(_store([12, 30, 7]), seed=0, fan_out=(4,), hide=0.3)
    together, _ = sampler.subgraph(np.array([0, 1, 2]))
    alone, _ = sampler.subgraph(np.array([1]))
    for part in ("hidden", "visible"):
        mine = getattr(together, part)
        assert np.array_equal(mine.property[mine.item == 1], getattr(alone, part).property)


def test_the_output_is_pygs_and_its_edges_are_the_visible_triples() -> None:
    sampler = TripleSampler(_store([3, 2]), seed=0)
    out = sampler.sample_from_nodes(NodeSamplerInput(input_id=torch.tensor([0, 1]), node=torch.tensor([1, 0])))
    subgraph = out.metadata[2]
    assert torch.equal(out.node["item"], torch.tensor([1, 0]))
    assert np.array_equal(out.node["value"][out.col[HAS]].numpy(), subgraph.visible.value)
    assert out.row[HAS].tolist() == [0, 0, 1, 1, 1]
    assert out.edge[HAS].tolist() == [3, 4, 0, 1, 2]


def test_seeding_from_edges_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="seeds from items"):
        TripleSampler(_store([1]), seed=0).sample_from_edges(None)


# Hop 1: replacement and caps


def test_with_replacement_the_whole_fan_out_is_drawn_from_what_is_left() -> None:
    sampler = TripleSampler(_store([5, 0, 2]), seed=0, fan_out=(8,), hide=0.3, replace=True)
    subgraph, edge_ids = sampler.subgraph(np.array([0, 1, 2]))
    left = set(subgraph.known.edge_id) - set(subgraph.hidden.edge_id)
    assert np.bincount(subgraph.visible.item, minlength=3).tolist() == [8, 0, 8]
    assert set(edge_ids) <= left
    assert (np.diff(subgraph.visible.item) >= 0).all()


def test_a_cap_bounds_the_triples_of_one_property_and_draws_each_in_time() -> None:
    rows = [("i", "tag", f"t{place}") for place in range(6)] + [("i", "size", "S"), ("i", "tag 2", "a")]
    store = graphstore.from_tables(
        pd.DataFrame({"id": ["i"]}), pd.DataFrame(rows, columns=["item", "property", "value"])
    )
    sampler, seen = TripleSampler(store, seed=0, property_cap=2), set()
    for sampler.epoch in range(40):
        subgraph, edge_ids = sampler.subgraph(np.array([0]))
        assert np.bincount(subgraph.visible.property).tolist() == [1, 2, 1]
        seen |= set(edge_ids.tolist())
    assert seen == set(range(8))


# Hop 2


def catalogue(values: dict[str, int], n_items: int = 30, seed: int = 0) -> pd.DataFrame:
    """Triples: each item has one value of each property, drawn from as many as `values` says."""
    random = np.random.default_rng(seed)
    rows = [(f"i{item:02}", p, f"{p[0]}{random.integers(n)}") for item in range(n_items) for p, n in values.items()]
    return pd.DataFrame(rows, columns=["item", "property", "value"])


def store_of(triples: pd.DataFrame) -> Store:
    return graphstore.from_tables(pd.DataFrame({"id": sorted(set(triples["item"]))}), triples)


SHOP = {"colour": 4, "size": 7, "brand": 15, "code": 60}


def seen(store: Store, seeds: np.ndarray, subgraph: Subgraph) -> dict[str, Any]:
    """All that a model may look at, as text."""
    names, further = np.array(store.property_names(), dtype=object), subgraph.further
    assert further is not None
    ids = store.item_ids(np.concatenate([seeds, further.items]))
    hops = {
        name: list(zip(ids[hop.item], names[hop.property], store.value_texts(hop.value), strict=True))
        for name, hop in (("visible", subgraph.visible), ("further", further.triples))
    }
    return hops | {"items": ids.tolist(), "via": further.via.tolist(), "hubs": further.hubs}


@pytest.mark.parametrize("hide", [0.0, 0.4])
def test_hop_2_holds_every_other_item_that_shares_a_visible_value(hide: float) -> None:
    """Against a search through the table; the fan-out is above every degree."""
    triples = catalogue(SHOP)
    store, seeds = store_of(triples), np.array([3, 17, 4, 25])
    subgraph, _ = TripleSampler(store, seed=1, fan_out=(64, 64), hide=hide).subgraph(seeds)
    found = seen(store, seeds, subgraph)
    hidden = set(subgraph.hidden.edge_id.tolist())
    table = triples.sort_values(["item", "property", "value"], ignore_index=True)
    table = table[~table.index.isin(hidden)]
    expected = []
    for via, (item, _, value) in enumerate(found["visible"]):
        others = table[(table["value"] == value) & (table["item"] != item)]
        expected += [(via, *row) for row in others.itertuples(index=False)]
    assert [(via, *row) for via, row in zip(found["via"], found["further"], strict=True)] == expected
    assert len(expected) > 30
    assert subgraph.further is not None
    edge_ids = dict(zip(table.itertuples(index=False, name=None), table.index, strict=True))
    assert subgraph.further.triples.edge_id.tolist() == [edge_ids[tuple(row)] for _, *row in expected]


def test_hop_2_draws_distinct_others_and_each_in_time() -> None:
    store, seeds = store_of(catalogue({"colour": 2})), np.array([0, 1])
    sampler, drawn = TripleSampler(store, seed=0, fan_out=(64, 3)), set()
    whole = TripleSampler(store, seed=0, fan_out=(64, 64)).subgraph(seeds)[0].further
    assert whole is not None
    for sampler.epoch in range(60):
        further = sampler.subgraph(seeds)[0].further
        assert further is not None
        for via in (0, 1):
            own = further.triples.edge_id[further.via == via]
            assert len(set(own)) == len(own) == 3
            drawn |= {(via, edge) for edge in own.tolist()}
    assert drawn == set(zip(whole.via.tolist(), whole.triples.edge_id.tolist(), strict=True))


def test_changing_a_hidden_value_changes_nothing_that_is_seen() -> None:
    """Fan-outs below the degrees, a seed that shares values with others, hubs on the border: `c0` and its like."""
    triples = catalogue({"brand": 15, "colour": 4, "fabric": 2, "size": 7})
    seeds, changed = np.arange(0, 30, 2), 0
    settings: dict[str, Any] = {"seed": 3, "fan_out": (2, 2), "hide": 0.3, "hub_limit": 8}
    store = store_of(triples)
    before, _ = TripleSampler(store, **settings).subgraph(seeds)
    view = seen(store, seeds, before)
    assert view["hubs"] > 0
    assert len(view["further"]) > 10
    ids, names = store.item_ids(seeds), store.property_names()
    for item, prop in zip(ids[before.hidden.item], before.hidden.property, strict=True):
        row = (triples["item"] == item) & (triples["property"] == names[prop])
        for value in (f"{names[prop][0]}0", f"{names[prop][0]}1", "never seen before"):
            other = store_of(triples.assign(value=triples["value"].where(~row, value)))
            assert seen(other, seeds, TripleSampler(other, **settings).subgraph(seeds)[0]) == view
            changed += 1
    assert changed > 50


def test_a_seed_that_is_reached_again_does_not_show_its_hidden_triple() -> None:
    """All have the colour; in some epoch it is hidden of one seed and visible of the other."""
    rows = [(item, p, v) for item in "abc" for p, v in (("colour", "red"), ("code", item), ("size", f"{item}{item}"))]
    store, met = store_of(pd.DataFrame(rows, columns=["item", "property", "value"])), 0
    sampler = TripleSampler(store, seed=0, fan_out=(64, 64), hide=0.3)
    for sampler.epoch in range(30):
        subgraph, _ = sampler.subgraph(np.array([0, 1]))
        assert subgraph.further is not None
        hidden, reached = set(subgraph.hidden.edge_id), set(subgraph.further.triples.edge_id)
        assert not hidden & (reached | set(subgraph.visible.edge_id))
        red = {item for item, edge in ((0, 1), (1, 4)) if edge not in hidden}
        met += len(red) == 1
        if red:  # c is reached from each seed that shows red, and each of these from the other
            assert sorted(subgraph.further.triples.edge_id.tolist()) == sorted(
                [7] * len(red) + ([1, 4] if len(red) == 2 else [])
            )
            assert subgraph.further.items.tolist() == [2]
    assert met > 3


def test_hubs_are_passed_over_and_counted() -> None:
    triples = catalogue({"colour": 1, "size": 3})  # 30 items of one colour
    store, seeds = store_of(triples), np.array([0, 1, 2])
    sizes = triples[triples["property"] == "size"]["value"].value_counts()
    asked = set(triples[triples["property"] == "size"]["value"].iloc[:3])
    for limit, hubs in ((29, 1), (30, 0), (int(sizes[list(asked)].min()) - 1, 1 + len(asked))):
        further = TripleSampler(store, seed=0, fan_out=(64, 2), hub_limit=limit).subgraph(seeds)[0].further
        assert further is not None
        assert further.hubs == hubs
        assert (len(further.triples) > 0) == (hubs <= len(asked))


def test_a_hidden_triple_does_not_make_a_hub() -> None:
    store = store_of(pd.DataFrame([(item, "colour", "red") for item in "abcd"], columns=["item", "property", "value"]))
    for seeds, hubs in (([0, 1], 1), ([0, 1, 1], 1)):
        sampler = TripleSampler(store, seed=0, fan_out=(64, 2), hub_limit=2)
        hidden = sampler.store.neighbours(np.array([0])).edge_id
        sampler._hidden = lambda digests, row, position: np.isin(row, [0])  # type: ignore[method-assign]
        subgraph, _ = sampler.subgraph(np.array(seeds))
        assert subgraph.further is not None
        assert (subgraph.further.hubs, hidden.tolist()) == (hubs, [0])
        sampler.hub_limit = 3
        assert TripleSampler.subgraph(sampler, np.array(seeds))[0].further.hubs == 0  # type: ignore[union-attr]


def test_hop_2_with_replacement_draws_the_whole_fan_out_of_others() -> None:
    store, seeds = store_of(catalogue({"colour": 4, "number": 10_000})), np.array([0, 5])
    subgraph, _ = TripleSampler(store, seed=0, fan_out=(4, 50), replace=True).subgraph(seeds)
    assert subgraph.further is not None
    of_colour = subgraph.visible.property == store.property_names().index("colour")
    drawn = np.bincount(subgraph.further.via, minlength=8)
    assert drawn.tolist() == np.where(of_colour, 50, 0).tolist()  # a number is one item's alone
    assert 0 < of_colour.sum() < 8
    assert not np.any(subgraph.further.triples.item == subgraph.visible.item[subgraph.further.via])


def test_an_items_further_items_do_not_depend_on_its_batch_mates() -> None:
    store = store_of(catalogue(SHOP))
    sampler = TripleSampler(store, seed=0, fan_out=(3, 2))
    together, alone = (sampler.subgraph(np.array(seeds))[0] for seeds in ([8, 3, 20, 11], [3]))
    assert together.further is not None
    assert alone.further is not None
    mine = np.isin(together.further.via, np.flatnonzero(together.visible.item == 1))
    assert together.further.triples.edge_id[mine].tolist() == alone.further.triples.edge_id.tolist()


def test_both_hops_as_pyg_expects_them() -> None:
    """Seeds, then further items; hop 1, then hop 2; each edge type with its own ends and the same edge ids."""
    store, seeds = store_of(catalogue(SHOP)), np.array([21, 2, 9])
    sampler = TripleSampler(store, seed=0, fan_out=(3, 2), hide=0.2)
    out = sampler.sample_from_nodes(NodeSamplerInput(input_id=torch.arange(3), node=torch.from_numpy(seeds)))
    nodes = {kind: node.numpy() for kind, node in out.node.items()}
    assert nodes["item"][:3].tolist() == [21, 2, 9]
    assert all(len(np.unique(node)) == len(node) for node in nodes.values())
    assert out.num_sampled_nodes["item"] == [3, 0, len(nodes["item"]) - 3]
    assert out.num_sampled_nodes["value"] == [0, len(nodes["value"]), 0]
    assert out.num_sampled_edges[HAS] == out.num_sampled_edges[REVERSE]
    assert sum(out.num_sampled_edges[HAS]) == len(out.edge[HAS])
    every = store.neighbours(range(store.num_items))
    items = np.repeat(np.arange(store.num_items), np.diff(every.indptr))
    for edge_type, item_end, value_end in ((HAS, out.row, out.col), (REVERSE, out.col, out.row)):
        edge_id = out.edge[edge_type].numpy()
        assert nodes["item"][item_end[edge_type]].tolist() == items[edge_id].tolist()
        assert nodes["value"][value_end[edge_type]].tolist() == every.value[edge_id].tolist()
        assert out.metadata[2].properties.tolist() == every.property[edge_id].tolist()


def test_the_first_hop_of_two_is_that_of_one() -> None:
    tables = tiny_catalogue()
    store = graphstore.from_tables(tables.items, tables.triples)
    inputs = NodeSamplerInput(input_id=torch.arange(4), node=torch.tensor([5, 39, 5, 12]))
    one, two = (TripleSampler(store, seed=0, fan_out=f, hide=0.15).sample_from_nodes(inputs) for f in ((3,), (3, 2)))
    cut = first_hop(two)
    assert len(two.edge[HAS]) > len(cut.edge[HAS])
    for name in ("node", "row", "col", "edge"):
        for kind, tensor in getattr(one, name).items():
            assert torch.equal(tensor, getattr(cut, name)[kind])
    for name in ("num_sampled_nodes", "num_sampled_edges"):
        assert getattr(one, name) == getattr(cut, name)
