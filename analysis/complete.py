"""`python -m analysis.complete --run RUN --store STORE ...`: rank values for a catalogue's kept-back and missing cells.

Writes up to five files. `metrics.json`: figures of the kept-back triples, beside floors fitted on the same store.
`completions.parquet`: item, property, value, rank, score, split, confidence, applies; the best values of each kept-back
and each missing cell, `split` being `missing` for the latter. `calibration.json`: how scores become confidences.
`conflicts.parquet`: what `k3m conflicts` found, where it did. `index.html`: the report (docs/completion.md). A cell is
missing where the item has no triple of the property in any split and the property applies to it with a probability of
--applies at least (`k3m.applicability`). Values that training has for a cell are not proposed again. A score that is
not finite ends the command, as does a split that the store has not.

Confidences are calibrated on the calibrate part of split `valid` (`analysis.trust`), or taken over from another report
with `--calibration`; without either they are null. docs/completion.md says what the figures mean.

With `--write` the best value of each missing cell becomes a proposal in the store, if its confidence reaches the
threshold of `--precision`: PREDICTED relationships of the run, in the place of those that it had there.
"""

import dataclasses
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

import pandas as pd
import tyro
from tqdm import tqdm

import graphstore
import k3m
from analysis import conflicts, report
from analysis.answers import OURS, answered, figures_of
from analysis.calibration import LEAST, TooFewQuestions
from analysis.cells import cells_of, completions, of_those, write_completions
from analysis.cnn import Settings as CnnSettings
from analysis.predictors import Name as Floor
from analysis.predictors import predictors
from analysis.previous import Previous, last_in, read_previous
from analysis.reasons import reasons
from analysis.report_tables import shown
from analysis.splits import Asked, calibrate_part, require_same_split
from analysis.trust import PRECISIONS, Trust
from graphstore import Store
from k3m.applicability import THRESHOLD
from k3m.predictor import ModelPredictor
from k3m.ranks import CannotScore, Predictor


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
    inductive: bool = False
    """Evaluate the items that came into the store after the run's training as a split of their own, `inductive`."""
    calibration: Path | None = None
    """Folder of an earlier report on the run, whose calibration.json is used; by default the split `valid` is."""
    applies: float = THRESHOLD
    """The least probability that a property applies to an item, for a value to be proposed."""
    reasons: bool = True
    """Say in the report what each proposal that it shows rests on."""
    conflicts: Path | None = None
    """Folder of k3m conflicts, for the report to show what looks wrong; by default RUN/conflicts or the folder
    conflicts next to RUN, where there is one."""
    previous: Path | None = None
    """Folder of an earlier report to compare with; by default the one that lies where this one goes, unless --cells
    names what to complete."""
    write: bool = False
    """Write the best value of each missing cell into the store, as a proposal (k3m review accepts or rejects it), where
    it is confident enough and its property more likely applies than not."""
    precision: float = 0.95
    """With --write: the share of the proposals that is to be right."""
    uncalibrated: bool = False
    """With --write, where confidences cannot be had: write every best value, without one."""

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ValueError(f"--top must be at least 1 (got {self.top})")
        if not 0 < self.precision < 1:
            raise ValueError(f"--precision must lie between 0 and 1 (got {self.precision})")
        if not 0 <= self.applies <= 1:
            raise ValueError(f"--applies must lie between 0 and 1 (got {self.applies})")

    @property
    def directory(self) -> Path:
        """To write to."""
        return self.report or self.run / "complete"


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


def trusts_of(
    predictors: Mapping[str, Predictor], asked: Asked, calibrate: pd.DataFrame, run: Run, arguments: Arguments
) -> dict[str, Trust]:
    """By predictor, of those that can be calibrated.

    Raises:
        ValueError: for --write where K3M is not among them and --uncalibrated is not given; for a --calibration of
            another run, or without the --precision.
    """
    found, precisions = {}, sorted({*PRECISIONS, arguments.precision})
    if arguments.calibration is not None:
        found[OURS] = taken_over(arguments.calibration, run)
    if len(calibrate) < LEAST:
        tqdm.write(f"confidences need {LEAST} triples of split valid to calibrate on (got {len(calibrate)})")
        predictors = {}
    for name, predictor in predictors.items():
        if name in found:
            continue
        try:
            found[name] = Trust.fit(predictor, calibrate, asked.triples, asked.candidates, asked.groups, precisions)
        except (TooFewQuestions, CannotScore) as error:
            tqdm.write(f"{name}: no confidences: {error}")
    if arguments.write and OURS in found:
        found[OURS].thresholds_for(arguments.precision)
    elif OURS not in found:
        require_leave(arguments)
    return found


def require_leave(arguments: Arguments) -> None:
    """To write what no confidence is known of.

    Raises:
        ValueError: for --write without --uncalibrated.
    """
    if arguments.write and not arguments.uncalibrated:
        raise ValueError(
            f"{arguments.store} has too few triples of split valid to calibrate on, so that no proposal is known to be "
            "confident enough: --calibration takes an earlier report's, --uncalibrated writes all without a confidence"
        )


