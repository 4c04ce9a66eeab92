"""Wrong values planted in a catalogue, to measure how well they are found again.

A planted triple has the value of a donor: another triple of the same property whose item has the same category. It is
never a value that the item has for the property, in whatever split. Donors are drawn by how many they are: what is
planted are likely mistakes.
"""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float, Int64
from sklearn.metrics import average_precision_score, precision_recall_curve

from k3m import rng

KEY = ["item", "property", "value"]

_Donors = tuple[np.ndarray, Int64[np.ndarray, " k"]]
"""Distinct values, and how many have each."""


def plant(triples: pd.DataFrame, category: pd.Series, share: float, seed: int) -> pd.DataFrame:
    """Which training triples to replace, and by what: columns item, property, value (the wrong one), original.

    Args:
        triples: item, property, value and split (null: for training), all of the catalogue.
        category: by item id; items without one are donors of each other.
        share: of the training triples, in (0, 1); so many are planted exactly, to the nearest whole number.

    Raises:
        ValueError: a share outside (0, 1), or one of no triple; more asked for than triples have a donor.
    """
    if not 0 < share < 1:
        raise ValueError(f"a share of planted triples is in (0, 1) (got {share})")
    training = triples[triples["split"].isna()].reset_index(drop=True)
    draws = rng.uniform(rng.item_keys(names_of(training), "plant", seed)[:, None], np.arange(2))
    wanted = round(share * len(training))
    if wanted == 0:
        raise ValueError(f"a share of {share:g} of {len(training)} training triples is none: nothing to plant")
    planted = _planted(training, triples, category, draws, wanted)
    if len(planted) < wanted:
        raise ValueError(f"of {len(training)} training triples {len(planted)} have a donor: cannot plant {wanted}")
    return planted.sort_values(KEY, ignore_index=True)


def _planted(
    training: pd.DataFrame, known: pd.DataFrame, category: pd.Series, draws: Float[np.ndarray, "n 2"], wanted: int
) -> pd.DataFrame:
    """The first draw of a triple says how early it is tried, the second which donor it gets."""
    items, properties, values = (training[name].to_numpy(dtype=object) for name in ("item", "property", "value"))
    group, _ = pd.factorize(pd.MultiIndex.from_arrays([properties, training["item"].map(category).fillna("")]))
    donors = _donors(group, values)
    had: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for item, property, value in known[KEY].itertuples(index=False, name=None):
        had[item, property].add(value)
    rows: list[tuple[str, str, str, str]] = []
    for row in np.argsort(draws[:, 0], kind="stable").tolist():
        if len(rows) == wanted:
            break
        cell = items[row], properties[row]
        value = _donor(donors[group[row]], had[cell], draws[row, 1])
        if value is not None:
            had[cell].add(value)
            rows.append((*cell, value, values[row]))
    return pd.DataFrame(rows, columns=["item", "property", "value", "original"])


def _donors(group: Int64[np.ndarray, " n"], values: np.ndarray) -> list[_Donors]:
    """Of each group, by its number."""
    counts = pd.DataFrame({"group": group, "value": values}).value_counts(sort=False).sort_index().reset_index()
    return [
        (of_group["value"].to_numpy(dtype=object), of_group["count"].to_numpy())
        for _, of_group in counts.groupby("group")
    ]


def _donor(donors: _Donors, had: set[str], draw: float) -> str | None:
    """The value at `draw` of the donors that are none of `had`; None where there is no such donor."""
    values, left = donors[0], donors[1].copy()
    for value in had:
        left[values == value] = 0
    ends = np.cumsum(left)
    return None if ends[-1] == 0 else str(values[np.searchsorted(ends, draw * ends[-1], side="right")])


def corrupted(triples: pd.DataFrame, planted: pd.DataFrame) -> pd.DataFrame:
    """`triples` with the planted values in the place of the original ones; what was planted is a triple like any
    other."""
    wrong = planted.rename(columns={"value": "wrong", "original": "value"})
    merged = triples.merge(wrong, on=KEY, how="left", validate="one_to_one")
    return merged.assign(value=merged["wrong"].fillna(merged["value"])).drop(columns="wrong")


def names_of(triples: pd.DataFrame) -> np.ndarray:
    """One text a triple, [n]: what draws for it are made from."""
    return (triples["item"] + "\x1f" + triples["property"] + "\x1f" + triples["value"]).to_numpy(dtype=object)


def figures(conflicts: pd.DataFrame, planted: pd.DataFrame) -> Mapping[str, float]:
    """How well the planted triples are told from the rest by `suspicion`, and how often the value suggested in their
    place is the one that they had.

    Args:
        conflicts: item, property, value, suggested, suspicion (higher is more suspect), all judged triples.
    """
    found = conflicts.merge(planted, on=KEY, how="left", validate="one_to_one")
    wrong, suspicion = found["original"].notna().to_numpy(), found["suspicion"].to_numpy()
    precision, recall, _ = precision_recall_curve(wrong, suspicion)
    restored = (found["suggested"] == found["original"])[wrong]
    return {
        "judged": len(found),
        "planted": int(wrong.sum()),
        "chance": float(wrong.mean()),
        "average_precision": float(average_precision_score(wrong, suspicion)),
        "recall_at_precision_80": float(recall[:-1][precision[:-1] >= 0.8].max(initial=0.0)),
        "precision_at_recall_50": float(precision[recall >= 0.5].max()),
        "restored": float(restored.mean()),
    }


def table(found: Mapping[str, Mapping[str, float]]) -> str:
    """Markdown: a row a model."""
    columns = {
        "average precision": "average_precision",
        "recall at precision .8": "recall_at_precision_80",
        "precision at recall .5": "precision_at_recall_50",
        "true value suggested": "restored",
        "chance": "chance",
    }
    lines = ["| model | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [
        f"| {model} | " + " | ".join(f"{of_model[name]:.3f}".lstrip("0") for name in columns.values()) + " |"
        for model, of_model in found.items()
    ]
    return "\n".join(lines) + "\n"
