"""K3M's rivals, each fitted, tuned and ranked on the same triples, candidates and filter, in one table.

`python -m analysis.peers --store STORE --out DIR` fits the floors (`analysis.predictors`) and tunes PyKEEN's models
(`analysis.tuning`), and ranks the kept-back triples by the code that ranks K3M. Each has a folder in DIR: `row.json`,
`ranks.parquet` (item, property, value, split, rank; `analysis.paired` compares two of them). What is done is not done
again: the same command goes on where it was stopped. DIR belongs to one catalogue at one data version, to its splits,
and to one budget and network (`peers.json`). An embedding knows an item by its training triples only: of a
split with items that have none the table says "cannot".

`python -m analysis.peers --triples FOLDER --settings FILE.toml --out DIR` trains PyKEEN's models with given settings on
a folder of triples and ranks all entities, as the literature does (`analysis.linkpred`). The file:

    [ComplEx]
    epochs = 100            # at most
    check = 5               # passes between two looks at `valid`
    patience = 3            # looks without a better MRR
    settings = {model = "ComplEx", training = "all", dimension = 512, ...}     # of analysis.embeddings.Settings

A training goes on from its last look. `python -m analysis.table DIR` prints the table again, K3M's studies with it.
"""

import itertools
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import tyro

import graphstore
from analysis import linkpred, table
from analysis.claim import claim
from analysis.cnn import Settings as CnnSettings
from analysis.embeddings import MODELS, Name, Training
from analysis.gds import NodeSimilarity, NoGds
from analysis.predictors import Name as Floor
from analysis.predictors import predictors
from analysis.table import Row, figures_of
from analysis.tuning import Budget, Tuning, minutes
from graphstore import Store
from k3m.candidates import Candidates
from k3m.ranks import CannotScore, Predictor, rank_triples

GDS, CACHE = "gds", "cache"
"""Folders."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Fit, tune and rank K3M's rivals; print one table."""

    out: Path
    """Folder to write to, a folder in it for each."""
    store: str | None = None
    """A Ladybug file, a snapshot folder, a mapping (MAP.toml) of another graph, or neo4j://user@host:port/database."""
    triples: Path | None = None
    """A folder of triples in the place of a store: all entities are ranked."""
    settings: Path | None = None
    """With --triples: the models' settings (see the module)."""
    evaluate: tuple[str, ...] = ("test", "cold")
    """Splits whose kept-back triples are ranked, where the store has them."""
    floors: tuple[Floor, ...] = ()
    """Floors to fit."""
    cnn: CnnSettings = field(default_factory=CnnSettings)
    """Of the network behind `cnn` and `pool`."""
    external: tuple[Path, ...] = ()
    """Outside predictors: Parquet of item, property, value, score."""
    gds: bool = False
    """GDS's nodeSimilarity, where the store is a Neo4j server that has it."""
    models: tuple[Name, ...] = MODELS
    """PyKEEN's models to tune."""
    trainings: tuple[Training, ...] = ("nssa", "all")
    """Ways to train each of them."""
    budget: Budget = field(default_factory=Budget)
    """Of each model under each training."""

    def __post_init__(self) -> None:
        if (self.store is None) == (self.triples is None):
            raise ValueError("expected either --store or --triples")
        if (self.settings is None) != (self.triples is None):
            raise ValueError("--triples and --settings go together")
        taken = {
            *get_args(Floor),
            GDS,
            CACHE,
            *(_name(*both) for both in itertools.product(MODELS, get_args(Training))),
        }
        for path in self.external:
            if path.stem in taken:
                raise ValueError(f"--external {path}: the folder {path.stem} is another's; rename the file")
            taken.add(path.stem)


