"""The neighbour sampler: seed items in, one subgraph out, streamed from any `graphstore.Store`.

A PyG `BaseSampler`. The triples that LPM asks for are hidden *before* the fan-out is drawn, so that neither a hidden
triple nor its reverse takes a place in it (paper.md 2.3). Every draw is a function of (run seed, epoch, item id), so
the store changes nothing. Properties, hidden triples and the rest travel in `HeteroSamplerOutput.metadata`: PyG hands
no edge attributes through.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch_geometric.sampler import BaseSampler, EdgeSamplerInput, HeteroSamplerOutput, NodeSamplerInput

from graphstore import Store
from k3m import rng

HAS = ("item", "has", "value")
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Triples:
    """Triples of a batch. `item` is a position in the batch, `property` and `value` are the store's ordinals; all
    [n]."""

    item: Ints
    property: Ints
    value: Ints

    def __getitem__(self, index: NDArray[np.bool_] | Ints) -> "Triples":
        return Triples(self.item[index], self.property[index], self.value[index])

    def __len__(self) -> int:
        return len(self.item)


@dataclass(frozen=True)
class Subgraph:
    """What the sampler saw of the seed items: the training triples it shows, those it hides, and all of them (to
    filter negatives)."""

    item_ids: NDArray[np.object_]
    visible: Triples
    hidden: Triples
    known: Triples


class TripleSampler(BaseSampler):
    """Draws each seed item's training triples (1 hop).

    Args:
        store: where the triples are.
        seed: of the run.
        epoch: a new epoch draws anew.
        fan_out: visible triples an item at most.
        hide: chance of each triple to be hidden; 0 hides none, otherwise each item with triples hides one at least.
    """

    def __init__(self, store: Store, *, seed: int, epoch: int = 0, fan_out: int = 64, hide: float = 0.0) -> None:
        self.store, self.seed, self.epoch, self.fan_out, self.hide = store, seed, epoch, fan_out, hide

    def sample_from_nodes(self, inputs: NodeSamplerInput, **kwargs: object) -> HeteroSamplerOutput:
        items = inputs.node.numpy().astype(np.int64)
        subgraph, edge_ids = self.subgraph(items)
        values, col = np.unique(subgraph.visible.value, return_inverse=True)
        return HeteroSamplerOutput(
            node={"item": torch.from_numpy(items), "value": torch.from_numpy(values)},
            row={HAS: torch.from_numpy(subgraph.visible.item)},
            col={HAS: torch.from_numpy(col.astype(np.int64))},
            edge={HAS: torch.from_numpy(edge_ids)},
            metadata=(inputs.input_id, inputs.time, subgraph),
        )

    def sample_from_edges(self, inputs: EdgeSamplerInput, neg_sampling: object = None) -> HeteroSamplerOutput:
        raise NotImplementedError("TripleSampler seeds from items: LPM's hidden triples are drawn by sample_from_nodes")

    @property
    def edge_permutation(self) -> None:
        return None

    def subgraph(self, items: Ints) -> tuple[Subgraph, Ints]:
        """The subgraph of these item ordinals and the edge ids of its visible triples."""
        neighbours = self.store.neighbours(items)
        ids = self.store.item_ids(items)
        degree = np.diff(neighbours.indptr)
        row = np.repeat(np.arange(len(items)), degree)
        position = np.arange(len(row)) - neighbours.indptr[row]
        known = Triples(row, neighbours.property, neighbours.value)
        hidden = self._hidden(ids, row, position)
        visible = self._drawn(ids, row, position, ~hidden)
        return Subgraph(ids, known[visible], known[hidden], known), neighbours.edge_id[visible]

    def _hidden(self, ids: NDArray[np.object_], row: Ints, position: Ints) -> NDArray[np.bool_]:
        """Each triple with chance `hide`, and each item's smallest draw in any case."""
        if self.hide == 0:
            return np.zeros(len(row), dtype=bool)
        draws = rng.uniform(rng.item_keys(ids, self.seed, self.epoch, "hide")[row], position)
        smallest = np.full(len(ids), 2.0)
        np.minimum.at(smallest, row, draws)
        return (draws < self.hide) | (draws == smallest[row])

    def _drawn(self, ids: NDArray[np.object_], row: Ints, position: Ints, left: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """`fan_out` of the triples that are `left` of each item, without replacement."""
        if np.bincount(row[left], minlength=1).max(initial=0) <= self.fan_out:
            return left
        draws = rng.uniform(rng.item_keys(ids, self.seed, self.epoch, "neighbours")[row], position)
        by_item = np.lexsort((draws, ~left, row))  # an item's own triples together, those left first, in drawn order
        first = np.searchsorted(row, row[by_item])
        rank = np.empty(len(row), dtype=np.int64)
        rank[by_item] = np.arange(len(row)) - first
        return left & (rank < self.fan_out)
