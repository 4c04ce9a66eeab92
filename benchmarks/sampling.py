"""How fast subgraphs are drawn: by snapshot, by torch-sparse's own neighbour sampler, and by Cypher.

    python -m benchmarks.sampling snapshot --items 1000000 --torch-sparse neighbor.so
    python -m benchmarks.sampling database STORE --items 100000       # an empty database; password as ever

A generated graph with 12 triples an item, whose values follow Zipf's law; batches of 1,024 items with fan-outs 10 and
(10, 10). Edges a second count the edges that a sampler returns. The samplers take turns, batch by batch, and the median
batch is reported: other work on the machine meets all of them alike.

`--torch-sparse` is a library with torch-sparse's operator `hetero_neighbor_sample`: its installed `_neighbor_sample`,
or its two source files (csrc/neighbor_sample.cpp, csrc/cpu/neighbor_sample_cpu.cpp) compiled alone with its own flags.
Without it a plain-numpy sampler with replacement is the only other.
"""

import argparse
import platform
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch_geometric.sampler import NodeSamplerInput

import graphstore
from benchmarks.catalogue import PROPERTIES, named, triples_of
from graphstore import Store
from graphstore.arrays import Arrays, ArrayStore
from graphstore.snapshot import write_arrays
from graphstore.tables import digests
from k3m.sampler import TripleSampler

BATCH = 1024
FAN_OUTS = ((10,), (10, 10))
Draw = Callable[[NDArray[np.int64]], int]
"""From seeds to the number of edges drawn."""


def snapshot_of(n_items: int, directory: Path) -> ArrayStore:
    """The graph as a snapshot, straight from arrays."""
    n_values = n_items // 2
    item, prop, value = triples_of(n_items, n_values)
    by_value = np.argsort(value, kind="stable")
    place = np.empty_like(by_value)
    place[by_value] = np.arange(len(by_value))
    names = pa.array([f"property {ord:02}" for ord in range(PROPERTIES)])
    ids, nothing = [f"item-{ord:09}" for ord in range(n_items)], pa.nulls(n_items, pa.string())
    columns = {"title": nothing, "category": nothing, "image": nothing}
    no_triples = pa.table(
        {name: pa.array([], pa.string()) for name in ("item", "property", "value", "source", "split")}
    )
    arrays = Arrays(
        items=pa.table({"id": ids} | columns),
        triples=no_triples,
        properties=pa.table({"name": names, "group": pa.nulls(PROPERTIES, pa.string())}),
        values=pa.array([f"value {ord:09}" for ord in range(n_values)]),
        digest=digests(ids),
        indptr=np.searchsorted(item, np.arange(n_items + 1)),
        property=prop,
        value=value,
        value_indptr=np.searchsorted(value[by_value], np.arange(n_values + 1)),
        value_edge=by_value,
        value_item=item[by_value],
        place=place,
        data_version=1,
    )
    write_arrays(arrays, directory, "generated")
    store = graphstore.open(directory)
    assert isinstance(store, ArrayStore)
    return store


def ours(store: Store, fan_out: tuple[int, ...], replace: bool) -> Draw:
    sampler = TripleSampler(store, seed=0, fan_out=fan_out, replace=replace)

    def draw(seeds: NDArray[np.int64]) -> int:
        nodes = torch.from_numpy(seeds)
        out = sampler.sample_from_nodes(NodeSamplerInput(input_id=nodes, node=nodes))
        return sum(len(hop) for hop in out.metadata[2].hops)

    return draw


def torch_sparse(store: ArrayStore, fan_out: tuple[int, ...], replace: bool) -> Draw:
    """Hop 1 along (value, rev_has, item), hop 2 along (item, has, value); it knows no hubs and no properties."""
    arrays, has, reverse = store.arrays, "item__has__value", "value__rev_has__item"
    types = [("item", "has", "value"), ("value", "rev_has", "item")]
    pointers = {reverse: torch.tensor(arrays.indptr), has: torch.tensor(arrays.value_indptr)}
    rows = {
        reverse: torch.from_numpy(arrays.value.astype(np.int64)),
        has: torch.from_numpy(arrays.value_item.astype(np.int64)),
    }
    numbers = {reverse: [fan_out[0], *(0 for _ in fan_out[1:])], has: [0, *fan_out[1:]]}
    sample = torch.ops.torch_sparse.hetero_neighbor_sample

    def draw(seeds: NDArray[np.int64]) -> int:
        nodes = {"item": torch.from_numpy(seeds)}
        _, row, _, _ = sample(["item", "value"], types, pointers, rows, nodes, numbers, len(fan_out), replace, True)
        return sum(len(ends) for ends in row.values())

    return draw


