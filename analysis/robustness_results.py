"""What the cells of a robustness study say together: figures, area under degradation, and K3M against each baseline.

The figure of a task is the paper's: accuracy (classify), macro F1 (align), Rank@10 (answer).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import norm  # type: ignore[import-untyped]

from analysis.robustness_grid import CLEAN, Cell, Study

FIGURES, OUTCOMES, REFUSED = ".json", ".parquet", ".not-run"
"""Endings of a cell's files, and of a note why a model cannot be had."""
PRIMARY = {"classify": "accuracy", "align": "macro_f1", "answer": "rank_at_10"}
COLUMNS = ["task", "model", "setting", "protocol", "ratio", "seed", "metric", "value", "n"]
SURE = 0.05
"""Chance of one difference or more that is none, over all comparisons of a study (Holm 1979)."""
DRAWS = 2000
KEY = ["task", "setting", "protocol", "ratio"]


@dataclass(frozen=True)
class Results:
    """Of the cells in `out` that are done."""

    study: Study
    out: Path

    @cached_property
    def tidy(self) -> pd.DataFrame:
        """A row a cell and metric (`COLUMNS`)."""
        rows = []
        for cell in self.done():
            metrics = json.loads(self.path(cell, FIGURES).read_text(encoding="utf-8"))["metrics"]
            place = (cell.task, cell.model, cell.setting, cell.protocol, cell.ratio, cell.seed)
            rows += [(*place, name, value, metrics["n"]) for name, value in metrics.items() if name != "n"]
        return pd.DataFrame(rows, columns=COLUMNS)

    def done(self) -> Iterator[Cell]:
        return (cell for cell in self.study.cells if self.path(cell, FIGURES).exists())

    def path(self, cell: Cell, ending: str) -> Path:
        return self.out / "cells" / f"{cell.name}{ending}"

    @property
    def refused(self) -> dict[tuple[str, str], str]:
        """Why a model was not run, by task and model."""
        notes = {(cell.task, cell.model): self.out / "tuned" / f"{cell.tuned}{REFUSED}" for cell in self.study.cells}
        return {key: path.read_text(encoding="utf-8").strip() for key, path in notes.items() if path.exists()}

    @cached_property
    def means(self) -> pd.DataFrame:
        """The figure of each task over seeds: task, model, setting, protocol, ratio, value. The clean row is that of
        every setting and protocol, at ratio 0."""
        own = self.tidy[self.tidy["metric"] == self.tidy["task"].map(PRIMARY)]
        mean = own.groupby(["task", "model", "setting", "protocol", "ratio"], sort=False)["value"].mean().reset_index()
        corrupted = mean[mean["protocol"] != CLEAN]
        each = corrupted[["task", "model", "setting", "protocol"]].drop_duplicates()
        clean = each.merge(mean.loc[mean["protocol"] == CLEAN, ["task", "model", "value"]], on=["task", "model"])
        return pd.concat([mean, clean.assign(ratio=0.0)], ignore_index=True)

    @cached_property
    def area(self) -> pd.DataFrame:
        """Of curves with three ratios or more, 0 among them: the mean height of the figure over the ratios, by the
        trapezoid rule (area), what it is on clean input, and how much lower the area is (lost)."""
        rows = []
        for key, curve in self.means[self.means["protocol"] != CLEAN].groupby(
            ["task", "setting", "protocol", "model"], sort=False
        ):
            curve = curve.sort_values("ratio")
            if len(curve) < 3 or curve["ratio"].iloc[0]:
                continue
            ratio, value = curve["ratio"].to_numpy(), curve["value"].to_numpy()
            area = float(np.trapezoid(value, ratio) / ratio[-1])
            rows.append((*key, ratio[-1], value[0], area, value[0] - area))
        return pd.DataFrame(rows, columns=[*KEY[:3], "model", "to", "clean", "area", "lost"])

    @cached_property
    def compared(self) -> pd.DataFrame:
        """Our model against each other one, cell by cell (seeds together): task, setting, protocol, ratio, model, n,
        ours, theirs, gain, its 95 % interval (low, high) by paired bootstrap over groups, p (two-sided, by the
        bootstrap's standard error), p_holm over the whole table, and verdict: won, tied or lost."""
        by_cell: dict[tuple[object, ...], dict[str, dict[int, pd.DataFrame]]] = {}
        for cell in self.done():
            counts = counted(pd.read_parquet(self.path(cell, OUTCOMES)), cell.task)
            key: tuple[object, ...] = (cell.task, cell.setting, cell.protocol, cell.ratio)
            by_cell.setdefault(key, {}).setdefault(cell.model, {})[cell.seed] = counts
        rows = []
        for key, found in by_cell.items():
            ours = found.pop(self.study.ours or "", {})
            for model, theirs in found.items():
                seeds = sorted(ours.keys() & theirs.keys())
                if seeds:
                    pair = (_summed(ours, seeds), _summed(theirs, seeds))
                    rows.append((*key, model, *difference(*pair, str(key[0]))))
        names = [*KEY, "model", "n", "ours", "theirs", "gain", "low", "high", "p"]
        return judged(pd.DataFrame(rows, columns=names))

    def write(self) -> None:
        """The three tables, as Parquet."""
        for name, table in (("results", self.tidy), ("area", self.area), ("compared", self.compared)):
            table.to_parquet(self.out / f"{name}.parquet", index=False)


