"""Which properties may be asked of an item: those that apply to it with a probability of at least `THRESHOLD`.

The probability is learnt from training triples: from the item's category, and from which other properties the item has.
The category says: so great a share of its items have the property, among those that another property describes. (An
item that has nothing but what nearly all items have was most likely never described: it says nothing of what applies.
Nor does one that has the asked property alone: among items that are described by having it, all have it.) Where the
item has other properties that tell, a logistic regression a property says it, on the logit of that share and the
presence of each of them. Of a property that nearly all items have, the share among all items of the category says it.
`benchmarks/applicability.py` measures it.

An item without a category, or of one never seen, is taken for any item. Legend: n items, P properties, T of them that
tell, C categories and one row more for ANY.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

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
MOST = 500
"""Properties that tell, those that the most items have: a run keeps the square of that many weights."""
SAMPLE = 50_000
"""Items, drawn by position, that the regressions are fitted on: all of them in a catalogue that has no more."""
PRIOR = 10.0
"""How many items' worth a property's share of all of a category's items weighs in its share of the described ones. It
is the share where another property describes none."""
SEVERAL = "\n"
"""In the place of the one property that describes an item, where several do: no name of a property."""
BLOCK = 20_000
"""Items whose probabilities are in memory at a time."""
_COLUMNS = ["kind", "property", "name", "number"]


class _Regressions(NamedTuple):
    """Places among the properties of those that were fitted [F] and of those that tell [T], and what was fitted."""

    asked: Ints
    telling: Ints
    weights: Float64[np.ndarray, "F T"]
    slope: Float64[np.ndarray, " F"]
    constant: Float64[np.ndarray, " F"]


@dataclass(frozen=True)
class Applicability:
    """What was counted and fitted.

    `table`: columns kind, property, name, number. By kind, of a category (name): `items` it has, `described` ones,
    those `having` a property, and those described by it `alone`. Of a fitted property: its `constant`, the `slope` of
    its share's logit, and the weight of another property (name) being `given`.
    """

    table: pd.DataFrame

    @classmethod
    def from_store(cls, store: Store, sample: int = SAMPLE) -> "Applicability":
        """From training triples alone; what is held at a time is as long as the sample, not the catalogue."""
        sizes, cells = (_with_any(of.to_pandas()) for of in (store.category_counts(), store.property_counts()))
        items = sizes.groupby("category")["items"].sum()
        items = items.reindex(items.index.union([ANY]), fill_value=0)
        having = cells.groupby(["category", "property"], as_index=False)["items"].sum()
        of_any = having[having["category"] == ANY].set_index("property")["items"]
        rest = of_any[of_any < NEARLY_ALL * items[ANY]]
        told = np.sort(rest[rest >= LEAST].nlargest(MOST).index.to_numpy(dtype=object))
        category, sole, present = _sampled(store, rest.index, told, sample)
        number, alone = _described(items, category, sole)
        counted = pd.concat(
            [
                _rows("items", ANY, items.index, items),
                _rows("described", ANY, number.index, number),
                _rows("having", having["property"], having["category"], having["items"]),
                _rows("alone", alone["sole"], alone["category"], alone["items"]),
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
        names, ids = self.properties, items["id"].to_numpy(dtype=object)
        row = pd.Index(ids).get_indexer(pd.Index(present["item"]))
        column = pd.Index(names).get_indexer(pd.Index(present["property"]))
        there = (row >= 0) & (column >= 0)
        telling = there & present["split"].isna().to_numpy() if "split" in present else there
        held, shown = (_matrix(row[of], column[of], (len(ids), len(names))) for of in (there, telling))
        parts = []
        for start in range(0, max(1, len(ids)), BLOCK):
            part = slice(start, start + BLOCK)
            applies = self.probabilities(items["category"].iloc[part], shown[part].toarray())
            of, asked = np.nonzero((applies >= threshold) & ~held[part].toarray())
            parts.append(pd.DataFrame({"item": ids[part][of], "property": names[asked], "applies": applies[of, asked]}))
        return pd.concat(parts, ignore_index=True).sort_values(["property", "item"], ignore_index=True)

    def probabilities(self, category: pd.Series, present: Bool[np.ndarray, "n P"]) -> Float64[np.ndarray, "n P"]:
        """That each of `properties` applies to items of these categories that have the properties in `present`, the
        asked one not among them."""
        found, fitted = self.shares[self._category_rows(category)], self._regressions
        if fitted is not None:
            tells = present[:, fitted.telling].any(axis=1)
            cells = np.ix_(tells, fitted.asked)
            given = present[tells][:, fitted.telling] @ fitted.weights.T
            found[cells] = expit(fitted.constant + fitted.slope * _logit(found[cells]) + given)
        return found

    @cached_property
    def properties(self) -> np.ndarray:
        """[P], in code-point order."""
        return np.unique(self._rows_of("having")["property"].to_numpy(dtype=object))

    @cached_property
    def shares(self) -> Float64[np.ndarray, "C P"]:
        """Of the categories' items that another property describes (or of all, for what nearly all items have) the
        share that has each property: drawn towards its share of all of the category's items, which is drawn towards
        that of all items."""
        items, described = self._numbers("items")[:, None], self._numbers("described")[:, None]
        having = self._counts("having")
        alone = np.minimum(self._counts("alone"), having)  # from a sample
        of_any, number = having[self._any], items[self._any]
        of_all = (having + of_any / np.maximum(number, 1)) / (items + 1)
        base = np.where(of_any < NEARLY_ALL * number, np.maximum(described - alone, 0.0), items)
        return np.minimum((having - alone + PRIOR * of_all) / (base + PRIOR), 1.0)

    def _counts(self, kind: str) -> Float64[np.ndarray, "C P"]:
        """Of the categories' items, by property."""
        rows, found = self._rows_of(kind), np.zeros((len(self._categories), len(self.properties)))
        place = self._categories.get_indexer(pd.Index(rows["name"]))
        found[place, np.searchsorted(self.properties, rows["property"])] = rows["number"]
        return found

    @cached_property
    def _categories(self) -> pd.Index:
        return pd.Index(self._rows_of("items")["name"], dtype=object)

    @property
    def _any(self) -> int:
        return int(self._categories.get_indexer(pd.Index([ANY]))[0])

    def _rows_of(self, kind: str) -> pd.DataFrame:
        return self.table[self.table["kind"] == kind]

    def _numbers(self, kind: str) -> Float64[np.ndarray, " C"]:
        return self._rows_of(kind).set_index("name")["number"].reindex(self._categories).to_numpy(dtype=np.float64)

    def _category_rows(self, category: pd.Series) -> Ints:
        rows = self._categories.get_indexer(pd.Index(category.fillna(ANY)))
        return np.where(rows < 0, self._any, rows)

    @cached_property
    def _regressions(self) -> "_Regressions | None":
        given = self._rows_of("given").pivot(index="property", columns="name", values="number").fillna(0.0)
        if given.empty:
            return None
        slope, constant = (
            self._rows_of(kind).set_index("property")["number"].reindex(given.index).to_numpy()
            for kind in ("slope", "constant")
        )
        asked, telling = (np.searchsorted(self.properties, names.to_numpy(dtype=object)) for names in given.axes)
        return _Regressions(asked, telling, given.to_numpy(), slope, constant)

    def _fitted(
        self, told: np.ndarray, category: pd.Series, present: Bool[np.ndarray, "n T"]
    ) -> Iterator[pd.DataFrame]:
        """The regressions' rows of the table. An item counts where another property than the asked one tells."""
        row, shown, times = _distinct(self._category_rows(category), present)
        share = _logit(self.shares[:, np.searchsorted(self.properties, told)])
        number, sparsely = shown.sum(axis=1), sparse.csc_matrix(shown, dtype=np.float64)
        for column, property in enumerate(told):
            used = number > shown[:, column]
            has = shown[used, column]
            if has.all() or not has.any():
                continue
            of_share = sparse.csc_matrix(share[row, column][:, None])
            inputs = sparse.hstack([of_share, sparsely[:, :column], sparsely[:, column + 1 :]], format="csr")[used]
            model = LogisticRegression(max_iter=100, tol=1e-3).fit(inputs, has, sample_weight=times[used])
            slope, *weights = model.coef_[0].tolist()
            yield _rows("constant", property, [ANY], model.intercept_)
            yield _rows("slope", property, [ANY], [slope])
            yield _rows("given", property, np.delete(told, column), weights)


