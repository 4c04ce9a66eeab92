"""The best values of cells: what a predictor proposes for (item, property) pairs."""

from collections.abc import Iterator

import pandas as pd

from k3m.candidates import Candidates
from k3m.ranks import Predictor, best_columns, chunks, known_mask

COLUMNS = ("item", "property", "value", "rank", "score")
APPLIES = "applies"


def best_values(
    predictor: Predictor, cells: pd.DataFrame, known: pd.DataFrame, candidates: Candidates, top: int
) -> pd.DataFrame:
    """The `top` best candidates of each cell: item, property, value, rank (1 is best), score (higher is better), and
    `applies` where the cells have it.

    Args:
        cells: columns item and property, no cell twice; `applies`, the probability that the property applies.
        known: triples (item, property, value) whose values are not proposed again.

    Raises:
        NonFiniteScores: from a predictor that gives a NaN or an infinity.
    """
    parts = list(_parts(predictor, cells, known, candidates, top))
    columns = [*COLUMNS, APPLIES] if APPLIES in cells else list(COLUMNS)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _parts(
    predictor: Predictor, cells: pd.DataFrame, known: pd.DataFrame, candidates: Candidates, top: int
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
            applies = {APPLIES: part[APPLIES].to_numpy()[row]} if APPLIES in part else {}
            yield pd.DataFrame(best | applies)
