"""A tiny run that the tests of k3m share: config, in-memory store, stream."""

import pytest

import graphstore
from graphstore import Store
from k3m.config import Config
from k3m.streaming import Stream, learn_tokenizer
from tests.catalogues import tiny_catalogue

TINY = (
    "model.width=16",
    "model.attention_heads=2",
    "text.layers=1",
    "model.interaction_layers=1",
    "image.channels=[8, 8, 8, 8]",
    "model.aggregation_heads=2",
    "image.height=32",
    "image.width=32",
    "data.batch_size=8",
    "train.precision=float32",
    "loss.leave_one_out=false",
)


@pytest.fixture
def config() -> Config:
    return Config.from_preset("small", TINY)


@pytest.fixture
def store() -> Store:
    tables = tiny_catalogue()
    return graphstore.from_tables(tables.items, tables.triples, images=tables.images)


@pytest.fixture
def stream(store: Store, config: Config) -> Stream:
    return Stream(store, config, learn_tokenizer(store, config))
