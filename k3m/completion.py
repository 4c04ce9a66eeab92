"""The best values of cells: what a predictor proposes for (item, property) pairs."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float64

from k3m.candidates import Candidates
from k3m.ranks import Predictor, best_columns, chunks, known_mask

COLUMNS = ("item", "property", "value", "rank", "score")
APPLIES = "applies"
CONFIDENCE = "confidence"
Probabilities: TypeAlias = Callable[
    [str, Float[np.ndarray, "n K"], Bool[np.ndarray, "n K"]], Float64[np.ndarray, "n K"]
]
"""From a property, its scores and which candidates are known to probabilities."""


def best_values(
    predictor: Predictor,
    cells: pd.DataFrame,
    known: pd.DataFrame,
    candidates: Candidates,
    top: int,
    probabilities: Probabilities | None = None,
) -> pd.DataFrame:
    """The `top` best candidates of each cell: item, property, value, rank (1 is best), score (higher is better), and
    `applies` where the cells have it, confidence where `probabilities` are given.

    Args:
        cells: columns item and property, no cell twice; `applies`, the probability that the property applies.
        known: triples (item, property, value) whose values are not proposed again.

    Raises:
        NonFiniteScores: from a predictor that gives a NaN or an infinity.
    """
    parts = list(_parts(predictor, cells, known, candidates, top, probabilities))
    more = [*([APPLIES] if APPLIES in cells else []), *([] if probabilities is None else [CONFIDENCE])]
    columns = [*COLUMNS, *more]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _parts(
    predictor: Predictor,
    cells: pd.DataFrame,
    known: pd.DataFrame,
    candidates: Candidates,
    top: int,
    probabilities: Probabilities | None,
) -> Iterator[pd.DataFrame]:
    known_of = {str(name): of_property for name, of_property in known.groupby("property")}
    for name, asked in cells.groupby("property"):
        property = str(name)
        values = candidates.of(property)
        for part in chunks(asked, len(values)):
            mask = known_mask(part["item"], property, known_of.get(property, known.iloc[:0]), candidates)
            scores = predictor.score(property, part["item"].tolist())
            row, rank, column = best_columns(scores, mask, top)
            best = {
                "item": part["item"].to_numpy(dtype=object)[row],
                "property": property,
                "value": values[column],
                "rank": rank,
                "score": scores[row, column],
            }
            if APPLIES in part:
                best[APPLIES] = part[APPLIES].to_numpy()[row]
            if probabilities is not None:
                best[CONFIDENCE] = probabilities(property, scores, mask)[row, column]
            yield pd.DataFrame(best)
