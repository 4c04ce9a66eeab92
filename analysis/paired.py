"""Two predictors on the same kept-back triples: `python -m analysis.paired A/ranks.parquet B/ranks.parquet`.

By split and property, how much better A is than B, with an interval by bootstrap over groups of items: items of one
style say nothing new about each other. The ranks are those of `analysis.study`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import tyro
from scipy.stats import bootstrap  # type: ignore[import-untyped]

import graphstore

KEY = ["item", "property", "value", "split"]
EVERY = "(all)"
"""The row of all properties together."""
_DRAWN_AT_ONCE = 2**20  # groups, which bounds the memory of an interval


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Compare two tables of ranks, property by property."""

    first: Annotated[Path, tyro.conf.Positional]
    """Ranks of A."""
    second: Annotated[Path, tyro.conf.Positional]
    """Ranks of B, of the same triples."""
    store: str | None = None
    """Store that has the items' groups (field `group`); by default, and where an item has none, each is its own."""
    properties: tuple[str, ...] = ()
    """Those to list; by default all."""
    metric: Literal["hits_at_1", "mrr"] = "hits_at_1"
    """What is compared."""
    least: int = 50
    """Properties with fewer triples in a split are left out of the list, not of the row of all."""


def paired(first: pd.DataFrame, second: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A row a triple of the splits that both ranked: item, property, value, split, and what A (first) and B (second)
    score.

    Raises:
        ValueError: where the two are not of the same triples.
    """
    common = set(first["split"]) & set(second["split"])
    first, second = (ranks[ranks["split"].isin(common)] for ranks in (first, second))
    both = first.merge(second, on=KEY, suffixes=("_a", "_b"), validate="one_to_one")
    if not len(both) == len(first) == len(second):
        raise ValueError(f"the ranks are of other triples: {len(first)} and {len(second)}, {len(both)} of both")
    scores = {name: _score(both[f"rank_{name}"], metric) for name in ("a", "b")}
    return both[KEY].assign(**scores)


def _score(rank: pd.Series, metric: str) -> pd.Series:
    return (rank <= 1).astype(float) if metric == "hits_at_1" else 1 / rank


def gains(both: pd.DataFrame, groups: pd.Series, least: int = 1) -> pd.DataFrame:
    """By split and property: n, a, b, the gain a - b and its 95 % interval.

    Args:
        both: of `paired`.
        groups: by item id; items that it lacks are groups of their own.
    """
    of_group = both.assign(group=groups_of(both["item"], groups), gain=both["a"] - both["b"])
    rows = []
    for split, of_split in of_group.groupby("split", sort=False):
        parts = {EVERY: of_split} | {str(name): part for name, part in of_split.groupby("property")}
        rows += [
            {"split": split, "property": name, "n": len(part), "a": part["a"].mean(), "b": part["b"].mean()}
            | _interval(part)
            for name, part in parts.items()
            if name == EVERY or len(part) >= least
        ]
    return pd.DataFrame(rows)


def groups_of(items: pd.Series, groups: pd.Series) -> pd.Series:
    """The group of each item; one that `groups` (by item id) lacks is its own."""
    group = items.map(groups)
    return group.astype(object).where(group.notna(), "item " + items)


def _interval(part: pd.DataFrame) -> dict[str, float]:
    low, high = intervals(part[["gain"]], part["group"]).iloc[0]
    return {"gain": part["gain"].mean(), "low": float(low), "high": float(high)}


def intervals(values: pd.DataFrame, group: pd.Series) -> pd.DataFrame:
    """A row a column of `values`: low and high, 95 % of its means over draws of groups; NaN where there is one group
    only. All columns see the same draws."""
    sums = values.groupby(group.to_numpy()).sum().to_numpy().T
    counts = group.groupby(group.to_numpy()).size().to_numpy()
    if len(counts) < 2:
        return pd.DataFrame(np.nan, index=values.columns, columns=["low", "high"])
    drawn = bootstrap(
        (*sums, counts),
        lambda *parts, axis: np.stack([total.sum(axis) for total in parts[:-1]]) / parts[-1].sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=2000,
        batch=max(1, _DRAWN_AT_ONCE // len(counts)),
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return pd.DataFrame(dict(zip(("low", "high"), drawn.confidence_interval, strict=True)), index=values.columns)


def table(found: pd.DataFrame) -> str:
    """Markdown."""
    lines = ["| split | property | n | A | B | gain | 95 % |", "|---" * 7 + "|"]
    for row in found.itertuples():
        interval = f"{row.low:+.3f} to {row.high:+.3f}"
        lines.append(
            f"| {row.split} | {row.property} | {row.n} | {row.a:.3f} | {row.b:.3f} | {row.gain:+.3f} | {interval} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Arguments) -> None:
    """The command; see the module."""
    both = paired(pd.read_parquet(arguments.first), pd.read_parquet(arguments.second), arguments.metric)
    groups = pd.Series(dtype=str)
    if arguments.store is not None:
        with graphstore.open(arguments.store) as store:
            groups = store.items(("group",)).to_pandas().set_index("id")["group"]
    found = gains(both, groups, arguments.least)
    if arguments.properties:
        found = found[found["property"].isin((EVERY, *arguments.properties))]
    print(table(found), end="")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
