"""How good ranks are, without excuses: three ways to break ties, what chance would reach, parts of a split apart.

Figures of all questions of a split, and of its parts: by property, by how often training has the true value, and by
whether another item of the same style (field `group`) has training triples. MRR and Hits@1 have 95 % intervals, by
bootstrap over styles (`analysis.paired`). Chance-adjusted figures are 0 for a predictor that draws at random and 1 for
a perfect one, whatever the number of candidates (Berrendorf et al. 2020); a question without any candidate has no
chance, and does not count in them.

Legend: n questions.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64

from analysis.paired import groups_of, intervals
from graphstore import Store
from k3m.candidates import Candidates
from k3m.ranks import UNSEEN, link_metrics

FREQUENCIES = {"0": 0, "1-9": 1, "10-99": 10, "100-999": 100, "1000+": 1000}
"""Bins of a true value's training triples, by the least of each."""
LEAST = 50
"""A part with fewer questions has no interval."""
PARTS = ("property", "frequency", "sibling")
SHOWN = ("mrr", "hits_at_1")
"""What has intervals."""


def figures(ranks: pd.DataFrame) -> dict[str, Any]:
    """All figures of n questions: columns property, optimistic, rank (the realistic one), pessimistic, options."""
    of_all = link_metrics(ranks["rank"].to_numpy(), ranks["property"].to_numpy())
    first = (ranks["rank"] <= 1).groupby(ranks["property"]).mean()
    ends: dict[str, float] = {}
    for way in ("optimistic", "pessimistic"):
        ends[f"mrr_{way}"] = float((1 / ranks[way]).mean())
        ends[f"hits_at_1_{way}"] = float((ranks[way] <= 1).mean())
    return of_all | {"macro_hits_at_1": float(first.mean())} | ends | adjusted(ranks)


def adjusted(ranks: pd.DataFrame) -> dict[str, float]:
    """Of the questions with a candidate: what a mean says beyond chance, (mean - chance) / (best - chance); NaN where
    chance is perfect, too.

    `amri` is that of the mean rank (adjusted mean rank index), the others of the reciprocal rank and of Hits@1.
    """
    asked = ranks[np.isfinite(ranks["rank"])]
    rank, options = asked["rank"].to_numpy(), asked["options"].to_numpy()
    return {
        "amri": _beyond_chance(rank, (options + 1) / 2),
        "adjusted_mrr": _beyond_chance(1 / rank, _mean_reciprocal(options)),
        "adjusted_hits_at_1": _beyond_chance((rank <= 1).astype(float), 1 / options),
    }


def _beyond_chance(found: Float64[np.ndarray, " n"], chance: Float64[np.ndarray, " n"]) -> float:
    expected = chance.mean() if len(chance) else 1.0
    return float((found.mean() - expected) / (1 - expected)) if expected != 1 else np.nan


def _mean_reciprocal(options: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """(1 + 1/2 + ... + 1/k) / k for each number of options k."""
    harmonic = np.cumsum(1 / np.arange(1, options.max(initial=1) + 1))
    return harmonic[options - 1] / options


def described(asked: pd.DataFrame, training: pd.DataFrame, candidates: Candidates, groups: pd.Series) -> pd.DataFrame:
    """`asked` (item, property, value, split) with `group`, `frequency` and `sibling`.

    Args:
        groups: an item's style by its id, as `styles` has it; empty where a store has none, and `sibling` is then
            missing.
    """
    counts = np.zeros(len(asked), dtype=np.int64)
    for property, rows in asked.groupby("property").indices.items():
        columns = candidates.columns(str(property), asked["value"].iloc[rows])
        seen = columns != UNSEEN
        counts[rows[seen]] = candidates.counts(str(property))[columns[seen]]
    bins = np.searchsorted(list(FREQUENCIES.values()), counts, side="right") - 1
    return asked.assign(
        group=groups_of(asked["item"], groups),
        frequency=np.array(list(FREQUENCIES), dtype=object)[bins],
        sibling=_siblings(asked["item"], training["item"], groups),
    )


def _siblings(items: pd.Series, trained: pd.Series, groups: pd.Series) -> pd.Series:
    """`with` where another item of the same group has training triples, `without` where none has."""
    if groups.empty:
        return pd.Series(None, index=items.index, dtype=object)
    own = trained.drop_duplicates()
    others = items.map(groups).map(own.map(groups).value_counts()).fillna(0) - items.isin(own) * 1
    return pd.Series(np.where(others > 0, "with", "without"), index=items.index, dtype=object)


def styles(store: Store) -> pd.Series:
    """The group of each item that has one, by its id; empty where the store has no such field."""
    if "group" not in store.item_fields():
        return pd.Series(dtype=object)
    return store.items(("group",)).to_pandas().set_index("id")["group"].dropna()


def evaluation(answers: Mapping[str, pd.DataFrame], asked: pd.DataFrame) -> pd.DataFrame:
    """A row a split, part and predictor, in the form of `report.Findings.evaluation`.

    Args:
        answers: of each predictor, columns optimistic, rank, pessimistic and options, in the rows of `asked`. Rows
            that a predictor lacks are questions that it cannot answer.
        asked: as `described` gives it.
    """
    rows = [row for part in _parts(asked) for row in _rows(*part, answers)]
    return pd.DataFrame(rows)


def _parts(asked: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    for split, of_split in asked.groupby("split", sort=False):
        yield {"split": split, "by": "all", "name": "all"}, of_split
        for by in PARTS:
            for name, part in of_split.groupby(by):
                yield {"split": split, "by": by, "name": name}, part


def _rows(named: dict[str, Any], part: pd.DataFrame, answers: Mapping[str, pd.DataFrame]) -> Iterator[dict[str, Any]]:
    found = {name: own.loc[part.index] for name, own in answers.items() if part.index.isin(own.index).all()}
    scored = {
        (name, metric): 1 / own["rank"] if metric == "mrr" else (own["rank"] <= 1).astype(float)
        for name, own in found.items()
        for metric in SHOWN
    }
    drawn = intervals(pd.DataFrame(scored), part["group"]) if scored and len(part) >= LEAST else None
    for name, own in found.items():
        ends = {
            f"{metric}_{end}": np.nan if drawn is None else drawn.loc[(name, metric), end]
            for metric in SHOWN
            for end in ("low", "high")
        }
        yield named | {"predictor": name} | figures(own.assign(property=part["property"])) | ends


def nested(table: pd.DataFrame, keys: Sequence[str]) -> dict[str, Any]:
    """Rows as records within dictionaries, a level a key; NaN becomes None, which JSON has."""
    if not keys:
        (record,) = table.to_dict("records")
        return {str(name): None if pd.isna(cell) else cell for name, cell in record.items()}
    rest = table.groupby(keys[0], sort=False)
    return {str(name): nested(part.drop(columns=keys[0]), keys[1:]) for name, part in rest}
