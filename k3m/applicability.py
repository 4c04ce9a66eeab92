"""Which properties may be asked of an item: those that apply to it with a probability of at least `THRESHOLD`.

The probability is learnt from training triples: from the item's category, and from which other properties the item has.
Of a property that nearly all items have, and of an item that has no other than such, the category alone says it: the
share of its items that have the property, among those of its items that have anything to tell by. (An item without a
single fact was most likely never described; it says nothing of what applies.) Otherwise a logistic regression a
property says it, on the logit of that share and the presence of each other property. Measured in docs/results.md.

An item without a category, or of one never seen, is taken for any item. Legend: n items, P properties, T of them that
tell, C categories and one row more for ANY.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64, Int64
from scipy import sparse  # type: ignore[import-untyped]
from scipy.special import expit, logit  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression

from graphstore import Store
from graphstore.tables import Ints
from k3m import rng

THRESHOLD = 0.05
ANY = ""
"""Stands for all categories together."""
NEARLY_ALL = 0.9
"""A property that so many of the items have tells nothing of the others."""
LEAST = 20
"""Items that have a property before it tells anything; of a rarer one the category says whether it applies."""
SAMPLE = 50_000
"""Items, drawn by position, that the regressions are fitted on: all of them in a catalogue that has no more."""
PRIOR = 10.0
"""How many items' worth a category's share among all of its items weighs in its share among those that tell."""
BLOCK = 20_000
"""Items whose probabilities are in memory at a time."""
_COLUMNS = ["kind", "property", "name", "number"]


@dataclass(frozen=True)
class Applicability:
    """What was counted and fitted.

    `table`: columns kind, property, name, number. By kind, of a category (name): `items` it has, `telling` ones, and
    those `having` a property. Of a fitted property: its `constant`, the `slope` of its share's logit, and the weight of
    another property (name) being `given`.
    """

    table: pd.DataFrame

    @classmethod
    def from_store(cls, store: Store, sample: int = SAMPLE) -> "Applicability":
        """From training triples alone; what is held at a time is as long as the sample, not the catalogue."""
        sizes = store.category_counts().to_pandas().fillna({"category": ANY})
        cells = store.property_counts().to_pandas().fillna({"category": ANY})
        sizes = pd.concat([sizes[sizes["category"] != ANY], sizes.assign(category=ANY)])
        cells = pd.concat([cells[cells["category"] != ANY], cells.assign(category=ANY)])
        items = sizes.groupby("category")["items"].sum()
        having = cells.groupby(["category", "property"], as_index=False)["items"].sum()
        of_all = having[having["category"] == ANY].set_index("property")["items"]
        told = of_all[(of_all >= LEAST) & (of_all < NEARLY_ALL * items.get(ANY, 0))].index.to_numpy(dtype=object)
        category, present = _sampled(store, told, sample)
        telling = _telling(items, category, present.any(axis=1))
        counted = pd.concat(
            [
                _rows("items", ANY, items.index, items),
                _rows("telling", ANY, telling.index, telling),
                _rows("having", having["property"], having["category"], having["items"]),
            ],
            ignore_index=True,
        )
        return cls(pd.concat([counted, *cls(counted)._fitted(told, category, present)], ignore_index=True))

    @classmethod
    def load(cls, path: Path) -> "Applicability":
        return cls(pd.read_parquet(path))

    def save(self, path: Path) -> None:
        self.table.to_parquet(path, index=False)

    def missing(self, items: pd.DataFrame, present: pd.DataFrame, threshold: float = THRESHOLD) -> pd.DataFrame:
        """The cells that may be asked and that `present` has not, sorted by property and item: item, property, and
        `applies`, the probability.

        Args:
            items: columns id and category.
            present: item and property, more than once for several values. With a column split, only triples for
                training (null) tell what applies; kept-back ones are not asked for, and that is all.
        """
        names, rows = self.properties, pd.Index(items["id"])
        place = pd.Index(names).get_indexer(present["property"]), rows.get_indexer(present["item"])
        there = (place[0] >= 0) & (place[1] >= 0)
        told = there & present["split"].isna().to_numpy() if "split" in present else there
        held, shown = (_matrix(place[1][of], place[0][of], (len(rows), len(names))) for of in (there, told))
        found = []
        for start in range(0, len(rows), BLOCK):
            part = slice(start, start + BLOCK)
            applies = self.probabilities(items["category"].iloc[part], shown[part].toarray())
            row, column = np.nonzero((applies >= threshold) & ~held[part].toarray())
            found.append((rows.to_numpy()[start + row], names[column], applies[row, column]))
        columns = [np.concatenate(parts) for parts in zip(*found, strict=True)] if found else [[], [], []]
        cells = pd.DataFrame(dict(zip(("item", "property", "applies"), columns, strict=True)))
        return cells.sort_values(["property", "item"], ignore_index=True)

    def probabilities(self, category: pd.Series, present: Bool[np.ndarray, "n P"]) -> Float64[np.ndarray, "n P"]:
        """That each of `properties` applies to items of these categories that have the properties in `present`.

        A property's own presence does not count."""
        found = self.shares[self._category_rows(category)]
        fitted, told, weights, slope, constant = self._regressions
        if len(fitted):
            tells = present[:, told].any(axis=1)
            given = present[tells][:, told] @ weights.T
            found[np.ix_(tells, fitted)] = expit(constant + slope * _logit(found[np.ix_(tells, fitted)]) + given)
        return found

    @cached_property
    def properties(self) -> np.ndarray:
        """[P], in code-point order."""
        return np.unique(self.table.loc[self.table["kind"] == "having", "property"].to_numpy(dtype=object))

    @cached_property
    def shares(self) -> Float64[np.ndarray, "C P"]:
        """Of the categories' items that tell, the share that has each property: drawn towards the share among all of
        the category's items, which is drawn towards that among all items."""
        number = self._number("items"), self._number("telling")
        having = np.zeros((len(self._categories), len(self.properties)))
        rows = self.table[self.table["kind"] == "having"]
        having[self._categories.get_indexer(rows["name"]), np.searchsorted(self.properties, rows["property"])] = rows[
            "number"
        ]
        overall = having[self._categories.get_indexer([ANY])] / max(1.0, number[0].max(initial=0.0))
        of_all = (having + overall) / (number[0][:, None] + 1)
        return np.minimum((having + PRIOR * of_all) / (number[1][:, None] + PRIOR), 1.0)

    @cached_property
    def _categories(self) -> pd.Index:
        return pd.Index(self.table.loc[self.table["kind"] == "items", "name"], dtype=object)

    def _number(self, kind: str) -> Float64[np.ndarray, " C"]:
        rows = self.table[self.table["kind"] == kind].set_index("name")["number"]
        return rows.reindex(self._categories).to_numpy(dtype=np.float64)

    def _category_rows(self, category: pd.Series) -> Ints:
        rows = self._categories.get_indexer(category.fillna(ANY))
        return np.where(rows < 0, self._categories.get_indexer([ANY]), rows)

    @cached_property
    def _regressions(self) -> tuple[Ints, Ints, np.ndarray, np.ndarray, np.ndarray]:
        """Columns [F] of the fitted properties and [T] of those that tell, weights [F, T], slopes and constants [F]."""
        parts = {kind: rows for kind, rows in self.table.groupby("kind") if kind in ("given", "slope", "constant")}
        if not parts:
            return (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), *[np.empty(0)] * 3)
        given = parts["given"].pivot(index="property", columns="name", values="number").fillna(0.0)
        one = [parts[kind].set_index("property")["number"].loc[given.index] for kind in ("slope", "constant")]
        places = [np.searchsorted(self.properties, names.to_numpy(dtype=object)) for names in given.axes]
        return (places[0], places[1], given.to_numpy(), one[0].to_numpy(), one[1].to_numpy())

    def _fitted(
        self, told: np.ndarray, category: pd.Series, present: Bool[np.ndarray, "n T"]
    ) -> Iterator[pd.DataFrame]:
        """The regressions' rows of the table. An item counts where another property than the asked one tells."""
        row, shown, times = _distinct(self._category_rows(category), present)
        share = _logit(self.shares[:, np.searchsorted(self.properties, told)])
        number = shown.sum(axis=1)
        for column, property in enumerate(told):
            used = number > shown[:, column]
            has = shown[used, column]
            if has.all() or not has.any():
                continue
            others = np.delete(shown[used], column, axis=1)
            inputs = sparse.csr_matrix(np.column_stack([share[row[used], column], others]))
            # A coarse end: a tenth of a percent of the probabilities moves after it, and half of the time is saved.
            model = LogisticRegression(max_iter=100, tol=1e-3).fit(inputs, has, sample_weight=times[used])
            slope, *weights = model.coef_[0].tolist()
            yield _rows("constant", property, [ANY], model.intercept_)
            yield _rows("slope", property, [ANY], [slope])
            yield _rows("given", property, np.delete(told, column), weights)


