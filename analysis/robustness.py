"""How models stand missing and wrong input: `python -m analysis.robustness --store STORE --study study.toml --out DIR`.

The file declares a grid (see `benchmarks/studies/robustness_fashion.toml`):

    seeds = [0]
    test_examples = 2000                # of each task, drawn; 0: all
    [tuning]                            # of every training: fields of k3m.tasks.config.TaskConfig
    max_minutes = 10
    [tasks.classify]                    # and align, answer; data = "FILE" or "auto", label = "category", tuning = {...}
    [models."K3M"]
    model = "k3m"
    run = "runs/k3m"                    # of its pretraining; none: from scratch
    kind = "ours"                       # or with PKG, without PKG, text, other
    [[grid]]
    setting = "train-clean"             # test alone is corrupted; train-corrupt: train, valid and test alike
    protocols = ["TMR", "MNR"]          # default: the paper's seven; also KMR, KNR
    ratios = [0, 0.5, 1]
    donors = "category"                 # default: any
    models = ["K3M"]                    # default: all; tasks likewise

Each model is tuned once a task and seed, or, with train-corrupt, once a cell. DIR then holds `tuned/` (the models),
`draws/` (what was changed, a table each), `cells/` (figures and outcomes by example) and of all cells results.parquet
(task, model, setting, protocol, ratio, seed, metric, value, n), area.parquet, compared.parquet, figures/ and page.md.
A study that was stopped goes on with the same command: what is done is kept.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import tyro
from tqdm import tqdm

import graphstore
from analysis import robustness_figures, robustness_page
from analysis.robustness_grid import Cell, Study
from analysis.robustness_results import FIGURES, OUTCOMES, REFUSED, Results
from graphstore import Store
from k3m import finetune
from k3m.corrupted_store import CorruptedStore
from k3m.protocols import draw, read_draw, write_draw
from k3m.tasks import models, tune
from k3m.tasks.data import PARTS, Part, Task, TaskData
from k3m.tasks.scoring import NotRun, Tuned

MINUTES = "minutes.json"
SECONDS_AN_EXAMPLE = 0.02
"""To read and judge one: a guess until the first cell is done."""
TRAINING_MINUTES = 30.0
"""A guess for a training without tuning.max_minutes, until one is done."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Tune models, and judge them on input that is missing or wrong."""

    store: str
    """Store to read, a snapshot folder say."""
    study: Path
    """The study (see the module)."""
    out: Path
    """Folder to write to."""
    dry: bool = False
    """Say how long it would take, and run nothing."""


