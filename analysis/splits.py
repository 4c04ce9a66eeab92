"""Which triples a completion asks for, and which it may calibrate on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from analysis.evaluation import styles
from graphstore import Store
from k3m import trained_items
from k3m.candidates import Candidates
from k3m.validation import in_part

DEFAULT = ("test", "cold")
VALID = "valid"
INDUCTIVE = "inductive"
"""Kept-back triples of items that came into the store after the run was trained."""


@dataclass(frozen=True)
class Asked:
    """What a completion works on."""

    triples: pd.DataFrame
    """All of the store: item, property, value, split; with `inductive`, new items' kept-back ones are of that split."""
    splits: list[str]
    """Those that are evaluated."""
    candidates: Candidates
    groups: pd.Series
    """An item's style by its id (`analysis.evaluation.styles`)."""
    calibrating: pd.Series
    """Of `triples`, which confidences are calibrated on, where split `valid` is evaluated; else none."""

    @classmethod
    def of(
        cls, store: Store, directory: Path, info: Mapping[str, Any], splits: Sequence[str] | None, inductive: bool
    ) -> "Asked":
        """See `splits_of` and `with_inductive`."""
        own = splits_of(store, directory, info, splits)
        triples = store.triples((None, *store.counts().splits)).to_pandas()
        calibrating = _calibrating(store, triples) if VALID in own else pd.Series(False, index=triples.index)
        if inductive:
            triples, own = with_inductive(triples, own, directory)
        return cls(triples, own, Candidates.from_store(store), styles(store), calibrating)

    @property
    def kept_back(self) -> pd.DataFrame:
        """Those that are evaluated."""
        return self.triples[self.triples["split"].isin(self.splits)]

    @property
    def unseen(self) -> pd.DataFrame:
        """Of those that are evaluated, the ones that no calibration was fitted on: they alone say what it is worth."""
        kept_back = self.kept_back
        return kept_back[~self.calibrating[kept_back.index]]

    @property
    def training(self) -> pd.DataFrame:
        return self.triples[self.triples["split"].isna()]


def splits_of(store: Store, directory: Path, info: Mapping[str, Any], asked: Sequence[str] | None) -> list[str]:
    """The splits to evaluate: those asked for, or the default ones that the store has; none for a run that was refitted
    on all triples.

    Args:
        directory: the run's folder; info: its run.json.

    Raises:
        ValueError: for one that the store has not, naming those it has, or that the run was refitted on.
    """
    there = store.counts().splits
    if info.get("refit_of"):
        if asked:
            raise ValueError(f"{directory} was refitted on all triples: evaluate {info['refit_of']} instead")
        return []
    if asked is None:
        return [split for split in DEFAULT if split in there]
    absent = [split for split in asked if split not in there]
    if absent:
        raise ValueError(f"{store.location} has no split {', '.join(absent)}; it has: {', '.join(there) or 'none'}")
    return list(asked)


def require_same_split(store: Store, directory: Path, info: Mapping[str, Any]) -> None:
    """What an adopted graph keeps back follows from its mapping; under another one the run trained on some of it.

    Raises:
        ValueError: naming the rule that the run was trained under, and the store's.
    """
    trained, here = (_rule(manifest) for manifest in (info.get("split_manifest"), store.split_manifest))
    if trained != here:
        raise ValueError(
            f"{directory} was trained on {_described(trained)}, {store.location} has {_described(here)}: "
            "kept-back triples of one may be training triples of the other"
        )


def _rule(manifest: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return {name: manifest[name] for name in ("mapping", "share", "seed")} if manifest else None


def _described(rule: Mapping[str, Any] | None) -> str:
    if rule is None:
        return "the splits of its store"
    return f"a mapping's split (triples {rule['mapping'][:8]}, share {rule['share']}, seed {rule['seed']})"


def with_inductive(triples: pd.DataFrame, splits: Sequence[str], directory: Path) -> tuple[pd.DataFrame, list[str]]:
    """The triples, those of `splits` that are of items new to the run now of split `inductive`; and the splits that
    have any then.

    Raises:
        ValueError: where there are none, or the run does not say which items it knew.
    """
    asked = triples["split"].isin(splits)
    items = triples.loc[asked, "item"].unique().tolist()
    new = pd.Series(trained_items.new_to(directory, items), index=items, dtype=bool)
    if not new.any():
        raise ValueError(
            f"no kept-back triple of {', '.join(splits) or 'any split'} is of an item that came after the training of "
            f"{directory}: ingest further items with --holdout first"
        )
    moved = triples.assign(split=triples["split"].mask(asked & triples["item"].isin(new.index[new]), INDUCTIVE))
    return moved, [split for split in (*splits, INDUCTIVE) if (moved["split"] == split).any()]


def _calibrating(store: Store, triples: pd.DataFrame) -> pd.Series:
    """Which of the triples are `calibrate_part`'s."""
    found = triples["split"] == VALID
    found[found] = in_part(store, pa.table({"item": triples.loc[found, "item"].to_numpy()}), "calibrate")
    return found


def calibrate_part(store: Store, info: Mapping[str, Any]) -> pd.DataFrame:
    """The triples of split `valid` that nothing was selected by; none where the store has none, or the run was trained
    on them."""
    valid = store.triples((VALID,))
    if info.get("refit_of"):
        valid = valid.slice(0, 0)
    return valid.filter(pa.array(in_part(store, valid, "calibrate"), pa.bool_())).to_pandas()
