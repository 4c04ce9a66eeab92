"""Wrong values planted in a catalogue, to measure how well they are found again.

A planted triple has the value of a donor: another triple of the same property whose item has the same category. It is
never a value that the item has for the property, in whatever split. The likely mistakes are planted often, as donors are
drawn by how many they are.
"""

from collections import defaultdict

import numpy as np
import pandas as pd
from jaxtyping import Float, Int64

from k3m import rng


def plant(triples: pd.DataFrame, category: pd.Series, share: float, seed: int) -> pd.DataFrame:
    """Which training triples to replace, and by what: columns item, property, value (the wrong one), original.

    Args:
        triples: item, property, value and split (null: for training), all of the catalogue.
        category: by item id; items without one are donors of each other.
        share: of the training triples, in (0, 1); so many are planted exactly, to the nearest whole number.

    Raises:
        ValueError: a share outside (0, 1), or more asked for than triples have a donor.
    """
    if not 0 < share < 1:
        raise ValueError(f"a share of planted triples is in (0, 1) (got {share})")
    training = triples[triples["split"].isna()].reset_index(drop=True)
    names = training["item"] + "\x1f" + training["property"] + "\x1f" + training["value"]
    draws = rng.uniform(rng.item_keys(names.to_numpy(), "plant", seed)[:, None], np.arange(2))
    wanted = round(share * len(training))
    planted = _planted(training, triples, category, draws, wanted)
    if len(planted) < wanted:
        raise ValueError(f"of {len(training)} training triples {len(planted)} have a donor: cannot plant {wanted}")
    return planted.sort_values(["item", "property", "value"], ignore_index=True)


def _planted(
    training: pd.DataFrame, known: pd.DataFrame, category: pd.Series, draws: Float[np.ndarray, "n 2"], wanted: int
) -> pd.DataFrame:
    """The first draw of a triple says how early it is tried, the second which donor it gets."""
    kind = pd.MultiIndex.from_arrays([training["property"], training["item"].map(category).fillna("")])
    group, values = pd.factorize(kind)[0], training["value"].to_numpy(dtype=object)
    donors = _donors(group, values)
    had: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for item, property, value in known[["item", "property", "value"]].itertuples(index=False):
        had[item, property].add(value)
    rows = []
    for row in np.argsort(draws[:, 0], kind="stable").tolist():
        if len(rows) == wanted:
            break
        item, property = training.at[row, "item"], training.at[row, "property"]
        value = _donor(*donors[group[row]], had[item, property], draws[row, 1])
        if value is not None:
            had[item, property].add(value)
            rows.append((item, property, value, values[row]))
    return pd.DataFrame(rows, columns=["item", "property", "value", "original"])


def _donors(group: Int64[np.ndarray, " n"], values: np.ndarray) -> list[tuple[np.ndarray, Int64[np.ndarray, " k"]]]:
    """Of each group its distinct values, and how often it has them."""
    counts = pd.DataFrame({"group": group, "value": values}).value_counts(sort=False).sort_index().reset_index()
    return [
        (of_group["value"].to_numpy(dtype=object), of_group["count"].to_numpy())
        for _, of_group in counts.groupby("group")
    ]


def _donor(values: np.ndarray, counts: Int64[np.ndarray, " k"], had: set[str], draw: float) -> str | None:
    """The value at `draw` of the donors that are none of `had`; None where there is no such donor."""
    left = np.array([value not in had for value in values])
    if not left.any():
        return None
    ends = np.cumsum(counts * left)
    return str(values[np.searchsorted(ends, draw * ends[-1], side="right")])


def corrupted(triples: pd.DataFrame, planted: pd.DataFrame) -> pd.DataFrame:
    """`triples` with the planted values in the place of the original ones; what was planted is a triple like any
    other."""
    key = ["item", "property", "value"]
    wrong = planted.rename(columns={"value": "wrong", "original": "value"})
    merged = triples.merge(wrong, on=key, how="left", validate="one_to_one")
    return merged.assign(value=merged["wrong"].fillna(merged["value"])).drop(columns="wrong")
