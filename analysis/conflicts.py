"""`k3m conflicts --run RUN --store STORE --out DIR`: which training triples a model that never trained on them finds
improbable.

The training triples are divided into folds, each in exactly one, by a hash of its names. For each fold a model is
trained anew on the rest, with RUN's settings (or tabular, a regression a property), and judges the fold's triples.
DIR/conflicts.parquet has all of them, the most suspect first: item, property, value, probability, suggested (the most
probable other value), suggested_probability and suspicion, the difference of the two. Probabilities are calibrated on
the judged triples themselves (`analysis.judging`), wrong ones among them: they are cautious.

With --plant a share of the triples is replaced by wrong values before anything is trained (`analysis.planting`);
DIR/planted.parquet has them, metrics.json and table.md how well each model finds them again. Such a DIR says nothing of
the catalogue itself.

A command that was stopped goes on when it is repeated: judged folds are kept, a fold's training goes on from its
checkpoint in DIR/fold-K/run. DIR belongs to one data version, seed and number of folds.
"""

import json
import os
import shutil
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import tyro
from jaxtyping import Int64
from tqdm import tqdm
from tyro.conf import arg

import graphstore
import k3m
from analysis import planting
from analysis.claim import claim
from analysis.floors import FLOORS
from analysis.judging import JUDGED, judge
from graphstore import Store
from k3m import rng, train
from k3m.candidates import Candidates
from k3m.config import Config
from k3m.ranks import Predictor

Model = Literal["k3m", "tabular", "visual"]
NAME = "conflicts.parquet"
PLANTED = "planted.parquet"
SPLIT = "judged"
"""Of a fold's triples, in the snapshot that its model is trained on."""
COLUMNS = (*JUDGED, "suspicion")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Find the facts of a catalogue that a model which never trained on them finds improbable."""

    store: str
    """A Ladybug file, a snapshot folder, a mapping (MAP.toml) of another graph, or neo4j://user@host:port/database
    (password: K3M_NEO4J_PASSWORD)."""
    out: Path
    """Folder to write to, and to go on in."""
    run: Path | None = None
    """A run whose settings each fold is trained with; its weights are not used. For --model k3m."""
    model: tuple[Model, ...] = ("k3m",)
    """What judges; of several, the first one's conflicts are the result."""
    folds: int = 5
    """Parts that the training triples are divided into."""
    seed: int = 0
    """Of the folds, and of what is planted."""
    epochs: int = 0
    """Of each fold's training; 0: as many as the run's settings say."""
    set: tuple[str, ...] = ()
    """Settings over the run's: section.key=value ..."""
    start_from: Annotated[Path | None, arg(name="from")] = None
    """A run whose weights each fold begins with; one that was trained without link prediction (loss.lpm=0), since it
    would know the triples otherwise."""
    max_minutes: float = 0.0
    """Stop in time; the same command goes on from there. 0: no limit."""
    plant: float = 0.0
    """Share of the training triples to replace by wrong values, to measure how well they are found."""

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise ValueError(f"--folds must be at least 2 (got {self.folds})")
        if not 0 <= self.plant < 1:
            raise ValueError(f"--plant must be in [0, 1) (got {self.plant})")
        if not self.model or len(set(self.model)) < len(self.model):
            raise ValueError(f"--model takes distinct names of {', '.join(get_args(Model))} (got {self.model})")
        if "k3m" in self.model and self.run is None:
            raise ValueError("--model k3m takes its settings from a run: name one by --run")

    @property
    def config(self) -> Config:
        """That each fold is trained with."""
        assert self.run is not None
        path = self.run / "config.toml"
        if not path.is_file():
            raise ValueError(f"{self.run} holds no run: config.toml is missing (python -m k3m.train makes one)")
        epochs = (f"train.epochs={self.epochs}", "train.steps=0") if self.epochs else ()
        return Config.load(path, (*epochs, *self.set))


class OutOfTime(Exception):
    """--max-minutes is over; what is done is kept."""


