"""Values brought into one form on request; what they were stays on the triple, as `original`.

Rules are TOML; each takes the values as those before it left them:

    [[rules]]
    properties = ["colour", "trim"]  # without it: all properties
    white_space = true               # one space for any run of it, none at the ends
    case = "lower"                   # or upper, or title
    unit = "cm"                      # a number with one of these units becomes one with this unit
    factors = {cm = 1, mm = 0.1, in = 2.54}
    synonyms = "colours.csv"         # a table with columns from and to, or here: {grey = "gray"}

Within a rule they apply in this order. A value that nothing would be left of stays as it is.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from graphstore.images import MemoryImages
from graphstore.tables import KEY
from loaders import settings
from loaders.catalogue import Catalogue, CatalogueBuilder, CatalogueError
from loaders.quarantine import Quarantine
from loaders.rows import Layout, read_rows

CASES = {"lower": str.lower, "upper": str.upper, "title": str.title}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One of the rules."""

    properties: tuple[str, ...] = ()
    white_space: bool = False
    case: str | None = None
    unit: str | None = None
    factors: dict[str, float] = field(default_factory=dict)
    synonyms: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.case not in (None, *CASES):
            raise CatalogueError(f"rules: case: expected {', '.join(CASES)} (got {self.case!r})")
        if (self.unit is None) != (not self.factors):
            raise CatalogueError("rules: unit and factors go together: what each unit is in this one")

    def applied(self, property: str, value: str) -> str:
        """The value after this rule."""
        if self.properties and property not in self.properties:
            return value
        found = " ".join(value.split()) if self.white_space else value
        found = CASES[self.case](found) if self.case else found
        found = self._in_unit(found) if self.unit else found
        return self.synonyms.get(found, found) or value

    def _in_unit(self, value: str) -> str:
        match = self._measure.fullmatch(value)
        if not match:
            return value
        # Decimal: 12 in are 30.48 cm, not 30.479999999999997
        number = Decimal(match[1]) * Decimal(str(self.factors[match[2]]))
        return f"{number.normalize():f} {self.unit}"

    @cached_property
    def _measure(self) -> re.Pattern[str]:
        units = "|".join(map(re.escape, sorted(self.factors, key=len, reverse=True)))
        return re.compile(rf"\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*({units})\s*", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """A whole file of them."""

    rules: tuple[Rule, ...]


def load(file: Path) -> tuple[Rule, ...]:
    """Rules from their file.

    Raises:
        CatalogueError: naming the file and what is wrong in it.
    """
    return settings.load(file, lambda table: rules_of(table, file.parent))


def rules_of(table: dict[str, Any], folder: Path) -> tuple[Rule, ...]:
    """Rules from their TOML; tables of synonyms lie in `folder`."""
    entries = table.get("rules")
    if isinstance(entries, list):
        entries = [_with_synonyms(entry, folder) for entry in entries]
    return settings.section(Rules, "rules", table | ({"rules": entries} if entries is not None else {})).rules


def normalised(catalogue: Catalogue, rules: Sequence[Rule]) -> Catalogue:
    """The catalogue with its values after the rules. Triples that become the same are one, with the first of their
    originals: of training, if one of them is, since what training says is no question of an evaluation."""
    triples = catalogue.triples
    pairs = list(zip(triples["property"], triples["value"], strict=True))
    forms = {pair: _applied(rules, *pair) for pair in dict.fromkeys(pairs)}
    values = pd.Series([forms[pair] for pair in pairs], index=triples.index, dtype=object)
    original = triples["value"].where(values != triples["value"], None)
    whole = triples.assign(value=values, original=original.astype(object))
    training_first = whole.loc[whole["split"].notna().sort_values(kind="stable").index]
    kept = training_first.drop_duplicates(list(KEY)).sort_index()
    return replace(catalogue, triples=kept.reset_index(drop=True), merged=len(whole) - len(kept))


def _applied(rules: Sequence[Rule], property: str, value: str) -> str:
    for rule in rules:
        value = rule.applied(property, value)
    return value


def _with_synonyms(entry: Any, folder: Path) -> Any:
    """The rule with its table of synonyms read, where it names a file."""
    name = entry.get("synonyms") if isinstance(entry, dict) else None
    return entry | {"synonyms": _synonyms(folder / name)} if isinstance(name, str) else entry


def _synonyms(file: Path) -> dict[str, str]:
    builder = CatalogueBuilder("synonyms", MemoryImages(), Quarantine())
    found: dict[str, str] = {}
    for number, row in read_rows(file, builder, ("from", "to"), Layout()):
        builder.take(file, number, found, row["from"], row["to"], f"synonym {row['from']!r}")
    if builder.quarantine.rows:
        raise CatalogueError(": ".join(builder.quarantine.rows[0].split("\t")))
    return found