@dataclass(frozen=True)
class Ranking:
    """What every predictor of a store is asked."""

    asked: pd.DataFrame
    known: pd.DataFrame
    candidates: Candidates

    @classmethod
    def of(cls, store: Store, splits: tuple[str, ...]) -> "Ranking":
        known = store.triples((None, *store.counts().splits)).to_pandas()
        asked = known[known["split"].isin(splits)].reset_index(drop=True)
        return cls(asked, known, Candidates.from_store(store))

    def figures(self, predictor: Predictor, folder: Path) -> dict[str, Any]:
        """By split; writes the ranks too."""
        parts: list[pd.DataFrame] = []
        found: dict[str, Any] = {}
        for split, asked in self.asked.groupby("split", sort=False):
            try:
                parts.append(asked.assign(rank=rank_triples(predictor, asked, self.known, self.candidates)))
                found |= figures_of(parts[-1])
            except CannotScore:
                found[str(split)] = table.CANNOT
        folder.mkdir(parents=True, exist_ok=True)
        if parts:
            pd.concat(parts, ignore_index=True).to_parquet(folder / table.RANKS, index=False)
        return found


def of_store(store: Store, arguments: Arguments) -> None:
    """Whatever is not done yet; row.json says of a folder that it is.

    Raises:
        ValueError: where DIR was begun with other data, splits, budget or network.
    """
    claim(arguments.out / "peers.json", _identity(store, arguments))
    ranking, out = Ranking.of(store, arguments.evaluate), arguments.out
    for name in arguments.floors:
        if not done(out / name):
            fit_floor(name, store, ranking, arguments)
    for path in arguments.external:
        predictor = predictors((), store, ranking.candidates, external=(path,))[path.stem]
        Row(model=path.stem, figures=ranking.figures(predictor, out / path.stem)).write(out / path.stem)
    if arguments.gds and not done(out / GDS):
        fit_gds(store, ranking, out / GDS)
    for model, training in itertools.product(arguments.models, arguments.trainings):
        folder = out / _name(model, training)
        if not done(folder):
            tune(Tuning.of(store, model, training, folder, arguments.budget), ranking)


def _identity(store: Store, arguments: Arguments) -> dict[str, Any]:
    """What the rows of one table have in common."""
    found = {
        "data_version": store.data_version,
        "counts": asdict(store.counts()),
        "evaluate": sorted(arguments.evaluate),
    }
    if arguments.models and arguments.trainings:
        found["budget"] = asdict(arguments.budget)
    if {"cnn", "pool"} & set(arguments.floors):
        found["cnn"] = asdict(arguments.cnn)
    return found


def _name(model: Name, training: Training) -> str:
    """Of the folder."""
    return f"{model.lower()}-{training}"


def done(folder: Path) -> bool:
    """What could not be run may be tried again."""
    return (folder / table.ROW).exists() and not Row.read(folder).note


def fit_gds(store: Store, ranking: Ranking, folder: Path) -> None:
    """Or say that there is none."""
    begun, name = time.monotonic(), "GDS nodeSimilarity"
    try:
        figures = ranking.figures(NodeSimilarity(store, ranking.candidates), folder)
        Row(model=name, figures=figures, minutes=(time.monotonic() - begun) / 60).write(folder)
    except NoGds as error:
        Row(model=name, note=str(error)).write(folder)


def fit_floor(name: Floor, store: Store, ranking: Ranking, arguments: Arguments) -> None:
    """Minutes are of fitting and ranking: some fit a property when it is first asked for."""
    begun, out = time.monotonic(), arguments.out
    predictor = predictors((name,), store, ranking.candidates, cache=out / CACHE, cnn=arguments.cnn)[name]
    figures = ranking.figures(predictor, out / name)
    Row(model=name, figures=figures, minutes=(time.monotonic() - begun) / 60).write(out / name)


def tune(tuning: Tuning, ranking: Ranking) -> None:
    """Tune, and rank the best."""
    predictor, study = tuning.best()
    best = {**predictor.embedding.settings.changed(), "epochs": study.best_trial.user_attrs["epochs"]}
    Row(
        model=f"{tuning.model}, {tuning.training}",
        trials=len(study.trials),
        minutes=minutes(study),
        settings=best,
        figures=ranking.figures(predictor, tuning.folder),
    ).write(tuning.folder)


def main(arguments: Arguments) -> None:
    """The command; see the module."""
    if arguments.triples is not None and arguments.settings is not None:
        linkpred.run(arguments.triples, arguments.settings, arguments.out)
    elif arguments.store is not None:
        with graphstore.open(arguments.store) as store:
            of_store(store, arguments)
    splits = ("test",) if arguments.triples else arguments.evaluate
    print(table.markdown(list(table.rows_in(arguments.out)), splits), end="")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