def _with_any(counts: pd.DataFrame) -> pd.DataFrame:
    """Counts by category, and the same again of all categories together."""
    counts = counts.fillna({"category": ANY})
    return pd.concat([counts[counts["category"] != ANY], counts.assign(category=ANY)])


def _sampled(
    store: Store, rest: pd.Index, told: np.ndarray, most: int
) -> tuple[pd.Series, np.ndarray, Bool[np.ndarray, "n T"]]:
    """Categories of the sampled items, which one of the properties `rest` they have [n] (SEVERAL, None for none), and
    which of those `told`."""
    names = pd.Index(store.property_names(), dtype=object)
    columns, telling = pd.Index(told).get_indexer(names), names.isin(rest)
    ords = np.sort(rng.first(most, store.num_items, "applicability"))
    category, sole, present = [], np.full(len(ords), None, dtype=object), np.zeros((len(ords), len(told)), dtype=bool)
    for start in range(0, len(ords), BLOCK):
        part = ords[start : start + BLOCK]
        category.append(store.item_features(part, ("category",))["category"])
        near = store.neighbours(part)
        row, column = start + np.repeat(np.arange(len(part)), np.diff(near.indptr)), columns[near.property]
        held = pd.DataFrame({"row": row, "property": near.property})[telling[near.property]].drop_duplicates()
        several = held["row"].duplicated(keep=False)
        sole[held["row"]] = names[held["property"]].to_numpy(dtype=object)
        sole[held["row"][several]] = SEVERAL
        present[row[column >= 0], column[column >= 0]] = True
    return pd.Series(np.concatenate(category) if category else [], dtype=object), sole, present


def _described(items: pd.Series, category: pd.Series, sole: np.ndarray) -> tuple[pd.Series, pd.DataFrame]:
    """So many of each category's items are described, and so many by one property alone (columns category, sole,
    items): by their shares of the sampled ones."""
    sampled = _with_any(pd.DataFrame({"category": category, "sole": sole}))
    is_described, of_category = sampled["sole"].notna(), sampled["category"]
    share = is_described.groupby(of_category).mean().reindex(items.index)
    number = items * share.fillna(float(pd.notna(sole).mean()) if len(sole) else 0.0)
    alone = sampled[is_described & (sampled["sole"] != SEVERAL)].value_counts(["category", "sole"]).sort_index()
    times = (items / of_category.value_counts()).rename_axis("category")
    return number, (alone * times.reindex(alone.index.get_level_values("category")).to_numpy()).reset_index(
        name="items"
    )


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
