"""PyG's `NodeLoader` over a store: subgraphs with features and properties, or the model's batches; in this process or
in worker processes.

A store's handle does not survive a fork: a worker is a fresh process and opens its own. The seeds are a sequence of
ordinals that is never held as a whole.
"""

import dataclasses
import pickle
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch_geometric.data import HeteroData
from torch_geometric.loader import NodeLoader
from torch_geometric.sampler import HeteroSamplerOutput, NodeSamplerInput

from graphstore import StoreError
from graphstore.pyg import StoreFeatures, StoreGraph
from k3m.batch import BatchMaker, ProductBatch
from k3m.sampler import HAS, REVERSE, TripleSampler, first_hop


class SubgraphLoader(NodeLoader):
    """The sampled subgraphs of seed items as `HeteroData`.

    Beside what PyG gives (n_id, e_id, features by node type; batch_size seeds come first), each edge type has
    `property`, the ordinals of its edges' properties, and `data.sampled` is the sampler's `Subgraph`.

    Args:
        items: ordinals of the seeds, in order.
        workers: processes that sample and read features ahead; 0 for none.
    """

    def __init__(
        self,
        features: StoreFeatures,
        sampler: TripleSampler,
        items: Iterable[int],
        batch_size: int,
        workers: int = 0,
    ) -> None:
        every = torch.zeros(1, dtype=torch.long).expand(
            features.store.num_items
        )  # as long as the catalogue, of no size
        self.features = features
        super().__init__(
            (features, StoreGraph(features.store)),
            node_sampler=sampler,
            input_nodes=("item", every),
            sampler=items,
            batch_size=batch_size,
            num_workers=workers,
            multiprocessing_context="spawn" if workers else None,
        )
        if workers:
            self.collate_fn = InWorker(self.collate_fn)  # type: ignore[method-assign]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "collate_fn"}

    def collate_fn(self, items: Sequence[int]) -> Any:
        seeds = torch.tensor(items, dtype=torch.long)
        return self.filter_fn(self.node_sampler.sample_from_nodes(NodeSamplerInput(seeds, seeds, None, "item")))

    def filter_fn(self, out: HeteroSamplerOutput) -> Any:
        # Here and not in `transform`: PyG gives a transform the features, but not the sampler's metadata.
        data: HeteroData = super().filter_fn(out)
        if self.features.store.changed():  # between the triples and the features of their items
            raise StoreError(f"{self.features.store.location} was changed by another ingest meanwhile")
        data.sampled = out.metadata[2]
        for edge_type in (HAS, REVERSE):
            data[edge_type].property = data.sampled.properties
        return data


class BatchLoader(SubgraphLoader):
    """The model's `ProductBatch`es. Unless it reads the second hop, nothing is read of the items reached there."""

    def __init__(self, *args: Any, make_batch: BatchMaker, **kwargs: Any) -> None:
        self.make_batch = make_batch
        super().__init__(*args, **kwargs)

    def filter_fn(self, out: HeteroSamplerOutput) -> ProductBatch:
        further = out.metadata[2].further
        used = out if self.make_batch.config.model.shared_values else first_hop(out)
        batch = self.make_batch(super().filter_fn(used), used.metadata[2])
        return batch if further is None else dataclasses.replace(batch, hubs=further.hubs)


class InWorker:
    """A loader's work as it travels to a worker process: as bytes that are read with the first batch. A store that does
    not open there is an error of that batch, which reaches the consumer; raised while the process starts, its cause
    would be lost."""

    def __init__(self, work: Callable[[Sequence[int]], Any]) -> None:
        self.work: Callable[[Sequence[int]], Any] | None = work

    def __getstate__(self) -> bytes:
        return pickle.dumps(self.work)

    def __setstate__(self, state: bytes) -> None:
        self.state, self.work = state, None

    def __call__(self, items: Sequence[int]) -> Any:
        if self.work is None:
            self.work = pickle.loads(self.state)
        return self.work(items)
