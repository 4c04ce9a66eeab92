import numpy as np
import pandas as pd
import pytest
import torch
from torch_geometric.sampler import NodeSamplerInput

import graphstore
from graphstore import Store
from k3m.sampler import HAS, TripleSampler


def _store(degrees: list[int]) -> Store:
    items = pd.DataFrame(
        {"id": [f"i{row}" for row in range(len(degrees))], "title": "a", "category": None, "image": None}
    )
    rows = [(f"i{row}", f"p{place}", f"v{place % 3}") for row, degree in enumerate(degrees) for place in range(degree)]
    return graphstore.from_tables(items, pd.DataFrame(rows, columns=["item", "property", "value"]))


def test_hidden_and_visible_triples_part_the_known_ones() -> None:
    store = _store([6, 0, 1, 9])
    subgraph, edge_ids = TripleSampler(store, seed=0, hide=0.15).subgraph(np.array([3, 1, 0, 2]))
    assert subgraph.item_ids.tolist() == ["i3", "i1", "i0", "i2"]
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
    sampler = TripleSampler(_store([12, 3]), seed=0, fan_out=4, hide=0.15)
    seen: set[int] = set()
    for sampler.epoch in range(40):
        subgraph, edge_ids = sampler.subgraph(np.array([0, 1]))
        left = np.bincount(subgraph.known.item) - np.bincount(subgraph.hidden.item)
        assert np.bincount(subgraph.visible.item).tolist() == np.minimum(left, 4).tolist()
        seen |= set(edge_ids.tolist())
    assert seen == set(range(15))


def test_an_items_draws_do_not_depend_on_its_batch_mates() -> None:
    sampler = TripleSampler(_store([12, 30, 7]), seed=0, fan_out=4, hide=0.3)
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
