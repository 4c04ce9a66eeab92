"""Filtered ranks of true values among a property's candidates: one protocol for validation, completion and every floor.

Candidates are the values that training has for the property. The item's other true values are no competitors. Ties
take the mean rank (the realistic rank; the optimistic and the pessimistic one put them behind and before). A true value
that training has never seen comes one past the last candidate left; where no candidate is left, the rank is infinite
and its reciprocal 0. Scores that are not finite are refused: a NaN would rank better than perfect.

Legend: n triples, K candidates of one property.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float64, Int64, Shaped

from k3m.candidates import Candidates

UNSEEN = -1
"""The column of a true value that is no candidate."""

_CELLS_AT_ONCE = 2**22  # bounds the n x K scores of one call


class Predictor(Protocol):
    """Whatever scores candidate values: K3M and each floor."""

    def score(self, property: str, items: Sequence[str]) -> Float[np.ndarray, "n K"]:
        """Higher is better; columns in the order of `candidates.of(property)`.

        Raises:
            CannotScore: where it knows nothing of one of the items.
        """
        ...


class NonFiniteScores(ValueError):
    """A predictor gave NaN or an infinity."""


class CannotScore(ValueError):
    """A predictor knows nothing of an item that it is asked for."""


class Ranks(NamedTuple):
    """Filtered ranks of n true values, from 1, by where the ties with the true value go."""

    optimistic: Float64[np.ndarray, " n"]
    """Behind it."""
    pessimistic: Float64[np.ndarray, " n"]
    """Before it."""
    options: Int64[np.ndarray, " n"]
    """Candidates that compete, and the true value: what chance is measured by."""

    @property
    def realistic(self) -> Float64[np.ndarray, " n"]:
        """The mean of the two: what is reported."""
        return (self.optimistic + self.pessimistic) / 2


def filtered_ranks(
    scores: Float[np.ndarray, "n K"], true: Int64[np.ndarray, " n"], known: Bool[np.ndarray, "n K"]
) -> Float64[np.ndarray, " n"]:
    """The realistic rank of each row's true column; see `three_ranks`."""
    return three_ranks(scores, true, known).realistic


def three_ranks(
    scores: Float[np.ndarray, "n K"], true: Int64[np.ndarray, " n"], known: Bool[np.ndarray, "n K"]
) -> Ranks:
    """Ranks of each row's true column.

    Args:
        scores: higher is better.
        true: the true value's column, UNSEEN where it is no candidate.
        known: the item's other true values, which do not compete; a row's own true column may be marked too.

    Raises:
        NonFiniteScores: for a NaN or an infinity among the scores.
    """
    check_finite(scores)
    rows = np.flatnonzero(true != UNSEEN)
    left = ~known
    left[rows, true[rows]] = False  # a value does not compete with itself
    # Below every candidate left: UNSEEN ends one past them.
    target = np.full((len(scores), 1), -np.inf)
    target[rows, 0] = scores[rows, true[rows]]
    better = ((scores > target) & left).sum(axis=1)
    tied = ((scores == target) & left).sum(axis=1)
    competing = left.sum(axis=1)
    nothing = np.where((true == UNSEEN) & (competing == 0), np.inf, 0.0)  # there was nothing to rank
    return Ranks(1.0 + better + nothing, 1.0 + better + tied + nothing, 1 + competing)


def check_finite(scores: Float[np.ndarray, "n K"], of: str = "scores") -> None:
    """Refuses NaN and infinities; `of` says in the message whose scores these are."""
    wrong = np.argwhere(~np.isfinite(scores))
    if len(wrong):
        row, column = wrong[0]
        first = f"{scores[row, column]} at row {row}, candidate {column}"
        raise NonFiniteScores(f"{of}: expected finite numbers, got {len(wrong)} that are not, the first {first}")


def best_columns(
    scores: Float[np.ndarray, "n K"], known: Bool[np.ndarray, "n K"], top: int
) -> tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " m"], Int64[np.ndarray, " m"]]:
    """The `top` best candidates of each row that are not `known`, ties by column: (row, rank from 1, column)."""
    check_finite(scores)
    order = np.argsort(np.where(known, np.inf, -scores), axis=1, kind="stable")[:, :top]
    kept = np.arange(order.shape[1]) < (~known).sum(axis=1, keepdims=True)
    row, place = np.nonzero(kept)
    return row, place + 1, order[row, place]


