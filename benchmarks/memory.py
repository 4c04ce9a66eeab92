"""How much memory a training run takes of itself, as catalogues grow: `python -m benchmarks.memory [--items N ...]`.

A generated catalogue of each size (`catalogue.tables_of`: twelve triples an item, the same words and values at every
size) goes into a Ladybug file, a snapshot and a Neo4j server of its own (tools/neo4j/server.py). From each a short
training runs in a process of its own (a tiny model, texts alone), from opening the store over tokenizer, candidates and
steps to a validation; meanwhile it reads its own pages (/proc/self/smaps: Linux), by what they are:

    own        anonymous memory: Python, Arrow, torch
    pool       Ladybug's buffer pool, fixed (K3M_LADYBUG_POOL)
    mapped     pages of the store's files: a snapshot's
    libraries  pages of other files

Writes a table (--results FILE.md) and, beside it, a picture of each route's curves.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import altair as alt
import ladybug
import pandas as pd
import torch

import graphstore
from benchmarks.catalogue import tables_of
from graphstore.ladybug_store import pool_bytes
from graphstore.neo4j_import import write_import
from graphstore.snapshot import write_arrays
from k3m import train
from k3m.config import Config
from k3m.trainer import Trainer
from tools.neo4j import server

ROUTES = {"ladybug": "Ladybug", "snapshot": "a snapshot", "neo4j": "Neo4j"}
VALUES = 20_000
"""Distinct values, whatever the number of items."""
INTERVAL = 0.25
"""Seconds between two looks."""
MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \S+ *(.*)")
PARTS = {
    "own": "own",
    "pool": "Ladybug's buffer pool",
    "mapped": "the store's mapped files",
}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # Okabe-Ito
TINY = (
    "model.width=32",
    "text.layers=1",
    "model.interaction_layers=1",
    "image.channels=[8, 8, 8, 8]",
    "image.height=16",
    "image.width=16",
    "data.batch_size=32",
    "loss.value_negatives=4",
    "train.precision=float32",
)


# In the process that trains


def pages(store: str) -> dict[str, int]:
    """Resident bytes by what they are; `store`: what the paths of the store's files begin with."""
    found = {"own": 0, "pool": 0, "mapped": 0, "libraries": 0}
    size, path, resident = 0, "", 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == "Rss":
            resident = int(rest.split()[0]) * 1024
        elif name == "Anonymous":
            anonymous = int(rest.split()[0]) * 1024
            # Ladybug sets the addresses of a whole database aside, 8 TiB, and fills as many pages as its pool has.
            found["pool" if size > 2**40 else "own"] += anonymous
            found["mapped" if path.startswith(store) else "libraries"] += resident - anonymous
        elif mapping := MAPPING.match(line):
            size, path = int(mapping[2], 16) - int(mapping[1], 16), mapping[3]
    return found


@contextmanager
def watched(curve: Path, store: str) -> Iterator[dict[str, Trainer]]:
    """Writes a line of `pages` to `curve` every `INTERVAL`; what it gives takes the trainer, once there is one."""
    began, over, training = time.monotonic(), threading.Event(), dict[str, Trainer]()

    def look() -> None:
        with curve.open("w") as file:
            while True:
                last = over.is_set()
                step = training["trainer"].state.step if training else -1
                line = {"seconds": time.monotonic() - began, "step": step} | pages(store)
                file.write(json.dumps(line) + "\n")
                if last:
                    return
                over.wait(INTERVAL)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield training
    finally:
        over.set()
        watcher.join()


def trained(store: str, run: Path, curve: Path, steps: int) -> None:
    config = Config.from_preset("small", [*TINY, f"train.steps={steps}", "train.epochs=1000"])
    with watched(curve, store) as training, graphstore.open(store) as opened:
        training["trainer"] = train.start(opened, run, config)
        training["trainer"].fit()


# In the process that measures


@contextmanager
def store_of(route: str, n_items: int, folder: Path) -> Iterator[str]:
    """The location of a store of this kind with the catalogue in it."""
    items, triples = tables_of(n_items, VALUES)
    if route == "snapshot":
        folder.mkdir()
        write_arrays(graphstore.from_tables(items, triples).arrays, folder, "generated")
        yield str(folder)
    elif route == "ladybug":
        with graphstore.open(folder, "w") as store:
            store.ingest(items, triples)
        yield str(folder)
    else:
        home, files = folder / "server", folder / "files"
        running = server.start(home)
        try:
            server.save(running, home)
            os.environ[server.PASSWORD] = running.password
            with graphstore.open(running.url) as store:
                write_import(store, files, items, triples)
            del items, triples
            server.import_kept(home, files)
            running = server.load(home) or running
            yield running.url
        finally:
            server.stop(running, home)


def measured(route: str, n_items: int, steps: int, folder: Path) -> pd.DataFrame:
    """The curve of one training, in MiB, with columns route and items."""
    print(f"{route}, {n_items:,} items: filling the store", file=sys.stderr)
    curve = folder / "curve.jsonl"
    with store_of(route, n_items, folder / "store") as location:
        words = ["--trained", location, str(folder / "run"), str(curve), "--steps", str(steps)]
        subprocess.run([sys.executable, "-m", "benchmarks.memory", *words], check=True)
    frame = pd.read_json(curve, lines=True)
    frame[["own", "pool", "mapped", "libraries"]] /= 2**20
    return frame.assign(route=route, items=n_items)


