"""`python -m loaders.ingest SOURCE PATH --store STORE [--mapping M] [--normalise N] [--holdout R --seed S
--base P ...] [--limit N] [--prune]`: a catalogue's files into a store.

Bad rows go to quarantine.tsv beside the store, with file, line and reason; the rest goes in. The same input twice
changes nothing.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import pandas as pd
import tyro
from tyro.conf import Positional

import graphstore
from graphstore import IngestReport, Store
from graphstore.ladybug_store import set_aside
from graphstore.neo4j_import import COMMAND, write_import
from loaders import abo, demo_files, fashion, kaggle_fashion, normalise, openbg_img, settings, table, taobao
from loaders.catalogue import Catalogue, CatalogueBuilder
from loaders.holdout import hold_out
from loaders.normalise import normalised
from loaders.quarantine import NAME, Quarantine

Reader: TypeAlias = Callable[[Path, CatalogueBuilder], Catalogue]
SOURCES: dict[str, Reader] = {
    "abo": abo.read,
    "demo": demo_files.read,
    "fashion": fashion.read,
    "kaggle-fashion": kaggle_fashion.read,
    "openbg-img": openbg_img.read,
    "taobao": taobao.read,
}


@dataclass(frozen=True)
class Arguments:
    """Read a catalogue's files into a store."""

    source: Positional[Literal["abo", "demo", "fashion", "kaggle-fashion", "openbg-img", "table", "taobao"]]
    """Format of the files; table: any CSV, TSV, JSON Lines or Parquet."""
    path: Positional[Path]
    """Folder (for table and taobao also one file)."""
    store: str
    """Where to: a Ladybug file, or neo4j://user@host:port/database (password: K3M_NEO4J_PASSWORD)."""
    mapping: Path | None = None
    """For table: which column is what, in TOML; k3m map FILE proposes one."""
    normalise: Path | None = None
    """Rules that bring values into one form, in TOML: case, white space, units, synonyms."""
    holdout: float = 0.0
    """Share of the facts to keep back for evaluation, for sources without splits of their own."""
    seed: int = 0
    """Of the hold-out."""
    base: tuple[str, ...] = ()
    """Properties that items of split cold keep for training."""
    limit: int | None = None
    """Take the first N items only."""
    prune: bool = False
    """The files are the whole catalogue: remove the items and triples that they lack."""
    take_over: bool = False
    """Go on although a process on another machine is marked as ingesting (Neo4j)."""
    neo4j_import: Path | None = None
    """For the first load of an empty Neo4j: write the files of an offline import into this folder, nothing else."""


def ingest(arguments: Arguments, store: Store) -> tuple[Catalogue, Quarantine, IngestReport]:
    """Read, normalise, hold out, write; the bad rows are beside the store afterwards.

    Raises:
        ValueError: a hold-out of a source that brings its splits, a base without a hold-out, a limit below 1 or with
            --prune, rows set aside with --prune, a mapping of another source than table or none for it.
        CatalogueError: files that are not there, a mapping that does not fit them, rules that are none.
    """
    if arguments.base and not arguments.holdout:
        raise ValueError("--base says what cold items keep: it needs --holdout")
    if arguments.limit is not None and arguments.limit < 1:
        raise ValueError(f"--limit must be at least 1 (got {arguments.limit})")
    if arguments.prune and arguments.limit is not None:
        raise ValueError("--prune takes the files for the whole catalogue, --limit reads a part of them")
    read = _reader(arguments)
    rules = normalise.load(arguments.normalise) if arguments.normalise else ()
    quarantine = Quarantine()
    builder = CatalogueBuilder(arguments.source, store.images, quarantine, arguments.limit)
    catalogue = normalised(read(arguments.path, builder), rules)
    if arguments.holdout and catalogue.brings_splits:
        raise ValueError(f"--holdout: {arguments.path} brings its own splits; leave it out")
    if arguments.holdout:
        kept_back = hold_out(catalogue.triples, arguments.holdout, arguments.seed, arguments.base)
        catalogue = replace(catalogue, triples=kept_back)
    set_aside = graphstore.data_dir(store.location) / NAME
    quarantine.write(set_aside)
    if arguments.prune and quarantine.set_aside:
        raise ValueError(
            f"--prune would remove what the rows set aside are about ({quarantine.set_aside}; see {set_aside}): mend "
            "them, or ingest without it; nothing was written"
        )
    return catalogue, quarantine, _write(arguments, store, (catalogue.items, catalogue.triples, catalogue.properties))


def _write(arguments: Arguments, store: Store, frames: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]) -> IngestReport:
    if arguments.neo4j_import is None:
        return store.ingest(*frames, prune=arguments.prune, take_over=arguments.take_over)
    return write_import(store, arguments.neo4j_import, *frames)


def _reader(arguments: Arguments) -> Reader:
    if (arguments.source == "table") != (arguments.mapping is not None):
        raise ValueError("--mapping says what the columns of a table are: it needs table, and table needs it")
    if arguments.mapping is None:
        return SOURCES[arguments.source]
    return partial(table.read, mapping=settings.load(arguments.mapping, table.mapping_of))


def count_table(catalogue: Catalogue, quarantine: Quarantine, report: IngestReport) -> str:
    """What was read and what became of it."""
    splits = catalogue.triples["split"].fillna("training").value_counts()
    rows = catalogue.rows
    lines: list[tuple[str, int]] = [
        ("rows read", rows.read),
        ("  loaded", rows.loaded),
        ("  repeated", rows.repeated),
        ("  set aside", rows.set_aside),
        ("  over the limit", rows.over_limit),
        ("parts of rows set aside", quarantine.partial),
        ("pairs repeated in a row", rows.repeated_pairs),
        ("items", len(catalogue.items)),
        ("  with photograph", int(catalogue.items["image"].notna().sum())),
        ("  new", report.items_new),
        ("  changed", report.items_changed),
        ("  removed", report.items_removed),
        ("triples", len(catalogue.triples)),
        *((f"  {name}", int(number)) for name, number in splits.items()),
        ("  normalised", int(catalogue.triples["original"].notna().sum())),
        ("merged by normalising", catalogue.merged),
        ("  new", report.triples_new),
        ("  changed", report.triples_changed),
        ("  removed", report.triples_removed),
        ("data version", report.data_version),
    ]
    return "\n".join(f"{name:<26}{number:>12,}" for name, number in lines)


def open_to_ingest(location: str) -> Store:
    """The store; a file that does not open any more is set aside, and the ingest builds it anew."""
    try:
        return graphstore.open(location, "w")
    except graphstore.BrokenStore as error:
        print(f"{error}\nset aside: {set_aside(Path(location))}", file=sys.stderr)
        return graphstore.open(location, "w")


def import_steps(folder: Path) -> str:
    """What is left to do after the files of an offline import were written."""
    return (
        f"with the server stopped, in {folder.resolve()}:\n  {COMMAND}\n"
        "with the server started again:\n  cypher-shell --file schema.cypher\n"
        "for the server of `make neo4j` both are:\n"
        f"  python tools/neo4j/server.py import {folder.resolve()}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module."""
    arguments = tyro.cli(Arguments, args=argv, prog="k3m ingest")
    with open_to_ingest(arguments.store) as store:
        catalogue, quarantine, report = ingest(arguments, store)
        print(count_table(catalogue, quarantine, report))
        if quarantine.rows:
            print(f"set aside: {graphstore.data_dir(store.location) / NAME}")
    if arguments.neo4j_import:
        print(import_steps(arguments.neo4j_import))
    return 0


if __name__ == "__main__":
    sys.exit(main())