def taken_over(folder: Path, run: Run) -> Trust:
    """What an earlier report says of the run, or of the one that it is the refit of.

    Raises:
        ValueError: where it is of another.
    """
    trust = Trust.load(folder)
    of_refitted = Path(run.info["refit_of"]).name if run.info.get("refit_of") else None
    if run.fingerprint != trust.model and of_refitted != trust.run:
        raise ValueError(f"--calibration {folder} is of run {trust.run} ({trust.model}), not of {run.fingerprint}")
    return trust


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
    require_same_split(store, run.directory, run.info)
    asked = Asked.of(store, run.directory, run.info, arguments.evaluate, arguments.inductive)
    calibrate = calibrate_part(store, run.info)
    if len(calibrate) < LEAST and arguments.calibration is None:
        require_leave(arguments)  # before the long work
    suspects, before = suspects_of(asked, arguments), previous_of(arguments)
    cells = of_those(cells_of(store, asked.triples, asked.splits, arguments.applies), arguments.cells)
    items = sorted(set(calibrate["item"]).union(*(of_split["item"] for of_split in cells.values())))
    ours = run.predictor(store, items, arguments.without, progress=True)
    cache = arguments.cache or arguments.run / "floors"
    beside = predictors(
        arguments.floors, store, asked.candidates, cache=cache, external=arguments.external, cnn=arguments.cnn
    )
    asking = {OURS: ours} | beside
    trusts = trusts_of(asking, asked, calibrate, run, arguments)
    trust = trusts.get(OURS)
    found = answered(asking, asked.kept_back, asked.triples, asked.candidates, trusts)
    metrics, tables = figures_of(asked, found, store.property_groups())
    directory = arguments.directory
    directory.mkdir(parents=True, exist_ok=True)
    probabilities = None if trust is None else trust.calibration.probabilities
    parts = completions(ours, cells, asked.training, asked.candidates, arguments.top, probabilities)
    best = write_completions(parts, directory / "completions.parquet")
    if trust is not None:
        dataclasses.replace(trust, run=run.name, model=run.fingerprint).save(directory)
    write_suspects(suspects, directory / "conflicts.parquet")
    why = reasons_of(ours, best, asked, arguments)
    described = description(store, run, arguments) | {"seconds": time.monotonic() - begun}
    metrics |= {"run": described}
    write_json(metrics, directory / "metrics.json")
    findings = report.Findings(
        metrics=metrics,
        best=best,
        triples=asked.triples,
        facts=facts_of(described, store, command),
        thresholds=None if trust is None else trust.table(),
        conflicts=suspects,
        reasons=why,
        previous=before,
        **tables,
    )
    report.write(findings, store, directory / "index.html")
    if arguments.write:
        write_proposals(store, run, best, trust, arguments)
    return directory / "index.html"


def reasons_of(predictor: Predictor, best: pd.DataFrame, asked: Asked, arguments: Arguments) -> pd.DataFrame | None:
    """Of the proposals that the report shows; None of a predictor without a model."""
    if not (arguments.reasons and isinstance(predictor, ModelPredictor)):
        return None
    return reasons(predictor, shown(best), asked.training, arguments.without, progress=True)


def previous_of(arguments: Arguments) -> Previous | None:
    """The report to compare with, if there is one."""
    if arguments.previous is not None:
        return read_previous(arguments.previous)
    return last_in(arguments.directory) if arguments.cells is None else None


def suspects_of(asked: Asked, arguments: Arguments) -> pd.DataFrame | None:
    """In the form of `report.Findings.conflicts`, those triples that the store still has; None where nothing judged.

    Raises:
        ValueError: where there is nothing in --conflicts, or the report would overwrite it.
    """
    folder = arguments.conflicts or conflicts.beside(arguments.run)
    if folder is None:
        return None
    if folder.resolve() == arguments.directory.resolve():
        raise ValueError(f"--report {folder} would overwrite what k3m conflicts wrote there: name another folder")
    found, triple = conflicts.load_conflicts(folder), ["item", "property", "value"]
    still = found[found["suspicion"] > 0].merge(asked.training[triple], on=triple)
    return still[[*triple, "probability", "suggested", "suspicion"]]


def write_suspects(suspects: pd.DataFrame | None, path: Path) -> None:
    """Without their order's figure; where nothing was judged, what an earlier report wrote goes."""
    if suspects is None:
        path.unlink(missing_ok=True)
    else:
        suspects.drop(columns="suspicion").to_parquet(path, index=False)


def write_proposals(store: Store, run: Run, best: pd.DataFrame, trust: Trust | None, arguments: Arguments) -> None:
    """Into the store, those that are confident enough; says how many of each kind."""
    chosen = best if trust is None else trust.thresholds_for(arguments.precision).proposed(best)
    written = store.write_predictions(chosen, run=run.name, model=run.fingerprint, created=datetime.now(UTC))
    if trust is not None:
        print(f"of {len(best)} missing cells {len(chosen)} are proposed, at a precision of {arguments.precision:g}")
    print(
        f"{store.location}: proposals of run {run.name}: {written.new} new, {written.changed} changed, "
        f"{written.unchanged} unchanged, {written.removed} removed, {written.kept} kept because of a review"
    )


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