def table(curves: pd.DataFrame) -> list[str]:
    """A row for each route and size: peaks in MiB, and what the largest may take of its own."""
    columns = ("store", "items", "seconds", "own at first", "own, peak", "allowed", "pool", "mapped", "libraries")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for route, of_route in curves.groupby("route", sort=False):
        peaks = of_route.groupby("items")[["seconds", "own", "pool", "mapped", "libraries"]].max()
        for n_items in peaks.index.tolist():
            peak = peaks.loc[n_items]
            first = of_route.loc[of_route["items"] == n_items, "own"].iloc[0]
            allowed = 1.1 * peaks["own"].iloc[0] + 16 * n_items / 2**20
            figures = [peak["seconds"], first, peak["own"], allowed, peak["pool"], peak["mapped"], peak["libraries"]]
            lines.append(
                f"| {ROUTES[str(route)]} | {n_items:,} | {' | '.join(f'{figure:,.0f}' for figure in figures)} |"
            )
    return lines


def picture(curves: pd.DataFrame, route: str) -> alt.FacetChart:
    """One route's memory over its time, a line a size; what it never has is left out."""
    alt.data_transformers.disable_max_rows()  # long trainings are looked at some thousand times
    own = curves[curves["route"] == route]
    shown = [part for part in PARTS if own[part].max() > 0]
    long = own.melt(["seconds", "items"], shown, var_name="part", value_name="MiB").replace({"part": PARTS})
    sizes = [f"{size:,} items" for size in sorted(own["items"].unique())]
    long["size"] = long["items"].map("{:,} items".format)
    scale = alt.Scale(domain=sizes, range=list(COLOURS[: len(sizes)]))
    dashes = alt.Scale(domain=sizes, range=[[1, 0], [6, 3], [2, 2], [8, 2, 2, 2]][: len(sizes)])
    legend = alt.Legend(title=None, orient="top")
    lines = alt.Chart(long, width=560, height=150).mark_line(strokeWidth=2)
    lines = lines.encode(
        x=alt.X("seconds:Q", title="seconds since the process began to open the store"),
        y=alt.Y("MiB:Q", title="MiB"),
        color=alt.Color("size:N", scale=scale, legend=legend),
        strokeDash=alt.StrokeDash("size:N", scale=dashes, legend=legend),
    )
    rows = alt.Row(
        "part:N",
        sort=[PARTS[part] for part in shown],
        title=None,
        header=alt.Header(orient="top", labelAnchor="start", labelFontSize=13),
    )
    title = f"Memory of a training that streams from {ROUTES[route]}"
    return lines.facet(row=rows, title=title).resolve_scale(y="independent")


def report(curves: pd.DataFrame, command: str, pictures: Sequence[str]) -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    smallest, largest = curves["items"].min(), curves["items"].max()
    return "\n".join(
        [
            "# Memory of a training run",
            "",
            f"`{command}` at commit {commit}; {os.cpu_count()} cores ({platform.machine()}), load "
            f"{os.getloadavg()[0]:.1f} at the end; Python {platform.python_version()}, torch {torch.__version__}, "
            f"ladybug {ladybug.__version__}, Neo4j 5.26.",
            "",
            f"A generated catalogue, twelve triples an item, {VALUES:,} values and the same words in its titles at "
            "every size: what does not grow with the items of a real catalogue does not grow here. A tiny model on "
            "small batches without photographs, so that its own memory hides nothing; from opening the store to the "
            "end of the first validation. MiB of resident pages, at their peak: `own` is anonymous memory, the buffer "
            "pool apart; `allowed` is a tenth more than the smallest size's own, and 16 bytes an item.",
            "",
            f"Fixed: Ladybug's buffer pool {pool_bytes() >> 20:,} MiB at most (K3M_LADYBUG_POOL); in the server's own "
            f"process, which is not counted here, Neo4j's heap {server.HEAP} and page cache {server.PAGE_CACHE}.",
            "",
            *table(curves),
            "",
            "\n\n".join(f"![Memory over time, {smallest:,} to {largest:,} items]({name})" for name in pictures),
            "",
        ]
    )


def write(curves: pd.DataFrame, results: Path, words: str) -> None:
    """The table, and a picture of each route."""
    pictures = {route: results.with_name(f"{results.stem}_{route}.svg") for route in curves["route"].unique()}
    for route, path in pictures.items():
        picture(curves, route).save(path)
    text = report(curves, f"python -m benchmarks.memory {words}", [path.name for path in pictures.values()])
    results.write_text(text, encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--routes", nargs="+", choices=list(ROUTES), default=list(ROUTES))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--results", type=Path, help="Markdown file to write; pictures go beside it")
    parser.add_argument("--trained", nargs=3, metavar=("STORE", "RUN", "CURVE"), help="what the other process does")
    asked = parser.parse_args(argv)
    if asked.trained:
        store, run, curve = asked.trained
        trained(store, Path(run), Path(curve), asked.steps)
        return
    curves = []
    for route in asked.routes:
        for n_items in sorted(asked.items):
            with tempfile.TemporaryDirectory(prefix="k3m-memory-") as folder:
                curves.append(measured(route, n_items, asked.steps, Path(folder)))
                print("\n".join(table(pd.concat(curves))), file=sys.stderr)
    if asked.results:
        write(pd.concat(curves), asked.results, " ".join(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    main()