@dataclass(frozen=True)
class Plan:
    """What is to be judged: `triples` of all splits, with what was planted in them, and the `fold` of each, -1 for one
    that is kept back."""

    triples: pd.DataFrame
    fold: Int64[np.ndarray, " n"]
    begun: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, store: Store, arguments: Arguments) -> "Plan":
        """Writes what was planted.

        Raises:
            ValueError: where the folder belongs to other data, folds or planting, or so much cannot be planted.
        """
        triples, planted = store.triples((None, *store.counts().splits)).to_pandas(), None
        if arguments.plant:
            category = store.items(("category",)).to_pandas().set_index("id")["category"]
            planted = planting.plant(triples, category, arguments.plant, arguments.seed)
            triples = planting.corrupted(triples, planted)
        claim(arguments.out / "conflicts.json", _identity(store, arguments))
        if planted is not None:
            planted.to_parquet(arguments.out / PLANTED, index=False)
        return cls(triples, fold_of(triples, arguments.folds, arguments.seed))

    def asked(self, fold: int) -> pd.DataFrame:
        return self.triples[self.fold == fold].reset_index(drop=True)

    def view(self, fold: int) -> pd.DataFrame:
        """The catalogue as the fold's model sees it."""
        return self.triples.assign(split=self.triples["split"].mask(self.fold == fold, SPLIT))


def fold_of(triples: pd.DataFrame, folds: int, seed: int) -> Int64[np.ndarray, " n"]:
    """Of each training triple, from its names and the seed alone; -1 for one that is kept back (column split)."""
    draws = rng.uniform(rng.item_keys(planting.names_of(triples), "folds", seed), np.array([0]))
    return np.where(triples["split"].isna(), (draws * folds).astype(np.int64), -1)


def _identity(store: Store, arguments: Arguments) -> dict[str, object]:
    """The folder is this catalogue's, these folds', and of these settings."""
    found: dict[str, object] = {name: getattr(arguments, name) for name in ("folds", "seed", "plant")}
    found |= {"data_version": store.data_version}
    if "k3m" in arguments.model:
        found |= {"config": tomllib.loads(arguments.config.to_toml()), "from": str(arguments.start_from or "")}
    return found


def conflicts(store: Store, arguments: Arguments) -> pd.DataFrame:
    """All folds, those that are not done yet; writes the files and returns the first model's conflicts.

    Raises:
        OutOfTime: where --max-minutes ended it before.
    """
    if "k3m" in arguments.model:
        _require_usable(arguments)
    plan = Plan.of(store, arguments)
    bar = tqdm(range(arguments.folds), desc="folds", unit="fold")
    for fold in bar:
        _judge_fold(store, plan, fold, arguments)
    found = {model: _ranked(arguments, model) for model in arguments.model}
    if arguments.plant:
        _write_figures(found, arguments.out)
    first = found[arguments.model[0]]
    _write_whole(first, arguments.out / NAME)
    return first


def _require_usable(arguments: Arguments) -> None:
    """Before an hour is spent: settings that can be read, and weights that know no triple."""
    config, warm = arguments.config, arguments.start_from
    if warm is None:
        return
    if not (warm / "config.toml").is_file():
        raise ValueError(f"{warm} holds no run: config.toml is missing")
    weight = Config.load(warm / "config.toml").loss.lpm
    if weight:
        raise ValueError(
            f"{warm} was trained on the triples that are to be judged (loss.lpm = {weight}): --from takes a run "
            "with loss.lpm=0"
        )
    if config.loss.lpm == 0:
        raise ValueError("loss.lpm = 0 learns nothing of the triples: --set loss.lpm=...")


def _judge_fold(store: Store, plan: Plan, fold: int, arguments: Arguments) -> None:
    """By each model that has not judged it yet; the fold's snapshot goes when they all have."""
    folder = arguments.out / f"fold-{fold}"
    due = [model for model in arguments.model if not (folder / f"{model}.parquet").exists()]
    if due and not (folder / "data").exists():
        folder.mkdir(exist_ok=True)
        graphstore.write_snapshot(store, folder / "data", triples=_arrow(plan.view(fold)))
    for model in due:
        with graphstore.open(folder / "data") as view:
            asked, candidates = plan.asked(fold), Candidates.from_store(view)
            predictor = _predictor(view, model, folder, sorted(set(asked["item"])), _left(plan, arguments), arguments)
            found = judge(predictor, asked, plan.triples, candidates, arguments.seed)
        _write_whole(found, folder / f"{model}.parquet")
    shutil.rmtree(folder / "data", ignore_errors=True)


