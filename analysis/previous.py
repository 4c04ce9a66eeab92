"""The report before: what lay in a report's folder, and what has changed since."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

CELL = ["item", "property"]


@dataclass(frozen=True)
class Previous:
    """What a folder's last report said."""

    metrics: Mapping[str, Any]
    """Its metrics.json."""
    best: pd.DataFrame
    """Its first proposal of each missing cell: item, property, value, confidence (NaN where it had none)."""


def read_previous(folder: Path) -> Previous:
    """Of the folder, before it is written to.

    Raises:
        ValueError: where no report is, or one that cannot be read.
    """
    metrics, completions = folder / "metrics.json", folder / "completions.parquet"
    try:
        return Previous(_metrics(metrics), _best(completions))
    except (OSError, ValueError, KeyError) as error:  # pyarrow's errors are of these
        raise ValueError(f"{folder} holds no report that can be read: {error}") from error


def last_in(folder: Path) -> Previous | None:
    """As `read_previous`; None where no report is. One that cannot be read counts as none, and a warning says so."""
    if not (folder / "metrics.json").is_file():
        return None
    try:
        return read_previous(folder)
    except ValueError as error:
        warnings.warn(f"{error}: no changes are shown", stacklevel=2)
        return None


def _metrics(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"expected an object in {path.name}, got a {type(found).__name__}")
    return found


def _best(path: Path) -> pd.DataFrame:
    there = set(pq.read_schema(path).names)
    columns = [*CELL, "value", *({"confidence"} & there)]
    chosen = [("split", "=", "missing"), ("rank", "=", 1)]
    best = pq.read_table(path, columns=columns, filters=chosen).to_pandas()
    return best if "confidence" in there else best.assign(confidence=np.nan)


def changes(then: pd.DataFrame, now: pd.DataFrame) -> pd.DataFrame:
    """A row a cell that either proposes for: item, property, value_then, value, confidence_then, confidence, and
    `what`: new, gone, changed or same."""
    columns = [*CELL, "value", "confidence"]
    both = now.reindex(columns=columns).merge(
        then.reindex(columns=columns), on=CELL, how="outer", suffixes=("", "_then"), indicator=True
    )
    what = both.pop("_merge").map({"left_only": "new", "right_only": "gone", "both": "changed"}).astype(object)
    return both.assign(what=what.where(both["value"] != both["value_then"], "same"))


def figures(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """What both reports measured: (name, then, now)."""
    found = []
    for split, figures_now in now["link_completion"].items():
        figures_then = then.get("link_completion", {}).get(split, {})
        found += [
            (f"{split}: {name}", figures_then[key], figures_now[key])
            for key, name in (("mrr", "MRR"), ("hits_at_1", "Hits@1"), ("macro_mrr", "macro MRR"))
            if key in figures_then
        ]
    for split, figures_now in now.get("calibration", {}).items():
        figures_then = then.get("calibration", {}).get(split, {})
        if "ece" in figures_then and "ece" in figures_now:
            found.append((f"{split}: ECE", figures_then["ece"], figures_now["ece"]))
    return found
