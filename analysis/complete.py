"""`python -m analysis.complete --run RUN --store STORE ...`: rank values for a catalogue's kept-back and missing cells.

Writes three files. `metrics.json`: filtered ranks of the kept-back triples, beside floors fitted on the same store.
`completions.parquet`: item, property, value, rank, score, split; the best values of each kept-back and each missing
cell, `split` being `missing` for the latter. `index.html`: the report. A cell is missing where the item has no triple
of the property in any split and at least 5 % of its category's items have one. Values that training has for a cell are
not proposed again. A score that is not finite ends the command, as does a split that the store has not.

With `--write` the best value of each missing cell becomes a proposal in the store: PREDICTED relationships of the run,
in the place of those that it had there. Their confidence is null: scores are no probabilities.
"""

import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import tyro
from tqdm import tqdm

import graphstore
import k3m
from analysis import report
from analysis.cnn import Settings as CnnSettings
from analysis.predictors import Name as Floor
from analysis.predictors import predictors
from graphstore import Store
from k3m.applicability import Applicability
from k3m.candidates import Candidates
from k3m.completion import best_values
from k3m.ranks import Predictor, link_metrics, rank_triples

OURS = "k3m"
"""The column of K3M's ranks, beside the floors' names."""
DEFAULT_SPLITS = ("test", "cold")
COMPLETIONS = pa.schema(
    [
        ("item", pa.string()),
        ("property", pa.string()),
        ("value", pa.string()),
        ("rank", pa.int32()),
        ("score", pa.float64()),
        ("split", pa.string()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Rank values for the kept-back and the missing facts of a catalogue; write metrics, completions and a report."""

    run: Path
    """Folder of the run (python -m k3m.train made it)."""
    store: str
    """A Ladybug file, a snapshot folder, a mapping (MAP.toml) of another graph, or neo4j://user@host:port/database
    (password: K3M_NEO4J_PASSWORD)."""
    evaluate: tuple[str, ...] | None = None
    """Splits whose kept-back triples are ranked; by default test and cold, where the store has them."""
    report: Path | None = None
    """Folder to write to; by default RUN/complete."""
    floors: tuple[Floor, ...] = ("majority", "tabular", "visual")
    """Floors to measure beside K3M. `cnn` takes half an hour and more on a CPU for 40,000 photographs, once; `pool` is
    it and `tabular` together."""
    external: tuple[Path, ...] = ()
    """Outside predictors to measure beside K3M: Parquet files of item, property, value, score (higher is better)."""
    cnn: CnnSettings = field(default_factory=CnnSettings)
    """Of the network behind `cnn` and `pool`."""
    cache: Path | None = None
    """Folder for what is slow to fit of the floors, to be found again; by default RUN/floors."""
    top: int = 10
    """Values to write for each cell."""
    without: tuple[Literal["title", "image", "graph"], ...] = ()
    """Modalities that the model is not shown; the floors see all."""
    cells: Path | None = None
    """Of the missing facts complete (and with --write propose) those alone that a Parquet file names by its columns
    item and property."""
    write: bool = False
    """Write the best value of each missing cell into the store, as a proposal (k3m review accepts or rejects it)."""

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ValueError(f"--top must be at least 1 (got {self.top})")


class Run(Protocol):
    """What the command asks of a trained run (`k3m.run.Run`)."""

    @property
    def directory(self) -> Path: ...
    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def info(self) -> Mapping[str, Any]: ...
    @property
    def visible(self) -> Sequence[str]: ...
    def predictor(
        self, store: Store, items: Sequence[str] | None = None, without: Collection[str] = (), progress: bool = False
    ) -> Predictor: ...


def splits_of(store: Store, run: Run, asked: Sequence[str] | None) -> list[str]:
    """The splits to evaluate: those asked for, or the default ones that the store has; none for a run that was refitted
    on all triples.

    Raises:
        ValueError: for one that the store has not, naming those it has, or that the run was refitted on.
    """
    there = store.counts().splits
    if run.info.get("refit_of"):
        if asked:
            raise ValueError(f"{run.directory} was refitted on all triples: evaluate {run.info['refit_of']} instead")
        return []
    if asked is None:
        return [split for split in DEFAULT_SPLITS if split in there]
    absent = [split for split in asked if split not in there]
    if absent:
        raise ValueError(f"{store.location} has no split {', '.join(absent)}; it has: {', '.join(there) or 'none'}")
    return list(asked)


def require_same_split(store: Store, run: Run) -> None:
    """What an adopted graph keeps back follows from its mapping; under another one the run trained on some of it.

    Raises:
        ValueError: naming the rule that the run was trained under, and the store's.
    """
    trained, here = (_rule(manifest) for manifest in (run.info.get("split_manifest"), store.split_manifest))
    if trained != here:
        raise ValueError(
            f"{run.directory} was trained on {_described(trained)}, {store.location} has {_described(here)}: "
            "kept-back triples of one may be training triples of the other"
        )


def _rule(manifest: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return {name: manifest[name] for name in ("mapping", "share", "seed")} if manifest else None


def _described(rule: Mapping[str, Any] | None) -> str:
    if rule is None:
        return "the splits of its store"
    return f"a mapping's split (triples {rule['mapping'][:8]}, share {rule['share']}, seed {rule['seed']})"


def ranked(
    predictors: Mapping[str, Predictor], kept_back: pd.DataFrame, known: pd.DataFrame, candidates: Candidates
) -> pd.DataFrame:
    """`kept_back` (item, property, value, split) with a column of filtered ranks for each predictor."""
    bar = tqdm(predictors.items(), desc="kept-back triples", unit="predictor")
    ranks = {name: rank_triples(predictor, kept_back, known, candidates) for name, predictor in bar}
    return kept_back.assign(**ranks)


def figures(ranks: pd.DataFrame, floors: Sequence[str]) -> dict[str, Any]:
    """K3M's link metrics on these triples, and under `floors` the same of each floor."""
    own = {name: link_metrics(ranks[name].to_numpy(), ranks["property"].to_numpy()) for name in (OURS, *floors)}
    return own[OURS] | {"floors": {name: own[name] for name in floors}}


def link_completion(ranks: pd.DataFrame, floors: Sequence[str], groups: Mapping[str, str]) -> dict[str, Any]:
    """Figures of each split, and, where the store's properties declare groups, of each group in it."""
    found: dict[str, Any] = {}
    for split, of_split in ranks.groupby("split", sort=False):
        found[str(split)] = figures(of_split, floors)
        named = of_split.groupby(of_split["property"].map(groups))
        if len(named):
            found[str(split)]["groups"] = {group: figures(of_group, floors) for group, of_group in named}
    return found


def cells_of(store: Store, triples: pd.DataFrame, splits: Sequence[str]) -> dict[str, pd.DataFrame]:
    """The cells (item, property) to complete: of each split, then the missing ones."""
    kept_back = {split: triples.loc[triples["split"] == split, ["item", "property"]] for split in splits}
    items = store.items(("category",)).to_pandas()
    missing = Applicability.from_store(store).missing(items, triples)
    return {split: cells.drop_duplicates() for split, cells in kept_back.items()} | {"missing": missing}


def of_those(cells: Mapping[str, pd.DataFrame], file: Path | None) -> dict[str, pd.DataFrame]:
    """Of the missing cells those that the file names; all without one."""
    if file is None:
        return dict(cells)
    named = pd.read_parquet(file, columns=["item", "property"]).drop_duplicates()
    return {**cells, "missing": cells["missing"].merge(named, on=["item", "property"])}


def completions(
    predictor: Predictor, cells: Mapping[str, pd.DataFrame], training: pd.DataFrame, candidates: Candidates, top: int
) -> Iterator[pd.DataFrame]:
    """completions.parquet property by property, since a large catalogue has millions of rows."""
    known = dict(iter(training.groupby("property")))
    with tqdm(total=sum(map(len, cells.values())), desc="cells", unit="cell") as bar:
        for split, of_split in cells.items():
            for property, of_property in of_split.groupby("property"):
                had = known.get(property, training.iloc[:0])
                yield best_values(predictor, of_property, had, candidates, top).assign(split=split)
                bar.update(len(of_property))


def write_completions(parts: Iterator[pd.DataFrame], path: Path) -> pd.DataFrame:
    """Write all parts; returns the best proposal of each missing cell."""
    best = []
    with pq.ParquetWriter(path, COMPLETIONS) as writer:
        for part in parts:
            writer.write_table(pa.Table.from_pandas(part, COMPLETIONS, preserve_index=False))
            best.append(part[(part["rank"] == 1) & (part["split"] == "missing")])
    return pd.concat(best, ignore_index=True) if best else COMPLETIONS.empty_table().to_pandas()


def description(store: Store, run: Run, arguments: Arguments) -> dict[str, Any]:
    """The `run` of metrics.json, less the seconds."""
    return {
        "name": run.name,
        "data_version": store.data_version,
        "trained_on": run.info["data_version"],
        "visible": list(run.visible),
        "without": list(arguments.without),
    }


def facts_of(described: Mapping[str, Any], store: Store, command: str) -> dict[str, str]:
    """What the page says of the run, in words."""
    counts = store.counts()
    system = (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}"
    )
    splits = ", ".join(f"{number:,} in {split}" for split, number in counts.splits.items())
    return {
        "Item fields the model saw": ", ".join(described["visible"]),
        "Not shown to it here": ", ".join(described["without"]) or "nothing left out",
        "Store": store.location,
        "Items": f"{counts.items:,}, of them {counts.images:,} with a photograph",
        "Facts for training": f"{counts.training_triples:,}",
        "Facts kept back": splits or "none",
        "Data version": f"{described['data_version']}; trained on {described['trained_on']}",
        "Machine": system,
        "Seconds": f"{described['seconds']:.0f}",
        "Command": command,
    }


def write_json(metrics: Mapping[str, Any], path: Path) -> None:
    """With full precision; a NaN would be no JSON, and is refused."""
    path.write_text(json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def complete(store: Store, run: Run, arguments: Arguments, command: str) -> Path:
    """Evaluate, propose and write all files; returns the report's path."""
    begun = time.monotonic()
    require_same_split(store, run)
    splits = splits_of(store, run, arguments.evaluate)
    candidates = Candidates.from_store(store)
    triples = store.triples((None, *store.counts().splits)).to_pandas()
    cells = of_those(cells_of(store, triples, splits), arguments.cells)
    items = sorted(set().union(*(of_split["item"] for of_split in cells.values())))
    ours = run.predictor(store, items, arguments.without, progress=True)
    cache = arguments.cache or arguments.run / "floors"
    beside = predictors(
        arguments.floors, store, candidates, cache=cache, external=arguments.external, cnn=arguments.cnn
    )
    ranks = ranked({OURS: ours} | beside, triples[triples["split"].isin(splits)], triples, candidates)
    directory = arguments.report or arguments.run / "complete"
    directory.mkdir(parents=True, exist_ok=True)
    training = triples[triples["split"].isna()]
    parts = completions(ours, cells, training, candidates, arguments.top)
    best = write_completions(parts, directory / "completions.parquet")
    figures = link_completion(ranks, list(beside), store.property_groups())
    described = description(store, run, arguments) | {"seconds": time.monotonic() - begun}
    metrics = {"link_completion": {split: figures[split] for split in splits}, "run": described}
    write_json(metrics, directory / "metrics.json")
    findings = report.Findings(
        metrics=metrics, ranks=ranks, best=best, triples=triples, facts=facts_of(described, store, command)
    )
    report.write(findings, store, directory / "index.html")
    if arguments.write:
        written = store.write_predictions(best, run=run.name, model=run.fingerprint, created=datetime.now(UTC))
        print(
            f"{store.location}: proposals of run {run.name}: {written.new} new, {written.changed} changed, "
            f"{written.unchanged} unchanged, {written.removed} removed, {written.kept} kept because of a review"
        )
    return directory / "index.html"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module."""
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = tyro.cli(Arguments, args=words, prog="k3m complete")
    run = k3m.load(arguments.run)
    with (graphstore.open_existing if arguments.write else graphstore.open)(arguments.store) as store:
        page = complete(store, run, arguments, shlex.join(["k3m", "complete", *words]))
    print(f"{page.parent}: metrics.json, completions.parquet and {page.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
