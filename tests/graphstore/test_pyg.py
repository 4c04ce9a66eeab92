"""The PyG feature and graph store."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import EdgeAttr
from torch_geometric.loader import NodeLoader

import graphstore
from graphstore import ReadOnlyStore, Store, UnknownItems
from graphstore.pyg import HAS, REVERSE, StoreFeatures, StoreGraph
from k3m.sampler import TripleSampler
from tests.catalogues import tiny_catalogue
from tests.stores import ingested


@pytest.fixture(params=["memory", "ladybug"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    tables = tiny_catalogue(12)
    in_memory = graphstore.from_tables(tables.items, tables.triples, images=tables.images)
    with ingested(tmp_path / "store.lbdb", tables) if request.param == "ladybug" else in_memory as opened:
        yield opened


def test_features_keep_the_order_asked_for(store: Store) -> None:
    features = StoreFeatures(store, ("title", "image", "price"))
    index = torch.tensor([7, 2, 7, 0])
    assert (
        features.get_tensor("item", "price", index).tolist() == store.item_features(index, ["price"])["price"].tolist()
    )
    assert features.get_tensor("item", "price", index).tolist() == [5.0, 10.0, 5.0, 0.0]
    assert features.get_tensor("value", "text", torch.tensor([3, 1])).tolist() == store.value_texts([3, 1]).tolist()


def test_images_are_bytes_or_none(store: Store) -> None:
    found = StoreFeatures(store).get_tensor("item", "image", torch.tensor([4, 3, 0]))
    assert store.item_ids([4, 3, 0]).tolist() == ["item-2", "item-11", "item-0"]
    keys = store.item_features([4, 3, 0], ["image"])["image"]
    assert found.tolist() == [None, *(tiny_catalogue(12).images[key] for key in keys[1:])]
    assert StoreFeatures(store).get_tensor("item", "image", torch.tensor([0]))[0].startswith(b"\x89PNG")


def test_several_features_of_one_index_come_together(store: Store) -> None:
    features, index = StoreFeatures(store, ("title", "price")), torch.tensor([5, 1])
    attrs = features.get_all_tensor_attrs()
    assert [(attr.group_name, attr.attr_name) for attr in attrs] == [
        ("item", "title"),
        ("item", "price"),
        ("value", "text"),
    ]
    for attr in attrs:
        attr.index = index
    together = features.multi_get_tensor(attrs)
    assert [column.tolist() for column in together] == [features.get_tensor(attr).tolist() for attr in attrs]


def test_all_rows_and_slices(store: Store) -> None:
    features = StoreFeatures(store)
    assert features.get_tensor("item", "title", None).tolist() == store.items(["title"])["title"].to_pylist()
    assert (
        features.get_tensor("item", "title", slice(2, 4)).tolist() == store.items(["title"])["title"].to_pylist()[2:4]
    )
    assert features.get_tensor("value", "text", None).tolist() == store.value_texts(range(store.num_values)).tolist()


def test_sizes(store: Store) -> None:
    features = StoreFeatures(store)
    assert features.get_tensor_size(group_name="item", attr_name="title") == (12,)
    assert features.get_tensor_size(group_name="value", attr_name="text") == (store.num_values,)


def test_what_is_not_there_is_refused(store: Store) -> None:
    features = StoreFeatures(store)
    for index in (torch.tensor([0, 12]), torch.tensor([-1])):
        with pytest.raises(UnknownItems, match=r"has no item (12|-1) \(1 unknown"):
            features.get_tensor("item", "title", index)
    with pytest.raises(UnknownItems, match=f"has no value {store.num_values} "):
        features.get_tensor("value", "text", torch.tensor([store.num_values]))
    with pytest.raises(KeyError, match=r"no feature value.colour"):
        features.get_tensor("value", "colour", torch.tensor([0]))
    with pytest.raises(TypeError, match=r"item.title is asked for by ordinals \(got an index of bool\)"):
        features.get_tensor("item", "title", torch.ones(12, dtype=torch.bool))
    with pytest.raises(ReadOnlyStore, match="features are changed by an ingest"):
        features.put_tensor(torch.zeros(12), group_name="item", attr_name="title", index=None)


def test_edges_are_the_training_triples_by_edge_id_in_every_layout(store: Store) -> None:
    graph, found = StoreGraph(store), store.neighbours(range(12))
    row, col = graph.get_edge_index(HAS, layout="coo")
    assert row.tolist() == [item for item in range(12) for _ in range(*found.indptr[item : item + 2])]
    assert col.tolist() == found.value.tolist()
    pointer, values = graph.get_edge_index(HAS, layout="csr")
    assert (pointer.tolist(), values.tolist()) == (found.indptr.tolist(), found.value.tolist())
    items, pointer = graph.get_edge_index(HAS, layout="csc")
    assert len(pointer) == store.num_values + 1
    by_value = [items[start:end].tolist() for start, end in pairwise(pointer)]
    assert by_value == [row[col == value].tolist() for value in range(store.num_values)]


def test_reversed_edges_are_the_same_turned_round(store: Store) -> None:
    graph = StoreGraph(store)
    for layout, same in (("coo", "coo"), ("csr", "csc"), ("csc", "csr")):
        first, second = graph.get_edge_index(HAS, layout=same)
        assert [part.tolist() for part in graph.get_edge_index(REVERSE, layout=layout)] == [
            second.tolist(),
            first.tolist(),
        ]


def test_pyg_derives_its_layouts_with_the_edge_ids(store: Store) -> None:
    graph = StoreGraph(store)
    row, col, _ = graph.coo()
    by_row, by_col, edge_ids = graph.csc()
    assert row[HAS][edge_ids[HAS]].tolist() == by_row[HAS].tolist()
    assert torch.diff(by_col[HAS]).tolist() == torch.bincount(col[HAS], minlength=store.num_values).tolist()
    assert [attr.size for attr in graph.get_all_edge_attrs()] == [(12, store.num_values), (store.num_values, 12)]


def test_other_edges_are_refused(store: Store) -> None:
    graph = StoreGraph(store)
    with pytest.raises(KeyError, match="not found"):
        graph.get_edge_index(("value", "of", "item"), layout="coo")
    with pytest.raises(ReadOnlyStore, match="edges are changed by an ingest"):
        graph.put_edge_index((torch.zeros(1), torch.zeros(1)), EdgeAttr(HAS, "coo", size=(1, 1)))


def test_node_loader_takes_the_stores(store: Store) -> None:
    loader = NodeLoader(
        (StoreFeatures(store), StoreGraph(store)),
        TripleSampler(store, seed=0),
        input_nodes=("item", torch.tensor([3, 9, 1])),
        batch_size=3,
    )
    [batch] = loader
    assert batch["item"].title.tolist() == store.item_features([3, 9, 1], ["title"])["title"].tolist()
    row, col = batch[HAS].edge_index
    found = store.neighbours([3, 9, 1])
    assert batch["value"].text[col].tolist() == store.value_texts(found.value).tolist()
    assert row.tolist() == np.repeat(range(3), np.diff(found.indptr)).tolist()