def link_metrics(ranks: Float64[np.ndarray, " n"], properties: Shaped[np.ndarray, " n"]) -> dict[str, float]:
    """MRR and Hits@k over n triples; `macro_mrr` is the mean of the properties' MRRs. Without triples: NaN, n = 0."""
    reciprocal = pd.Series(1.0 / np.asarray(ranks))
    hits = {f"hits_at_{k}": float((reciprocal >= 1.0 / k).mean()) for k in (1, 3, 10)}
    macro = float(reciprocal.groupby(np.asarray(properties)).mean().mean())
    return {"mrr": float(reciprocal.mean()), **hits, "macro_mrr": macro, "n": len(reciprocal)}


@dataclass(frozen=True)
class Questions:
    """n triples of one property whose values are asked for, and what a predictor answers."""

    property: str
    triples: pd.DataFrame
    """Columns item, property, value; indexed by their places in what was asked."""
    scores: Float[np.ndarray, "n K"]
    true: Int64[np.ndarray, " n"]
    """The true value's column, UNSEEN where it is no candidate."""
    known: Bool[np.ndarray, "n K"]
    """The item's other true values, which do not compete."""

    def take(self, rows: Bool[np.ndarray, " n"]) -> "Questions":
        """Those of these rows."""
        return Questions(self.property, self.triples[rows], self.scores[rows], self.true[rows], self.known[rows])


def questions(
    predictor: Predictor, triples: pd.DataFrame, known: pd.DataFrame, candidates: Candidates
) -> Iterator[Questions]:
    """The triples (item, property, value) property by property, in parts whose scores fit in memory.

    Args:
        known: all true triples, kept-back ones too; each one of the same item and property is filtered out.

    Raises:
        NonFiniteScores: naming the property.
    """
    known_of = _by_property(known)
    for property, asked in _by_property(triples.reset_index(drop=True)).items():
        for part in chunks(asked, len(candidates.of(property))):
            scores = predictor.score(property, part["item"].tolist())
            check_finite(scores, f"scores of property {property!r}")
            true = candidates.columns(property, part["value"])
            others = known_mask(part["item"], property, known_of.get(property, known.iloc[:0]), candidates)
            rows = np.flatnonzero(true != UNSEEN)
            others[rows, true[rows]] = False
            yield Questions(property, part, scores, true, others)


def rank_triples(
    predictor: Predictor, triples: pd.DataFrame, known: pd.DataFrame, candidates: Candidates
) -> Float64[np.ndarray, " n"]:
    """Realistic filtered ranks of triples (columns item, property, value), in their order; see `questions`."""
    ranks = np.full(len(triples), np.inf)
    for part in questions(predictor, triples, known, candidates):
        ranks[part.triples.index] = filtered_ranks(part.scores, part.true, part.known)
    return ranks


def known_mask(items: pd.Series, property: str, known: pd.DataFrame, candidates: Candidates) -> Bool[np.ndarray, "n K"]:
    """Which candidates of the property each item has among the triples `known` of that property."""
    mask = np.zeros((len(items), len(candidates.of(property))), dtype=bool)
    rows = pd.DataFrame({"item": items.to_numpy(), "row": np.arange(len(items))})
    pairs = rows.merge(known[["item", "value"]], on="item")
    columns = candidates.columns(property, pairs["value"])
    mask[pairs["row"].to_numpy()[columns >= 0], columns[columns >= 0]] = True
    return mask


def chunks(rows: pd.DataFrame, width: int) -> Iterator[pd.DataFrame]:
    """Parts of the rows whose scores over `width` candidates fit in memory."""
    size = max(1, _CELLS_AT_ONCE // max(1, width))
    for start in range(0, len(rows), size):
        yield rows.iloc[start : start + size]


def _by_property(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {str(name): of_property for name, of_property in rows.groupby("property")}
