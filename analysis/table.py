"""One table of all predictors: `python -m analysis.table FOLDER... [--splits test cold]`.

A folder is that of one predictor (`analysis.peers` writes them: `row.json`, and `ranks.parquet` unless nothing could be
ranked), of several, or of a study of K3M (`analysis.study`), whose rows are means over seeds. Printed as Markdown.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import tyro

from k3m.ranks import link_metrics

ROW, RANKS = "row.json", "ranks.parquet"
SHOWN = {"mrr": "MRR", "hits_at_1": "H@1", "hits_at_10": "H@10"}
CANNOT = "cannot"


@dataclass(frozen=True, kw_only=True)
class Row:
    """Of one predictor."""

    model: str
    """As the table names it."""
    trials: int | None = None
    """Settings that were tried, or seeds of a study."""
    minutes: float | None = None
    """Of fitting and tuning."""
    figures: dict[str, Any] = field(default_factory=dict)
    """By split: metrics by name, or a word for why there are none ("cannot")."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Those chosen."""
    note: str = ""
    """Why nothing was run."""

    def write(self, folder: Path) -> None:
        """As row.json."""
        folder.mkdir(parents=True, exist_ok=True)
        content = json.dumps(asdict(self), indent=2, ensure_ascii=False, allow_nan=False)
        (folder / ROW).write_text(content + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Row":
        return cls(**json.loads((folder / ROW).read_text(encoding="utf-8")))


def figures_of(ranks: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Link metrics by split of ranks (columns property, split, rank)."""
    return {
        str(split): link_metrics(rows["rank"].to_numpy(), rows["property"].to_numpy())
        for split, rows in ranks.groupby("split", sort=False)
    }


def rows_in(folder: Path) -> Iterator[Row]:
    """Of a predictor's folder, of a folder of such, or of a study.

    Raises:
        ValueError: naming a folder that is none of these.
    """
    if (folder / ROW).exists():
        yield Row.read(folder)
        return
    found = sorted(path.parent for path in folder.glob(f"*/{ROW}"))
    yield from map(Row.read, found)
    if (folder / "results.csv").exists():
        yield from _of_study(pd.read_csv(folder / "results.csv"))
    elif not found:
        raise ValueError(f"{folder}: expected {ROW}, folders that have it, or a study's results.csv")


def _of_study(results: pd.DataFrame) -> Iterator[Row]:
    for name, of_row in results.groupby("row", sort=False):
        means = of_row.groupby(["split", "metric"])["value"].mean()
        yield Row(
            model=f"K3M: {name}",
            trials=of_row["seed"].nunique(),
            minutes=float(of_row.drop_duplicates("seed")["minutes"].mean()),
            figures={str(split): means[split].to_dict() for split in of_row["split"].unique()},
        )


def markdown(rows: Sequence[Row], splits: Sequence[str]) -> str:
    """The best of the first split last."""
    names = [f"{split} {shown}" for split in splits for shown in SHOWN.values()]
    lines = ["| model | trials or seeds | minutes | " + " | ".join(names) + " |", "|---" * (3 + len(names)) + "|"]
    for row in sorted(rows, key=lambda row: _mrr(row, splits[0])):
        cells = [cell for split in splits for cell in _cells(row, split)]
        trials = "" if row.trials is None else str(row.trials)
        minutes = "" if row.minutes is None else f"{row.minutes:.1f}"
        lines.append(f"| {row.model} | {trials} | {minutes} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _mrr(row: Row, split: str) -> float:
    figures = row.figures.get(split)
    return figures["mrr"] if isinstance(figures, dict) else -1.0


def _cells(row: Row, split: str) -> list[str]:
    figures = row.figures.get(split, f"not run: {row.note}" if row.note else "")
    if isinstance(figures, str):
        return [figures] + [""] * (len(SHOWN) - 1)
    return [f"{figures[name]:.4f}".removeprefix("0") if name in figures else "" for name in SHOWN]


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Print one table of predictors that were ranked on the same triples."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Of predictors or studies."""
    splits: tuple[str, ...] = ("test", "cold")
    """Columns."""


def main(arguments: Arguments) -> None:
    """The command; see the module."""
    rows = [row for folder in arguments.folders for row in rows_in(folder)]
    print(markdown(rows, arguments.splits), end="")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
