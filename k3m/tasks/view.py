"""A task's examples as the items of a store, so that the run's own stream makes batches of them.

Item n of the view is the item of example n: its title with the question behind it where there is one, and its triples
but for those that must not be seen, every triple of the property that is asked for among them (where a source is
corrupted, that property may show another value than the asked one, which tells as much).

A view is of one hop: the second would show an item's own hidden triple among the items that share its value.
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from graphstore import Store, UnsupportedQuery
from graphstore.store import Edges, Neighbours
from graphstore.tables import Ints
from graphstore.view import StoreView
from k3m.tasks.answer import questions_of
from k3m.tasks.data import Examples
from k3m.text import OF, TextTokenizer

NONE = -1
"""No property."""


class ExampleStore(StoreView):
    """The view.

    Args:
        rows: [n] the source's ordinals, one an example.
        questions: [n] what is asked behind the title; None for none at all.
        asked: [n] ordinals of the properties that are asked for, which the examples do not show; NONE for none.
        hidden: ordinals of properties that no example shows.
    """

    def __init__(
        self,
        source: Store,
        rows: Ints,
        questions: Sequence[str] | None = None,
        asked: Ints | None = None,
        hidden: Collection[int] = (),
    ) -> None:
        super().__init__(source)
        self.rows, self.questions, self.hidden = rows, questions, tuple(hidden)
        self.asked = np.full(len(rows), NONE) if asked is None else asked

    def __reduce__(self) -> tuple[Any, ...]:
        return ExampleStore, (self.source, self.rows, self.questions, self.asked, self.hidden)

    @property
    def num_items(self) -> int:
        return len(self.rows)

    def _item_digests(self, ords: Ints) -> NDArray[np.uint64]:
        return self.source.item_digests(self.rows[ords])

    def _neighbours(self, ords: Ints) -> Neighbours:
        found = self.source.neighbours(self.rows[ords])
        row = np.repeat(np.arange(len(ords)), np.diff(found.indptr))
        shown = (found.property != self.asked[ords][row]) & ~np.isin(found.property, self.hidden)
        indptr = np.concatenate([[0], np.cumsum(np.bincount(row[shown], minlength=len(ords)))])
        return Neighbours(indptr, found.property[shown], found.value[shown], found.edge_id[shown])

    def _item_features(self, ords: Ints, fields: Sequence[str]) -> dict[str, NDArray[np.object_]]:
        found = self.source.item_features(self.rows[ords], fields)
        if "title" in found:
            found["title"] = np.array([self._title(*pair) for pair in zip(ords, found["title"], strict=True)], object)
        return found

    def _title(self, n: int, own: str | None) -> str | None:
        own = own and own.replace(OF, " ")  # a title has no question of its own
        return own if self.questions is None else f"{own or ''}{OF}{self.questions[n]}"

    def _value_degrees(self, ords: Ints, most: int) -> Ints:
        raise UnsupportedQuery("examples are read with one hop (model.shared_values = false)")

    def _value_edges(self, values: Ints, positions: Ints, without: Edges) -> Edges:
        raise UnsupportedQuery("examples are read with one hop (model.shared_values = false)")


def example_view(
    examples: Examples, source: Store, hidden_properties: Sequence[str] = (), template: str | None = None
) -> ExampleStore:
    """The items of the examples, those of one example one after the other; a question behind the title of `answer`
    where `template` (see `answer.questions_of`) is "" or a wording, None for none.

    The asked property is not shown in any case.
    """
    rows = source.item_ords(examples.items.ravel().tolist())
    names = pd.Index(source.property_names(), dtype=object)
    hidden = names.get_indexer(pd.Index(hidden_properties, dtype=object)).tolist()
    if examples.task != "answer":
        return ExampleStore(source, rows, hidden=hidden)
    asked = names.get_indexer(pd.Index(examples.table["property"], dtype=object)).astype(np.int64)  # NONE for none
    questions = None if template is None else questions_of(examples, template)
    return ExampleStore(source, rows, questions, asked, hidden)


class QuestionTokenizer(TextTokenizer):
    """A run's tokenizer that reads `title OF question` as [CLS] title [SEP] question: a title that is too long is cut,
    the question is not."""

    def titles(self, titles: Sequence[str | None], longest: int) -> NDArray[np.int64]:
        return self.padded([self._title(title, longest) for title in titles])

    def _title(self, text: str | None, longest: int) -> list[int]:
        title, separator, question = (text or "").partition(OF)
        behind = [self.vocabulary.sep, *self._encoded(question)][: longest - 1] if separator else []
        before = self._encoded(title) if title else []
        return [self.vocabulary.cls, *before[: longest - 1 - len(behind)], *behind]
