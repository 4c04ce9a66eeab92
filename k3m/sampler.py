"""The neighbour sampler: seed items in, one subgraph out, streamed from any `graphstore.Store`.

A PyG `BaseSampler`. Hop 1 draws the triples of a seed. Hop 2 draws, for each triple of hop 1, other items that share
its value; a value that very many share is a hub and is passed over.

The triples that LPM asks for are hidden *before* anything is drawn, so that neither a hidden triple nor its reverse
takes a place in a fan-out (paper.md 2.3): the lists of hop 2 lack the hidden triples of every seed of the batch, and
a seed that is reached again shows none of its own. They also lack what the asking seed has itself: hop 2 is *other*
items. What is hidden elsewhere in the batch apart, an item's draws do not depend on its batch mates.

Every draw is a position in a list sorted by edge id and a function of (run seed, epoch, item id), so the store changes
nothing. Properties, hidden triples and the rest travel in `HeteroSamplerOutput.metadata`: PyG hands no edge attributes
through.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch_geometric.sampler import BaseSampler, EdgeSamplerInput, HeteroSamplerOutput, NodeSamplerInput

from graphstore import Edges, Store
from graphstore.pyg import HAS, REVERSE
from k3m import rng

__all__ = ["HAS", "REVERSE", "Further", "Subgraph", "TripleSampler", "Triples"]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Digests = NDArray[np.uint64]


@dataclass(frozen=True)
class Triples:
    """Triples of a batch. `item` is a position among the items of the subgraph, seeds first; `property`, `value` and
    `edge_id` are the store's ordinals; all [n]."""

    item: Ints
    property: Ints
    value: Ints
    edge_id: Ints

    def __getitem__(self, index: Mask | Ints) -> "Triples":
        return Triples(self.item[index], self.property[index], self.value[index], self.edge_id[index])

    def __len__(self) -> int:
        return len(self.item)


@dataclass(frozen=True)
class Further:
    """Hop 2. Each triple was drawn for one of the visible triples; two may draw the same, which is then there twice."""

    items: Ints
    """Ordinals of the items that are no seeds, in the order in which they were drawn: they follow the seeds."""
    triples: Triples
    via: Ints
    """The visible triple that each was drawn for, [n]; of the same value."""
    hubs: int
    """Distinct values passed over."""


@dataclass(frozen=True)
class Subgraph:
    """What the sampler saw of the seed items: the training triples it shows, those it hides, and all of them (to
    filter negatives)."""

    digests: Digests
    """Of each seed, what its draws are made from (`Store.item_digests`)."""
    visible: Triples
    hidden: Triples
    known: Triples
    further: Further | None = None
    """None where the fan-out is of one hop."""

    @property
    def hops(self) -> list[Triples]:
        """The edges, hop by hop."""
        return [self.visible] if self.further is None else [self.visible, self.further.triples]

    @property
    def properties(self) -> Ints:
        """Of the edges, in their order."""
        return np.concatenate([hop.property for hop in self.hops])