def counted(outcomes: pd.DataFrame, task: str) -> pd.DataFrame:
    """What a task's figure is made of, summed over the examples of each group (a row each, sorted): right and all; of
    alignment true and false positives, false and true negatives."""
    if task == "align":
        label, said = outcomes["label"].astype(bool), outcomes["predicted"].astype(bool)
        parts = {"tp": label & said, "fp": ~label & said, "fn": label & ~said, "tn": ~label & ~said}
    else:
        right = outcomes["outcome"] >= (0.1 if task == "answer" else 1.0)
        parts = {"right": right, "all": pd.Series(True, index=outcomes.index)}
    return pd.DataFrame(parts).astype(np.int64).groupby(outcomes["group"].astype(str)).sum()


def figure(totals: Float[np.ndarray, "*n k"], task: str) -> Float[np.ndarray, "*n"]:
    """The figure of a task from sums of `counted`; F1 of a class that neither occurs nor is said is 0."""
    if task != "align":
        return totals[..., 0] / totals[..., 1]
    tp, fp, fn, tn = np.moveaxis(totals, -1, 0)
    with np.errstate(invalid="ignore"):
        both = 2 * tp / (2 * tp + fp + fn), 2 * tn / (2 * tn + fp + fn)
    return np.nan_to_num(both[0]) / 2 + np.nan_to_num(both[1]) / 2


def _summed(counts: dict[int, pd.DataFrame], seeds: list[int]) -> pd.DataFrame:
    return sum((counts[seed] for seed in seeds[1:]), start=counts[seeds[0]])


def difference(ours: pd.DataFrame, theirs: pd.DataFrame, task: str) -> tuple[float, ...]:
    """n, both figures, gain, low, high, p from `counted`. Whole groups are drawn, for both alike.

    Raises:
        ValueError: where the two were judged on other examples.
    """
    numbers = [counts.sum(axis=1) if task == "align" else counts["all"] for counts in (ours, theirs)]
    if not numbers[0].equals(numbers[1]):
        raise ValueError(f"{task}: two models were judged on other examples: remove the cells of one of them")
    own, other = (counts.to_numpy(dtype=np.float64) for counts in (ours, theirs))
    values = [float(figure(sums.sum(0), task)) for sums in (own, other)]
    weights = _times_drawn(len(own))
    drawn = figure(weights @ own, task) - figure(weights @ other, task)
    low, high = np.quantile(drawn, [0.025, 0.975])
    gain, error = values[0] - values[1], float(drawn.std(ddof=1))
    p = 2 * float(norm.sf(abs(gain) / error)) if error > 0 else float(gain == 0)
    return int(numbers[0].sum()), *values, gain, float(low), float(high), p


@lru_cache(maxsize=3)
def _times_drawn(groups: int) -> Float[np.ndarray, "d g"]:
    """How often each group is drawn, of every draw: the same for all cells of a task."""
    drawn = np.random.default_rng(0).multinomial(groups, np.full(groups, 1 / groups), size=DRAWS)
    return drawn.astype(np.float64)


def judged(found: pd.DataFrame) -> pd.DataFrame:
    """With Holm's p and the verdict."""
    p = found["p"].to_numpy(dtype=float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    sure = adjusted < SURE
    verdict = np.where(sure & (found["gain"] > 0), "won", np.where(sure, "lost", "tied"))
    return found.assign(p_holm=adjusted, verdict=verdict)


def verdicts(compared: pd.DataFrame) -> pd.DataFrame:
    """Cells won, tied and lost, by model, task and setting; and the mean gain."""
    if compared.empty:
        return pd.DataFrame(columns=["model", "task", "setting", "won", "tied", "lost", "gain"])
    key = ["model", "task", "setting"]
    counts = compared.groupby([*key, "verdict"], sort=False).size().unstack(fill_value=0)
    counts = counts.reindex(columns=["won", "tied", "lost"], fill_value=0)
    gain = compared.groupby(key, sort=False)["gain"].mean()
    return counts.loc[gain.index].assign(gain=gain).reset_index()
