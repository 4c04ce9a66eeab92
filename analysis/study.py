"""A study: rows of settings by seeds, each trained and its kept-back triples ranked.

`python -m analysis.study --store STORE --study FILE.toml --out DIR [--jobs N]`. The file:

    evaluate = ["test", "cold"]       # splits
    seeds = [0, 1, 2]
    settings = ["train.epochs=5"]     # of every row

    [rows."margin"]
    preset = "small"                  # the default
    [rows."softmax"]
    settings = ["loss.link=softmax", "loss.lpm=3"]

DIR then holds a run folder a cell, `runs/ROW-SEED`, with its `ranks.parquet` (item, property, value, split, rank), and
of all cells `results.csv` (row, seed, split, metric, value, minutes) and `table.md`. A study that was stopped goes on
with the same command: done cells are kept, a run goes on from its checkpoint.
"""

import itertools
import multiprocessing
import os
import re
import signal
import time
import tomllib
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import tyro
from tqdm import tqdm

import graphstore
import k3m
from k3m import train
from k3m.candidates import Candidates
from k3m.config import Config
from k3m.ranks import link_metrics, rank_triples

RANKS = "ranks.parquet"
_MINUTES = "minutes.txt"


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Train and rank every cell of a study."""

    store: str
    """Store to stream from; with several jobs one that many may read, a snapshot folder say."""
    study: Path
    """The study (see the module)."""
    out: Path
    """Folder to write to."""
    jobs: int = 1
    """Cells at a time, each with its share of the processors."""


@dataclass(frozen=True)
class Cell:
    """One training."""

    row: str
    seed: int
    config: Config

    @property
    def folder(self) -> str:
        return f"{re.sub(r'[^a-z0-9]+', '-', self.row.lower()).strip('-')}-{self.seed}"


@dataclass(frozen=True)
class Study:
    cells: list[Cell]
    evaluate: tuple[str, ...]

    @classmethod
    def load(cls, path: Path) -> "Study":
        """
        Raises:
            ValueError: naming the file and the key that is not known, or the setting that is wrong.
        """
        try:
            return cls.from_dict(tomllib.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:  # of TOML too
            raise ValueError(f"{path}: {error}") from None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Study":
        _refuse_unknown("the study", values, ("evaluate", "seeds", "settings", "rows"))
        common, seeds = values.get("settings", []), values.get("seeds", [0])
        cells = [
            Cell(name, seed, _config(name, row, [*common, f"train.seed={seed}"]))
            for name, row in values.get("rows", {}).items()
            for seed in seeds
        ]
        if len({cell.folder for cell in cells}) < len(cells) or not cells:
            raise ValueError("a study has one row or more, whose names differ in letters and digits")
        return cls(cells, tuple(values.get("evaluate", ["test"])))


def _refuse_unknown(where: str, values: Mapping[str, Any], known: Sequence[str]) -> None:
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"unknown key {', '.join(unknown)} in {where}: expected one of {', '.join(known)}")


def _config(name: str, row: Mapping[str, Any], common: Sequence[str]) -> Config:
    """A row's own settings come last."""
    _refuse_unknown(f"row {name}", row, ("preset", "settings"))
    return Config.from_preset(row.get("preset", "small"), [*common, *row.get("settings", [])])


def run_cell(location: str, cell: Cell, evaluate: Sequence[str], folder: Path) -> None:
    """Train and rank; nothing where that is done."""
    if (folder / RANKS).exists():
        return
    with graphstore.open(location) as store:
        _train(store, cell, folder)
        triples = store.triples((None, *store.counts().splits)).to_pandas()
        asked = triples[triples["split"].isin(evaluate)].reset_index(drop=True)
        predictor = k3m.load(folder).predictor(store, sorted(set(asked["item"])))
        ranks = rank_triples(predictor, asked, triples, Candidates.from_store(store))
        asked.assign(rank=ranks).to_parquet(folder / RANKS, index=False)


def _train(store: graphstore.Store, cell: Cell, folder: Path) -> None:
    """To the end, and note the minutes, those before a stop too."""
    begun, before = time.monotonic(), _minutes(folder)
    trainer = (train.resume if (folder / "config.toml").exists() else train.start)(store, folder, cell.config)
    try:
        trainer.fit()
    finally:
        minutes = before + (time.monotonic() - begun) / 60
        (folder / _MINUTES).write_text(f"{minutes:.2f}\n", encoding="utf-8")


