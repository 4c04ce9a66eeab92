"""`k3m update SOURCE PATH --store STORE --run RUN --out NEWRUN`: a catalogue's changed files into its store, a run that
begins with RUN's weights, completions of what is new, and what is different afterwards.

Three commands after one another, then a report: `k3m ingest`, `k3m train --from RUN`, `k3m complete --cells FILE`, each
of which can be repeated by hand; the console command gives them. The folder NEWRUN/update holds which of them are done,
so that the same command again goes on where it was stopped, and in the end differences.json and differences.parquet.

Completed are the cells (item, property) without a value that are of an item that is new or changed, or that were not
missing before. All other proposals of RUN stay as they are. Where the files change nothing, nothing is trained.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import Positional, arg

import graphstore
from k3m import differences
from k3m.catalogue_state import CatalogueState
from k3m.progress import Progress
from k3m.run import load_run
from k3m.run_info import read_info

Command = Callable[[str], Callable[[Sequence[str]], int | None]]
"""By its name, what runs a command with its words."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Take a catalogue's changed files in, train on from a run's weights, complete what is new, say what is
    different."""

    source: Annotated[Positional[str], arg(metavar="SOURCE")]
    """Format of the files, as k3m ingest has it."""
    path: Annotated[Positional[Path], arg(metavar="PATH")]
    """Folder or file: the changed rows, or with --prune the whole catalogue."""
    store: str
    """The catalogue's: a Ladybug file, or neo4j://user@host:port/database (password: K3M_NEO4J_PASSWORD)."""
    run: Path
    """The run so far, which stays as it is."""
    out: Path
    """Folder of the run to be made."""
    set: tuple[str, ...] = ()
    """Settings over RUN's: section.key=value ...; warm.epochs and warm.peak_lr say how much it is trained."""
    report: Path | None = None
    """Where the report on RUN lies, to compare with; by default RUN/complete."""
    write: bool = False
    """Write the completions into the store, as proposals of NEWRUN, and withdraw the open ones of before that these
    answer anew or that have their value by now."""
    precision: float | None = None
    """With --write: as k3m complete has it; likewise the next."""
    uncalibrated: bool = False
    mapping: Path | None = None
    """As k3m ingest has it; likewise the next."""
    normalise: Path | None = None
    holdout: float = 0.0
    seed: int = 0
    base: tuple[str, ...] = ()
    prune: bool = False
    take_over: bool = False

    def ingest_words(self) -> list[str]:
        options = ("mapping", "normalise", "holdout", "seed", "base", "prune", "take_over")
        given = {name: getattr(self, name) for name in options if getattr(self, name)}
        words = [self.source, str(self.path), "--store", self.store]
        for name, value in given.items():
            values = list(map(str, value)) if isinstance(value, tuple) else [] if value is True else [str(value)]
            words += [f"--{name.replace('_', '-')}", *values]
        return words

    def train_words(self) -> list[str]:
        settings = ["--set", *self.set] if self.set else []
        return ["--store", self.store, "--run", str(self.out), "--from", str(self.run), "--resume", *settings]

    def complete_words(self, cells: Path) -> list[str]:
        return ["--run", str(self.out), "--store", self.store, "--cells", str(cells), *self.write_words()]

    def write_words(self) -> list[str]:
        write = ["--write"] if self.write else []
        write += [] if self.precision is None else ["--precision", str(self.precision)]
        return write + (["--uncalibrated"] if self.uncalibrated else [])


def update(arguments: Arguments, command: Command) -> dict[str, Any] | None:
    """All steps that are not done yet; what is different afterwards, or None where nothing changed.

    Raises:
        ValueError: RUN is no finished run, or NEWRUN another one than this update's.
    """
    load_run(arguments.run)
    folder = arguments.out / "update"
    if (arguments.out / "config.toml").exists() and not folder.exists():
        raise ValueError(f"{arguments.out} holds a run already: name another folder")
    progress = Progress.of(folder, _asked(arguments))
    with progress.step("described") as due:
        if due:
            _describe(arguments).save(folder / "before")
    before = CatalogueState.load(folder / "before")
    with progress.step("ingested") as due:
        if due:
            command("ingest")(arguments.ingest_words())
    after = _describe(arguments)
    if after.data_version == before.data_version:
        shutil.rmtree(folder)
        if not any(arguments.out.iterdir()):
            arguments.out.rmdir()
        return None
    with progress.step("trained") as due:
        if due:
            command("train")(arguments.train_words())
    with progress.step("completed", " ".join(arguments.write_words())) as due:  # what it writes, it withdraws for
        if due:
            after.to_complete(before).to_parquet(folder / "cells.parquet", index=False)
            command("complete")(arguments.complete_words(folder / "cells.parquet"))
    report = arguments.report or arguments.run / "complete"
    with graphstore.open(arguments.store) as store:
        found = differences.write(arguments.run, arguments.out, report, before, after, store)
    return found | ({"withdrawn": _withdraw(arguments, report)} if arguments.write else {})


def _withdraw(arguments: Arguments, report: Path) -> int:
    """Of the older proposals in the store those that are answered anew, or have their value by now."""
    with graphstore.open_existing(arguments.store) as store:
        return store.withdraw(differences.outdated(arguments.run, arguments.out, report))


def _asked(arguments: Arguments) -> dict[str, str]:
    """What says that it is the same update."""
    return {"run": str(arguments.run), "ingest": " ".join(arguments.ingest_words())}


def _describe(arguments: Arguments) -> CatalogueState:
    with graphstore.open(arguments.store) as store:
        return CatalogueState.of(store)


def _say_if_older(arguments: Arguments) -> None:
    trained = read_info(arguments.run)["data_version"]
    with graphstore.open(arguments.store) as store:
        version = store.data_version
    if trained != version:
        print(
            f"{arguments.run} was trained on data version {trained}, the store is at {version}: "
            f"k3m train --from {arguments.run} takes what came between"
        )


def main(argv: Sequence[str] | None = None, *, command: Command) -> int:
    """The command; see the module.

    Args:
        command: gives the other commands.
    """
    arguments = tyro.cli(Arguments, args=argv, prog="k3m update")
    found = update(arguments, command)
    if found is None:
        print(f"{arguments.store}: the files changed nothing; nothing was trained")
        _say_if_older(arguments)
    else:
        print(differences.table(found))
        if "withdrawn" in found:
            print(f"{'open ones withdrawn':<26}{found['withdrawn']:>12,}")
        print(f"{arguments.out / 'update'}: {differences.NAME}, differences.parquet")
    return 0
