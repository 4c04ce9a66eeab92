"""The same subgraphs to the bit from every store, with any number of worker processes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import graphstore
from graphstore import Edges, Store
from graphstore.pyg import StoreFeatures
from k3m.loading import SubgraphLoader
from k3m.sampler import HAS, REVERSE, TripleSampler
from k3m.seeds import ShuffledItems
from tests.catalogues import tiny_catalogue
from tests.stores import KINDS, store_of


@pytest.fixture
def reference() -> Store:
    tables = tiny_catalogue()
    return graphstore.from_tables(tables.items, tables.triples, tables.properties, tables.images)


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with store_of(request.param, tiny_catalogue(), request) as opened:
        yield opened


def batches(store: Store, workers: int, **settings: Any) -> list[dict[str, Any]]:
    """Everything in an epoch's subgraphs of two hops."""
    chosen: dict[str, Any] = {"fan_out": (3, 2), "hide": 0.2, "hub_limit": 9} | settings
    sampler = TripleSampler(store, seed=1, epoch=2, **chosen)
    features = StoreFeatures(store, ("title", "image", "price"))
    loader = SubgraphLoader(features, sampler, ShuffledItems(store.num_items, 1, 2), batch_size=7, workers=workers)
    return [contents(data) for data in loader]


def contents(data: Any) -> dict[str, Any]:
    nodes = {kind: data[kind].to_dict() for kind in ("item", "value")}
    found = {f"{kind}.{name}": column for kind, columns in nodes.items() for name, column in columns.items()}
    for edge_type in (HAS, REVERSE):
        found |= {f"{edge_type[1]}.{name}": data[edge_type][name] for name in ("edge_index", "e_id", "property")}
    sampled = data.sampled
    found |= {"digests": sampled.digests, "hubs": sampled.further.hubs, "via": sampled.further.via}
    for name in ("visible", "hidden", "known"):
        found |= {f"{name}.{column}": array for column, array in vars(getattr(sampled, name)).items()}
    return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in found.items()}


SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"replace": True},
    {"fan_out": (64, 64), "hub_limit": 1000},
    {"property_cap": 1, "hide": 0.0},
)


def test_every_store_gives_the_same_subgraphs(store: Store, reference: Store) -> None:
    for settings in SETTINGS:
        expected = batches(reference, 0, **settings)
        assert batches(store, 0, **settings) == expected
        assert sum(len(batch["has.e_id"]) for batch in expected) > 150


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_worker_processes_give_the_same_subgraphs(store: Store, reference: Store, workers: int) -> None:
    assert batches(store, workers) == batches(reference, 0)


def test_values_lists_are_those_of_the_store_in_memory(store: Store, reference: Store) -> None:
    """Whole lists, and lists that lack a third of their triples; "blue" is a value of two properties."""
    values = np.arange(store.num_values)
    degree = reference.value_degrees(values, most=1000)
    assert store.value_degrees(values, most=1000).tolist() == degree.tolist()
    nothing = Edges(*(np.zeros(0, dtype=np.int64) for _ in range(5)))
    places = np.arange(degree.max())
    every = reference.value_edges(values, np.where(places < degree[:, None], places, -1), nothing)
    assert sorted(every.edge_id.tolist()) == list(range(reference.num_training_triples))
    assert (np.diff(every.row * 10_000 + every.edge_id) > 0).all()
    third = np.random.default_rng(0).random(len(every.row)) < 1 / 3
    without = Edges(*(column[third] for column in vars(every).values()))
    left = degree - np.bincount(without.row, minlength=len(degree))
    for lacking, size in ((nothing, degree), (without, left)):
        positions = np.where(places < size[:, None], places, -1)
        found, expected = (opened.value_edges(values, positions, lacking) for opened in (store, reference))
        for name in vars(expected):
            assert getattr(found, name).tolist() == getattr(expected, name).tolist(), name
    assert found.edge_id.tolist() == every.edge_id[~third].tolist()