class Runner:
    """Runs cells of one study over one store."""

    def __init__(self, study: Study, store: Store, out: Path) -> None:
        self.study, self.store, self.out = study, store, out
        self._data: dict[Task, TaskData] = {}

    def run(self, cells: list[Cell]) -> Iterator[Cell]:
        """Each cell when it is done; those of one tuned model come one after the other."""
        held: tuple[str, Tuned | None] = ("", None)
        for cell in cells:
            if held[0] != cell.tuned:
                held = (cell.tuned, self._tuned(cell))
            if held[1] is not None:
                self._judge(cell, held[1])
            yield cell

    def done(self, cell: Cell) -> bool:
        """Whether it has its figures, or cannot have any."""
        return self.file(cell, FIGURES).exists() or self._refusal(cell).exists()

    def file(self, cell: Cell, ending: str) -> Path:
        return self.out / "cells" / f"{cell.name}{ending}"

    def _refusal(self, cell: Cell) -> Path:
        return self.out / "tuned" / f"{cell.tuned}{REFUSED}"

    def trained(self, cell: Cell) -> Path:
        """Is there once the cell's model is tuned and saved."""
        return self.out / "tuned" / cell.tuned / MINUTES

    def data(self, task: Task) -> TaskData:
        """Its examples, the same for every model and seed."""
        if task not in self._data:
            source = self.study.tasks[task]
            arguments = finetune.Arguments(
                task=task,
                out=self.out,
                data=source.data,
                label=source.label,
                most_train=self.study.train_examples,
                most_test=self.study.test_examples,
            )
            self._data[task] = finetune.data_of(arguments, self.store)
        return self._data[task]

    def _tuned(self, cell: Cell) -> Tuned | None:
        """The cell's tuned model; None where it cannot be had, which is noted."""
        folder, refusal = self.out / "tuned" / cell.tuned, self._refusal(cell)
        if refusal.exists():
            return None
        if self.trained(cell).exists():
            return models.load(folder)
        source = self._source(cell, PARTS) if cell.setting == "train-corrupt" else self.store
        model, begun = self.study.models[cell.model], time.monotonic()
        config = replace(self.study.tasks[cell.task].tuning, seed=cell.seed)
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            tuned = models.tuned_by(model.model, self.data(cell.task), source, config, model.run, model.settings)
        except NotRun as reason:
            _write_text(refusal, f"{reason}\n")
            return None
        tuned.save(folder)
        # Last: its presence says that the rest is there.
        _write_json(self.trained(cell), {"minutes": (time.monotonic() - begun) / 60, "device": device_name()})
        return tuned

    def _judge(self, cell: Cell, tuned: Tuned) -> None:
        """Outcomes first: the figures say that the cell is done."""
        begun, source = time.monotonic(), self._source(cell, PARTS if cell.setting == "train-corrupt" else ("test",))
        found = tune.evaluate(tuned, self.data(cell.task), source)
        self.file(cell, OUTCOMES).parent.mkdir(parents=True, exist_ok=True)
        _write(self.file(cell, OUTCOMES), lambda partial: found.outcomes.to_parquet(partial, index=False))
        _write_json(self.file(cell, FIGURES), {"metrics": found.metrics, "seconds": time.monotonic() - begun})

    def _source(self, cell: Cell, parts: tuple[Part, ...]) -> Store:
        """The store as the cell's model sees it."""
        if cell.noise is None:
            return self.store
        name = f"{cell.task}-{cell.protocol.replace(' ', '-')}-{cell.ratio:g}-{cell.seed}"
        path = self.out / "draws" / f"{name}{'' if parts == ('test',) else '-all'}.parquet"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            changes = self._changes(cell, parts)
            _write(path, lambda partial: write_draw(changes, partial))
        return CorruptedStore(self.store, read_draw(path))

    def _changes(self, cell: Cell, parts: tuple[Part, ...]) -> pd.DataFrame:
        """Part by part, test first: the ratio is exact in each, and test is corrupted alike in both settings. An item
        of several parts belongs to the first."""
        assert cell.noise is not None
        taken, found = set[str](), []
        for part in reversed(parts):
            items = set(self.data(cell.task).part(part).items.ravel().tolist()) - taken
            taken |= items
            found.append(draw(self.store, cell.noise, sorted(items)))
        return pd.concat(found, ignore_index=True)


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """Whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    write(partial)
    os.replace(partial, path)


def _write_text(path: Path, text: str) -> None:
    _write(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    _write_text(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """A file of `_write_json`."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def device_name() -> str:
    """Of what trains here."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {platform.machine()}"


# Before it starts


@dataclass(frozen=True)
class Estimate:
    """What is left to do."""

    trainings: int
    judgements: int
    hours: float
    measured: bool
    """From cells of this study that are done; else guessed from the budget of a training."""

    def __str__(self) -> str:
        basis = "by what is done" if self.measured else "a guess until the first cells are done"
        return (
            f"left: {self.trainings} trainings and {self.judgements} judgements, about {self.hours:.1f} device hours "
            f"on {device_name()} ({basis})"
        )


def estimate(runner: Runner) -> Estimate:
    """A training takes as long as its task's others did, else its budget; a judgement as its task's others did."""
    study = runner.study
    left = [cell for cell in study.cells if not runner.done(cell)]
    untrained = {cell.tuned: cell for cell in left if not runner.trained(cell).exists()}
    minutes = _mean(
        (cell.task, read_json(runner.trained(cell))["minutes"])
        for cell in study.trainings
        if runner.trained(cell).exists()
    )
    seconds = _mean(
        (cell.task, read_json(runner.file(cell, FIGURES))["seconds"])
        for cell in study.cells
        if runner.file(cell, FIGURES).exists()
    )
    training = sum(
        minutes.get(cell.task, study.tasks[cell.task].tuning.max_minutes or TRAINING_MINUTES)
        for cell in untrained.values()
    )
    judging = sum(seconds.get(cell.task, SECONDS_AN_EXAMPLE * len(runner.data(cell.task).test)) for cell in left)
    return Estimate(len(untrained), len(left), training / 60 + judging / 3600, bool(minutes and seconds))


def _mean(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    """By name."""
    held: dict[str, list[float]] = {}
    for name, value in pairs:
        held.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in held.items()}


def write(study: Study, out: Path) -> None:
    """Tables, figures and page of the cells that are done."""
    results = Results(study, out)
    results.write()
    pictures = robustness_figures.write(results, out / "figures")
    (out / "page.md").write_text(robustness_page.page(results, pictures), encoding="utf-8")


def main(arguments: Arguments) -> None:
    """The command; see the module."""
    study = Study.load(arguments.study)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with graphstore.open(arguments.store) as store:
        runner = Runner(study, store, arguments.out)
        print(estimate(runner))
        if arguments.dry:
            return
        left = [cell for cell in study.cells if not runner.done(cell)]
        for _ in tqdm(runner.run(left), total=len(study.cells), initial=len(study.cells) - len(left), desc="cells"):
            pass
    write(study, arguments.out)
    print(arguments.out / "page.md")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