def plain_numpy(store: ArrayStore, fan_out: tuple[int, ...], replace: bool) -> Draw:
    """With replacement, and nothing else: no hubs, no draws that can be repeated, no numbering of the nodes."""
    arrays, random = store.arrays, np.random.default_rng(0)

    def draw(seeds: NDArray[np.int64]) -> int:
        drawn, nodes = 0, seeds
        for hop, k in enumerate(fan_out):
            indptr, ends = ((arrays.indptr, arrays.value), (arrays.value_indptr, arrays.value_item))[hop]
            first, degree = indptr[nodes], indptr[nodes + 1] - indptr[nodes]
            places = first[:, None] + (random.random((len(nodes), k)) * degree[:, None]).astype(np.int64)
            drawn_ends = ends[places[degree > 0]].ravel()
            drawn, nodes = drawn + len(drawn_ends), np.unique(drawn_ends)
        return drawn

    return draw


def compared(draws: dict[str, Draw], n_items: int, batches: int) -> dict[str, tuple[float, float]]:
    """Edges a second and milliseconds of each sampler's median batch."""
    random = np.random.default_rng(1)
    seconds, edges = defaultdict(list), defaultdict(list)
    for _ in range(batches):
        seeds = random.choice(n_items, BATCH, replace=False)
        for name, draw in draws.items():
            began = time.perf_counter()
            edges[name].append(draw(seeds))
            seconds[name].append(time.perf_counter() - began)
    medians = {name: float(np.median(times)) for name, times in seconds.items()}
    return {name: (float(np.mean(edges[name])) / median, median * 1000) for name, median in medians.items()}


def run_snapshot(arguments: argparse.Namespace) -> None:
    if arguments.torch_sparse:
        torch.ops.load_library(arguments.torch_sparse)
    with TemporaryDirectory() as folder:
        store = snapshot_of(arguments.items, Path(folder))
        print(f"{arguments.items:,} items, {store.num_training_triples:,} triples, {store.num_values:,} values")
        print("| fan-out | replacement | sampler | edges/s | ms a batch |\n|---|---|---|---|---|")
        for fan_out in FAN_OUTS:
            for replace in (False, True):
                draws = {"snapshot": ours(store, fan_out, replace)}
                if arguments.torch_sparse:
                    draws["torch-sparse"] = torch_sparse(store, fan_out, replace)
                if replace:
                    draws["plain numpy"] = plain_numpy(store, fan_out, replace)
                compared(draws, arguments.items, 2)  # warm
                for name, (rate, ms) in compared(draws, arguments.items, arguments.batches).items():
                    print(f"| {fan_out} | {'with' if replace else 'without'} | {name} | {rate:,.0f} | {ms:.1f} |")


def ingest(location: str, n_items: int) -> None:
    names = (named("item-{:09}", n_items), named("property {:02}", PROPERTIES), named("value {:09}", n_items // 2))
    ords = triples_of(n_items, n_items // 2)
    columns = [texts.take(pa.array(own)) for texts, own in zip(names, ords, strict=True)]
    with graphstore.open(location, "w") as store:
        if not store.num_items:
            store.ingest(pa.table({"id": names[0]}), pa.table(columns, names=["item", "property", "value"]))


STEPS = ("neighbours", "item_digests", "value_degrees", "value_edges")


def clocked(store: Store) -> dict[str, float]:
    """Seconds spent in each of the store's answers so far, of these in the database, and draws."""
    spent: dict[str, float] = defaultdict(float)
    step = ""

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal step
            outer, step = step, name or f"{step}, of it in the database"
            began = time.perf_counter()
            try:
                return work(*args, **kwargs)
            finally:
                spent[step] += time.perf_counter() - began
                step = outer

        return call

    for name in STEPS:
        setattr(store, name, timed(name, getattr(store, name)))
    database = "_run" if hasattr(store, "_run") else "_rows"
    setattr(store, database, timed("", getattr(store, database)))
    return spent


def run_database(arguments: argparse.Namespace) -> None:
    ingest(arguments.store, arguments.items)
    with graphstore.open(arguments.store) as store:
        print(f"{store.num_items:,} items, {store.num_training_triples:,} triples, {store.num_values:,} values")
        spent = clocked(store)
        for fan_out in FAN_OUTS:
            draw = ours(store, fan_out, False)
            compared({"": draw}, arguments.items, 2)  # warm
            spent.clear()
            [(rate, ms)] = compared({"": draw}, arguments.items, arguments.batches).values()
            print(f"\nfan-out {fan_out}: {rate:,.0f} edges/s, {ms:.0f} ms a batch\n\n| step | ms a batch |\n|---|---|")
            for step, seconds in spent.items():
                print(f"| {step} | {seconds / arguments.batches * 1000:.1f} |")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    snapshot = commands.add_parser("snapshot")
    snapshot.add_argument("--torch-sparse", help="library with torch-sparse's operator")
    snapshot.set_defaults(run=run_snapshot)
    database = commands.add_parser("database")
    database.add_argument("store")
    database.set_defaults(run=run_database)
    for command, items in ((snapshot, 1_000_000), (database, 100_000)):
        command.add_argument("--items", type=int, default=items)
        command.add_argument("--batches", type=int, default=30)
    arguments = parser.parse_args(argv)
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} thread, numpy {np.__version__}")
    arguments.run(arguments)


if __name__ == "__main__":
    main()