def _minutes(folder: Path) -> float:
    return float((folder / _MINUTES).read_text()) if (folder / _MINUTES).exists() else 0.0


def results(study: Study, out: Path) -> pd.DataFrame:
    """Of the cells that are done: row, seed, split, metric, value, minutes of training."""
    found = []
    for cell in study.cells:
        folder = out / "runs" / cell.folder
        if not (folder / RANKS).exists():
            continue
        for split, ranks in pd.read_parquet(folder / RANKS).groupby("split", sort=False):
            figures = link_metrics(ranks["rank"].to_numpy(), ranks["property"].to_numpy())
            found += [(cell.row, cell.seed, split, *figure, _minutes(folder)) for figure in figures.items()]
    return pd.DataFrame(found, columns=["row", "seed", "split", "metric", "value", "minutes"])


def table(found: pd.DataFrame, splits: Sequence[str]) -> str:
    """Markdown: a row's mean over seeds, and their deviation where there are several."""
    columns = list(itertools.product(splits, (("mrr", "MRR"), ("hits_at_1", "Hits@1"))))
    names = ["row", "seeds", *(f"{split} {shown}" for split, (_, shown) in columns), "minutes"]
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for row, of_row in found.groupby("row", sort=False):
        figures = [_figure(of_row, split, metric) for split, (metric, _) in columns]
        minutes = of_row.drop_duplicates("seed")["minutes"].mean()
        lines.append(f"| {row} | {of_row['seed'].nunique()} | {' | '.join(figures)} | {minutes:.0f} |")
    return "\n".join(lines) + "\n"


def _figure(of_row: pd.DataFrame, split: str, metric: str) -> str:
    values = of_row.loc[(of_row["split"] == split) & (of_row["metric"] == metric), "value"]
    if values.empty:
        return ""
    mean = f"{values.mean():.4f}".lstrip("0")
    return mean if len(values) == 1 else f"{mean} ± {values.std():.4f}".replace("± 0", "± ")


def write(study: Study, out: Path) -> None:
    """What is known by now."""
    found = results(study, out)
    found.to_csv(out / "results.csv", index=False)
    (out / "table.md").write_text(table(found, study.evaluate), encoding="utf-8")


def in_process(cell: Cell, arguments: Arguments, evaluate: Sequence[str], threads: int) -> None:
    """`run_cell` in a process of its own. A stop from the keyboard reaches the study, which passes it on once: hence
    the group of its own."""
    os.setpgrp()
    torch.set_num_threads(threads)
    run_cell(arguments.store, cell, evaluate, arguments.out / "runs" / cell.folder)


def run_all(study: Study, arguments: Arguments) -> Generator[Cell]:
    """Each cell when it is done, `jobs` at a time; a stop leaves checkpoints behind.

    Raises:
        SystemExit: naming a cell that failed.
    """
    context, waiting = multiprocessing.get_context("spawn"), list(study.cells)
    running: dict[Cell, SpawnProcess] = {}
    threads = max(1, torch.get_num_threads() // arguments.jobs)
    try:
        while waiting or running:
            while waiting and len(running) < arguments.jobs:
                cell = waiting.pop(0)
                running[cell] = context.Process(target=in_process, args=(cell, arguments, study.evaluate, threads))
                running[cell].start()
            wait([process.sentinel for process in running.values()])
            for cell in [cell for cell, process in running.items() if not process.is_alive()]:
                if running.pop(cell).exitcode:
                    raise SystemExit(f"{arguments.out / 'runs' / cell.folder} failed: see above")
                yield cell
    finally:
        for process in running.values():
            os.kill(process.pid or 0, signal.SIGINT)
        for process in running.values():
            process.join()


def main(arguments: Arguments) -> None:
    """The command; see the module."""
    study = Study.load(arguments.study)
    arguments.out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with closing(run_all(study, arguments)) as done:
        for _ in tqdm(done, total=len(study.cells), desc="cells", unit="cell"):
            write(study, arguments.out)
    print((arguments.out / "table.md").read_text(encoding="utf-8"), end="")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
