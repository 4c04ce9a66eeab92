"""How many proposals at which precision: what the report's slider says at each of its stops."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.answers import OURS

LEVELS = (*(level / 100 for level in range(100)), 0.995, 0.999)
"""Confidences that the slider stops at."""
SURE = 0.95
"""The precision that the slider starts at, and that the page's head counts."""


def steps_of(best: pd.DataFrame, selective: pd.DataFrame | None) -> list[dict[str, Any]]:
    """What the slider says at each of `LEVELS`: proposals at or above it, their share and mean confidence, and of each
    split the coverage and precision that were measured; nothing where no confidence is."""
    sure = best["confidence"].dropna().sort_values().to_numpy() if "confidence" in best else np.empty(0)
    if len(sure) == 0:
        return []
    first = np.searchsorted(sure, LEVELS)
    total = np.append(np.cumsum(sure[::-1])[::-1], 0.0)
    curves = [curve_of(selective, split) for split in splits_of(selective)]
    return [
        {
            "threshold": level,
            "proposals": len(sure) - int(at),
            "share": (len(sure) - int(at)) / len(best),
            "expected": float(total[at] / (len(sure) - at)) if at < len(sure) else None,
            "measured": [_measured(curve, level) for curve in curves],
        }
        for level, at in zip(LEVELS, first, strict=True)
    ]


def _measured(curve: pd.DataFrame, level: float) -> dict[str, float | None]:
    """Coverage and precision of the answers at least as confident as `level`."""
    reached = curve[curve["confidence"] >= level]
    if reached.empty:
        return {"coverage": 0.0, "precision": None}
    last = reached.iloc[int(reached["coverage"].to_numpy().argmax())]
    return {"coverage": float(last["coverage"]), "precision": float(last["precision"])}


def start_of(steps: Sequence[Mapping[str, Any]]) -> int:
    """The first step whose answers, as measured on the first split, else expected, are right often enough."""
    for place, step in enumerate(steps):
        precision = step["measured"][0]["precision"] if step["measured"] else step["expected"]
        if precision is not None and precision >= SURE:
            return place
    return 0


def splits_of(table: pd.DataFrame | None) -> list[str]:
    """Of what was measured of K3M."""
    return [] if table is None else table.loc[table["predictor"] == OURS, "split"].unique().tolist()


def curve_of(table: pd.DataFrame | None, split: str) -> pd.DataFrame:
    assert table is not None
    return table[(table["predictor"] == OURS) & (table["split"] == split)]