def _arrow(triples: pd.DataFrame) -> pa.Table:
    """Null splits stay null."""
    return pa.Table.from_pandas(triples, preserve_index=False)


def _left(plan: Plan, arguments: Arguments) -> float:
    """Minutes; 0 for no limit."""
    if not arguments.max_minutes:
        return 0.0
    left = arguments.max_minutes - (time.monotonic() - plan.begun) / 60
    if left <= 0:
        raise OutOfTime
    return left


def _predictor(
    view: Store, model: Model, folder: Path, items: Sequence[str], minutes: float, arguments: Arguments
) -> Predictor:
    """Trained on the fold's snapshot `view`."""
    if model != "k3m":
        return FLOORS[model](view, Candidates.from_store(view))
    run, config = folder / "run", arguments.config
    if (run / "checkpoint.safetensors").exists():
        trainer = train.resume(view, run, config)
    else:  # nothing to go on from: a run that was stopped before its first checkpoint begins again
        shutil.rmtree(run, ignore_errors=True)
        trainer = train.start(view, run, config, warm=arguments.start_from)
    trainer.fit(minutes)
    if not trainer.done:
        raise OutOfTime
    return k3m.load(run).predictor(view, items, progress=True)


def _ranked(arguments: Arguments, model: Model) -> pd.DataFrame:
    parts = [pd.read_parquet(arguments.out / f"fold-{fold}" / f"{model}.parquet") for fold in range(arguments.folds)]
    found = pd.concat(parts, ignore_index=True)
    found = found.assign(suspicion=found["suggested_probability"] - found["probability"])
    order = ["suspicion", "item", "property", "value"]
    return found.sort_values(order, ascending=[False, True, True, True], ignore_index=True)[list(COLUMNS)]


def _write_whole(table: pd.DataFrame, path: Path) -> None:
    """Its presence says that it is whole."""
    partial = path.with_suffix(".partial")
    table.to_parquet(partial, index=False)
    os.replace(partial, path)


def _write_figures(found: dict[Model, pd.DataFrame], out: Path) -> None:
    planted = pd.read_parquet(out / PLANTED)
    figures = {str(model): planting.figures(table, planted) for model, table in found.items()}
    (out / "metrics.json").write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    (out / "table.md").write_text(planting.table(figures), encoding="utf-8")


def load_conflicts(folder: str | Path) -> pd.DataFrame:
    """What the command found in the catalogue, the most suspect first: item, property, value, probability, suggested,
    suggested_probability, suspicion.

    Raises:
        ValueError: where it is not finished, or wrong values were planted, or the file is not what the command writes.
    """
    folder = Path(folder)
    if (folder / PLANTED).exists():
        raise ValueError(f"{folder} has planted values: its conflicts are not the catalogue's")
    if not (folder / NAME).is_file():
        raise ValueError(f"{folder} holds no conflicts: {NAME} is missing (k3m conflicts makes it)")
    try:
        return pd.read_parquet(folder / NAME, columns=list(COLUMNS))
    except (OSError, ValueError) as error:  # pyarrow's errors are of these
        raise ValueError(f"{folder} holds no conflicts that can be read: {error}") from error


def beside(run: Path) -> Path | None:
    """A folder `conflicts` in a run's folder or next to it that has what `load_conflicts` takes."""
    for folder in (run / "conflicts", run.absolute().parent / "conflicts"):
        if (folder / NAME).is_file() and (folder / "conflicts.json").is_file() and not (folder / PLANTED).exists():
            return folder
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module."""
    arguments = tyro.cli(Arguments, args=argv, prog="k3m conflicts")
    with graphstore.open(arguments.store) as store:
        try:
            found = conflicts(store, arguments)
        except OutOfTime:
            raise SystemExit(f"stopped after {arguments.max_minutes:g} minutes: the same command goes on") from None
    if arguments.plant:
        print((arguments.out / "table.md").read_text(encoding="utf-8"), end="")
    suspect = int((found["suspicion"] > 0.5).sum())
    print(f"{arguments.out / NAME}: {len(found)} facts judged, another value far more probable for {suspect} of them")
    return 0


if __name__ == "__main__":
    sys.exit(main())