def _sampled(store: Store, told: np.ndarray, most: int) -> tuple[pd.Series, Bool[np.ndarray, "n T"]]:
    """Categories of the sampled items, and which of the properties they have."""
    ords = np.sort(rng.first(most, store.num_items, "applicability"))
    columns = pd.Index(told).get_indexer(pd.Index(store.property_names(), dtype=object))
    category, present = [], np.zeros((len(ords), len(told)), dtype=bool)
    for start in range(0, len(ords), BLOCK):
        part = ords[start : start + BLOCK]
        category.append(store.item_features(part, ("category",))["category"])
        near = store.neighbours(part)
        row, column = np.repeat(np.arange(len(part)), np.diff(near.indptr)), columns[near.property]
        present[start + row[column >= 0], column[column >= 0]] = True
    return pd.Series(np.concatenate(category) if category else [], dtype=object), present


def _telling(items: pd.Series, category: pd.Series, tells: Bool[np.ndarray, " n"]) -> pd.Series:
    """Of each category's items so many tell, by their share among the sampled ones."""
    sampled = pd.DataFrame({"category": category.fillna(ANY), "tells": tells})
    sampled = pd.concat([sampled[sampled["category"] != ANY], sampled.assign(category=ANY)])
    share = sampled.groupby("category")["tells"].mean().reindex(items.index)
    return items * share.fillna(tells.mean() if len(tells) else 0.0)


def _distinct(
    category: Ints, present: Bool[np.ndarray, "n T"]
) -> tuple[Ints, Bool[np.ndarray, "m T"], Int64[np.ndarray, " m"]]:
    """The distinct rows, and how often each occurs: items of a kind have much the same properties."""
    packed = np.column_stack([category.astype("<i4").view(np.uint8).reshape(-1, 4), np.packbits(present, axis=1)])
    whole = np.ascontiguousarray(packed).view(f"V{packed.shape[1]}").ravel()
    _, first, times = np.unique(whole, return_index=True, return_counts=True)
    return category[first], present[first], times


def _matrix(row: Ints, column: Ints, shape: tuple[int, int]) -> sparse.csr_matrix:
    """Of truth values; a cell may be named more than once."""
    return sparse.csr_matrix((np.ones(len(row), dtype=bool), (row, column)), shape=shape)


def _logit(share: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
    return logit(np.clip(share, 1e-6, 1 - 1e-6))


def _rows(kind: str, property: object, name: object, number: object) -> pd.DataFrame:
    found = pd.DataFrame({"kind": kind, "property": property, "name": name, "number": np.asarray(number, dtype=float)})
    return found[_COLUMNS]