class TripleSampler(BaseSampler):
    """Draws each seed item's training triples, and other items that share their values.

    Args:
        store: where the triples are.
        seed: of the run.
        epoch: a new epoch draws anew.
        fan_out: a number a hop: visible triples an item, then other items a visible triple, at most.
        hide: chance of each triple to be hidden; 0 hides none, otherwise each item with triples hides one at least.
        hub_limit: hop 2 passes over values with more training triples than this, hidden ones not counted.
        replace: draw with replacement: the whole fan-out, repeated triples in it, wherever there is one to draw.
        property_cap: visible triples of one property an item at most; 0 for no cap.
    """

    def __init__(
        self,
        store: Store,
        *,
        seed: int,
        epoch: int = 0,
        fan_out: tuple[int, ...] = (64,),
        hide: float = 0.0,
        hub_limit: int = 1000,
        replace: bool = False,
        property_cap: int = 0,
    ) -> None:
        self.store, self.seed, self.epoch, self.fan_out, self.hide = store, seed, epoch, fan_out, hide
        self.hub_limit, self.replace, self.property_cap = hub_limit, replace, property_cap

    def sample_from_nodes(self, inputs: NodeSamplerInput, **kwargs: object) -> HeteroSamplerOutput:
        """Edges of hop 1, then those of hop 2, from item to value and the same reversed; `num_sampled_edges` says where
        hop 2 begins. Where hop 2 draws seeds, it means the seeds; all other items follow them."""
        items = inputs.node.numpy().astype(np.int64)
        subgraph, _ = self.subgraph(items)
        values, col = np.unique(subgraph.visible.value, return_inverse=True)
        hops, nodes = subgraph.hops, [items]
        if subgraph.further is not None:
            nodes.append(subgraph.further.items)
            col = np.concatenate([col, col[subgraph.further.via]])
        item, value = (_tensor(ends) for ends in (np.concatenate([hop.item for hop in hops]), col))
        edge_id = _tensor(np.concatenate([hop.edge_id for hop in hops]))
        sampled, deeper = [len(hop) for hop in hops], [len(more) for more in nodes[1:]]
        return HeteroSamplerOutput(
            node={"item": _tensor(np.concatenate(nodes)), "value": _tensor(values)},
            row={HAS: item, REVERSE: value},
            col={HAS: value, REVERSE: item},
            edge={HAS: edge_id, REVERSE: edge_id},
            num_sampled_nodes={"item": [len(items), 0, *deeper], "value": [0, len(values), *(0 for _ in deeper)]},
            num_sampled_edges={HAS: sampled, REVERSE: sampled},
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
        digests = self.store.item_digests(items)
        degree = np.diff(neighbours.indptr)
        row = np.repeat(np.arange(len(items)), degree)
        position = np.arange(len(row)) - neighbours.indptr[row]
        known = Triples(row, neighbours.property, neighbours.value, neighbours.edge_id)
        hidden = self._hidden(digests, row, position)
        visible = known[self._drawn(digests, known, position, ~hidden)]
        deeper = len(self.fan_out) > 1
        further = self._further(digests, items, visible, known[hidden], known[~hidden]) if deeper else None
        return Subgraph(digests, visible, known[hidden], known, further), visible.edge_id

    def _hidden(self, digests: Digests, row: Ints, position: Ints) -> Mask:
        """Each triple with chance `hide`, and each item's smallest draw in any case."""
        if self.hide == 0:
            return np.zeros(len(row), dtype=bool)
        draws = rng.uniform(self._keys(digests, "hide")[row], position)
        smallest = np.full(len(digests), 2.0)
        np.minimum.at(smallest, row, draws)
        return (draws < self.hide) | (draws == smallest[row])

    # Hop 1

    def _drawn(self, digests: Digests, known: Triples, position: Ints, left: Mask) -> Ints:
        """Of the triples that are `left` of each item, those in the fan-out, by item."""
        if self.property_cap:
            draws = rng.uniform(self._keys(digests, "property cap")[known.item], position)
            cells = known.item * (known.property.max(initial=0) + 1) + known.property
            left = _smallest(draws, cells, left, self.property_cap)
        fan_out, degree = self.fan_out[0], np.bincount(known.item[left], minlength=len(digests))
        if self.replace:
            return self._repeated(digests, np.flatnonzero(left), degree)
        if degree.max(initial=0) > fan_out:
            draws = rng.uniform(self._keys(digests, "neighbours")[known.item], position)
            left = _smallest(draws, known.item, left, fan_out)
        return np.flatnonzero(left)

    def _repeated(self, digests: Digests, left: Ints, degree: Ints) -> Ints:
        """The whole fan-out of each item that has a triple, with replacement; in the order of the triples."""
        items = np.flatnonzero(degree)
        draws = rng.uniform(self._keys(digests, "neighbours")[items, None], np.arange(self.fan_out[0]))
        position = np.sort((draws * degree[items, None]).astype(np.int64), axis=1)
        first = np.cumsum(degree) - degree
        return left[(first[items, None] + position).ravel()]

    # Hop 2

    def _further(self, digests: Digests, seeds: Ints, visible: Triples, hidden: Triples, left: Triples) -> Further:
        """For each visible triple, other items that share its value."""
        hidden = hidden[np.unique(hidden.edge_id, return_index=True)[1]]  # a batch may have an item twice
        values, value = np.unique(visible.value, return_inverse=True)
        # Far enough to tell a hub without its hidden triples; in powers of two, so that a store can keep its counts.
        degree = self.store.value_degrees(values, self.hub_limit + (1 << len(hidden).bit_length()))
        degree -= np.bincount(_matches(hidden.value, values)[1], minlength=len(values))
        via = np.flatnonzero(degree[value] <= self.hub_limit)
        without, own = _without(visible[via], seeds, hidden, left)
        positions = self._positions(digests, visible, via, degree[value[via]] - own)
        drawn = self.store.value_edges(visible.value[via], positions, without)
        items, item = _numbered(seeds, drawn.item, self.store.num_items)
        hubs = int(np.count_nonzero(degree > self.hub_limit))
        return Further(items, Triples(item, drawn.property, drawn.value, drawn.edge_id), via[drawn.row], hubs)

    def _positions(self, digests: Digests, visible: Triples, via: Ints, size: Ints) -> Ints:
        """[n, fan-out] places in lists of these sizes, -1 for none, for the visible triples `via`: an item's visible
        triples draw one after the other."""
        turn = np.arange(len(visible)) - np.searchsorted(visible.item, visible.item)
        keys = self._keys(digests, "shared values")[visible.item[via], None]
        draws = rng.uniform(keys, turn[via, None] * rng.STREAM + np.arange(self.fan_out[1]))
        if self.replace:
            return np.where(size[:, None] > 0, (draws * size[:, None]).astype(np.int64), -1)
        return rng.distinct(draws, size)

    def _keys(self, digests: Digests, purpose: str) -> NDArray[np.uint64]:
        return rng.keys_of(digests, self.seed, self.epoch, purpose)


def first_hop(out: HeteroSamplerOutput) -> HeteroSamplerOutput:
    """What `TripleSampler` would have given for the first number of its fan-out alone."""
    input_id, time, subgraph = out.metadata
    seeds, edges = len(subgraph.digests), len(subgraph.visible)
    return HeteroSamplerOutput(
        node={"item": out.node["item"][:seeds], "value": out.node["value"]},
        row={edge_type: row[:edges] for edge_type, row in out.row.items()},
        col={edge_type: col[:edges] for edge_type, col in out.col.items()},
        edge={edge_type: edge_id[:edges] for edge_type, edge_id in out.edge.items()},
        num_sampled_nodes={kind: numbers[:2] for kind, numbers in out.num_sampled_nodes.items()},
        num_sampled_edges={edge_type: numbers[:1] for edge_type, numbers in out.num_sampled_edges.items()},
        metadata=(input_id, time, dataclasses.replace(subgraph, further=None)),
    )


def _smallest(draws: NDArray[np.float64], group: Ints, left: Mask, k: int) -> Mask:
    """Those of the `left` whose draw is among the k smallest of those of their group."""
    index = np.flatnonzero(left)
    order = index[np.argsort(group[index] + draws[index])]  # draws are below 1: group by group
    place = np.arange(len(order))
    begins = np.append(True, np.diff(group[order]) > 0)[: len(order)]
    rank = place - np.maximum.accumulate(np.where(begins, place, 0))
    chosen = np.zeros(len(left), dtype=bool)
    chosen[order[rank < k]] = True
    return chosen


def _without(shown: Triples, seeds: Ints, hidden: Triples, left: Triples) -> tuple[Edges, Ints]:
    """What the list of each shown triple's value lacks: every hidden triple, and what the item itself has of it (how
    many, too)."""
    concealed_row, concealed = _matches(shown.value, hidden.value)
    width = left.value.max(initial=0) + 1
    own_row, own = _matches(shown.item * width + shown.value, left.item * width + left.value)
    row, parts = np.concatenate([concealed_row, own_row]), (hidden[concealed], left[own])
    item, prop, value, edge_id = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("item", "property", "value", "edge_id")
    )
    return Edges(row, seeds[item], prop, value, edge_id), np.bincount(own_row, minlength=len(shown))


def _matches(wanted: Ints, there: Ints) -> tuple[Ints, Ints]:
    """Every pair of equal numbers: places in `wanted`, ascending, and in `there`."""
    order = np.argsort(there, kind="stable")
    first, end = (np.searchsorted(there[order], wanted, side) for side in ("left", "right"))
    times = end - first
    row = np.repeat(np.arange(len(wanted)), times)
    return row, order[np.arange(len(row)) + np.repeat(first - (np.cumsum(times) - times), times)]


def _numbered(seeds: Ints, items: Ints, num_items: int) -> tuple[Ints, Ints]:
    """The items that are no seeds, each once, as they come; and for each item its place among seeds and these."""
    every = np.concatenate([seeds, items])
    index = np.arange(len(every))
    last = np.empty(num_items, dtype=np.int64)  # untouched pages take no memory
    last[every[::-1]] = index[::-1]  # of equal ones the first stays
    first = last[every]
    new = first == index
    new[: len(seeds)] = True  # a seed that is there twice has two places
    place = np.cumsum(new) - 1
    return items[new[len(seeds) :]], place[first[len(seeds) :]]


def _tensor(array: Ints) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64))
