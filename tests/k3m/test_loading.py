"""Subgraphs through PyG's loader: what the features, edges and properties of a batch are, and what becomes of worker
processes when something goes wrong."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.utils import trim_to_layer

import graphstore
from graphstore import Store, StoreNotFound
from graphstore.images import UnknownImage
from graphstore.pyg import StoreFeatures
from k3m.config import Config
from k3m.loading import SubgraphLoader
from k3m.sampler import HAS, REVERSE, TripleSampler
from k3m.streaming import Stream, learn_tokenizer
from tests.catalogues import tiny_catalogue
from tests.k3m.conftest import TINY
from tests.stores import ingested


def _loader(store: Store, items: list[int]) -> SubgraphLoader:
    sampler = TripleSampler(store, seed=0, fan_out=(4, 3), hide=0.15)
    return SubgraphLoader(StoreFeatures(store, ("title", "image", "price")), sampler, items, batch_size=5)


def test_every_edge_of_a_batch_is_the_triple_that_its_ends_property_and_id_say(store: Store) -> None:
    """PyG's issue 9566: features of other edges than those of edge_index."""
    triples = store.triples().to_pandas()[["item", "property", "value"]]
    names, edges = np.array(store.property_names(), dtype=object), 0
    for data in _loader(store, list(range(40))):
        ids = store.item_ids(data["item"].n_id.numpy())
        for edge_type, ends in ((HAS, (0, 1)), (REVERSE, (1, 0))):
            index = data[edge_type].edge_index.numpy()
            rows = zip(
                ids[index[ends[0]]], names[data[edge_type].property], data["value"].text[index[ends[1]]], strict=True
            )
            assert list(rows) == list(triples.iloc[data[edge_type].e_id.numpy()].itertuples(index=False, name=None))
            edges += index.shape[1]
    assert edges > 500


def test_features_of_all_sampled_items_come_in_their_order(store: Store) -> None:
    data = next(iter(_loader(store, [7, 0, 31, 7, 12])))
    assert data["item"].n_id[:5].tolist() == [7, 0, 31, 7, 12]
    assert data["item"].batch_size == 5
    assert len(data["item"].n_id) > 15
    assert data["item"].price.tolist() == store.item_features(data["item"].n_id, ["price"])["price"].tolist()
    keys = store.item_features(data["item"].n_id, ["image"])["image"]
    assert [None if key is None else store.images.get(key) for key in keys] == data["item"].image.tolist()


def test_pyg_trims_the_second_hop_away(store: Store) -> None:
    """By `num_sampled_nodes` and `num_sampled_edges`, which its layer-wise models read."""
    data = next(iter(_loader(store, [3, 9, 27])))
    nodes = {kind: data[kind].n_id for kind in ("item", "value")}
    edges = {edge_type: data[edge_type].edge_index for edge_type in (HAS, REVERSE)}
    trimmed, kept, _ = trim_to_layer(1, data.num_sampled_nodes_dict, data.num_sampled_edges_dict, nodes, edges)
    visible = data.sampled.visible
    assert trimmed["item"].tolist() == [3, 9, 27]
    assert torch.equal(trimmed["value"], nodes["value"])
    assert kept[HAS][0].tolist() == visible.item.tolist()
    assert nodes["value"][kept[REVERSE][0]].tolist() == visible.value.tolist()


def test_subgraphs_are_those_of_the_epochs_batches(store: Store) -> None:
    config = Config.from_preset("small", [*TINY, "data.fan_out=[3, 2]"])
    stream = Stream(store, config, learn_tokenizer(store, config))
    for data, batch in zip(
        stream.subgraphs(epoch=1, first_step=2), stream.training(epoch=1, first_step=2), strict=True
    ):
        assert data["item"].n_id[: data["item"].batch_size].tolist() == batch.item.tolist()
        assert data.sampled.visible.item.tolist() == batch.triple_item.tolist()
        assert data.sampled.hidden.item.tolist() == batch.hidden_item.tolist()
        assert data.sampled.further.hubs == batch.hubs == 0
        assert len(data["item"].title) == len(data["item"].n_id) > len(batch.item)


# Worker processes

CONSUMER = """
import signal
import sys
import graphstore
from graphstore.pyg import StoreFeatures
from k3m.loading import SubgraphLoader
from k3m.sampler import TripleSampler

def main():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what runs in the background, tests too
    store = graphstore.open(sys.argv[1])
    sampler = TripleSampler(store, seed=0, fan_out=(4, 3))
    loader = SubgraphLoader(StoreFeatures(store), sampler, list(range(40)) * 10_000, batch_size=5, workers=2)
    for batch in loader:
        print("a batch", flush=True)
        if sys.argv[2] == "raise":
            raise ValueError("the consumer's own")

if __name__ == "__main__":
    main()
"""


def _consumer(tmp_path: Path, how: str) -> "subprocess.Popen[str]":
    ingested(tmp_path / "store.lbdb", tiny_catalogue()).close()
    (tmp_path / "consumer.py").write_text(CONSUMER)
    return subprocess.Popen(
        [sys.executable, str(tmp_path / "consumer.py"), str(tmp_path / "store.lbdb"), how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        start_new_session=True,
    )


def _ended(group: int) -> bool:
    """Whether no process of the group is left within some seconds."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
@pytest.mark.parametrize(("how", "error"), [("raise", "ValueError: the consumer's own"), ("wait", "KeyboardInterrupt")])
def test_no_process_stays_behind_an_error_or_an_interrupt_of_the_consumer(tmp_path: Path, how: str, error: str) -> None:
    with _consumer(tmp_path, how) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "a batch\n"
        if how == "wait":
            os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert error in errors
    assert _ended(process.pid)


@pytest.mark.slow
def test_a_store_that_a_worker_cannot_open_is_named_to_the_consumer(tmp_path: Path) -> None:
    store = ingested(tmp_path / "store.lbdb", tiny_catalogue())
    loader = SubgraphLoader(StoreFeatures(store), TripleSampler(store, seed=0), [0, 1], batch_size=2, workers=1)
    store.close()
    (tmp_path / "store.lbdb").rename(tmp_path / "elsewhere.lbdb")
    with pytest.raises(StoreNotFound, match=r"(?s)worker process 0.*store.lbdb: no store there"):
        next(iter(loader))


@pytest.mark.slow
def test_an_error_in_a_worker_reaches_the_consumer_with_its_cause(tmp_path: Path) -> None:
    tables = tiny_catalogue()
    store = graphstore.from_tables(tables.items, tables.triples)  # without the photographs that the items name
    loader = SubgraphLoader(StoreFeatures(store), TripleSampler(store, seed=0), range(9), batch_size=9, workers=1)
    with pytest.raises(UnknownImage, match=r"(?s)worker process 0.*memory has no image sha256:"):
        next(iter(loader))
