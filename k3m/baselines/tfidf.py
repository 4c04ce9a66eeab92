"""TF-IDF and logistic regression over title and triples: the simplest rival (scikit-learn, C = 10, 150 iterations).

Features are TF-IDF of the title's word 1-2-grams, and of the triples, each one word. classify: one regression. align:
one over |x1 - x2|, x1 * x2 and the cosine of both. answer: one a property, over its own values; all other values come
behind them.

Legend: n examples, N items, F features, C classes, A answers.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy import sparse  # type: ignore[import-untyped]
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from graphstore import Store
from k3m.tasks import answer
from k3m.tasks.data import Examples, Task, TaskData
from k3m.tasks.folder import TaskInfo, read_info, write_info
from k3m.tasks.view import ExampleStore, example_view

NAME = "tfidf"
FACTS = 0.5
"""Weight of the triples beside a title's row of length 1, as in the tabular floor (analysis.features)."""
BEHIND, UNSEEN = -60.0, -30.0
"""Score of another property's value, and of one of the property's that no training example has."""


def whole(fact: Sequence[str]) -> Sequence[str]:
    """A list of words as it is."""
    return fact


@dataclass
class Words:
    """Texts to rows of numbers; learnt from training examples."""

    titles: TfidfVectorizer
    facts: TfidfVectorizer

    @classmethod
    def learnt(cls, view: ExampleStore) -> "Words":
        titles, facts = read(view)
        words = cls(*_vectorizers())
        # One word at least: the vectorizer refuses an empty vocabulary.
        words.titles.fit([*titles, "nothing at all"])
        words.facts.fit([*facts, ["nothing at all"]])
        return words

    def __call__(self, view: ExampleStore) -> sparse.csr_matrix:
        """[N, F]."""
        titles, facts = read(view)
        return sparse.hstack([self.titles.transform(titles), FACTS * self.facts.transform(facts)], format="csr")

    def tensors(self) -> dict[str, NDArray]:
        return {"titles.idf": self.titles.idf_, "facts.idf": self.facts.idf_}

    @property
    def vocabulary(self) -> dict[str, list[str]]:
        return {
            "titles": self.titles.get_feature_names_out().tolist(),
            "facts": self.facts.get_feature_names_out().tolist(),
        }

    @classmethod
    def restored(cls, vocabulary: dict[str, list[str]], tensors: dict[str, NDArray]) -> "Words":
        titles, facts = _vectorizers(vocabulary["titles"], vocabulary["facts"])
        titles.idf_, facts.idf_ = tensors["titles.idf"], tensors["facts.idf"]
        return cls(titles, facts)


def _vectorizers(
    titles: list[str] | None = None, facts: list[str] | None = None
) -> tuple[TfidfVectorizer, TfidfVectorizer]:
    return (
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, vocabulary=titles),
        TfidfVectorizer(analyzer=whole, vocabulary=facts),
    )


def read(view: ExampleStore) -> tuple[list[str], list[list[str]]]:
    """Title and triples of each example, as far as it shows them."""
    ords = np.arange(view.num_items)
    titles = [title or "" for title in view.item_features(ords, ("title",))["title"]]
    found, names = view.neighbours(ords), view.property_names()
    values = view.value_texts(found.value)
    facts = [f"{names[prop]}={value}" for prop, value in zip(found.property, values, strict=True)]
    return titles, [facts[first:end] for first, end in zip(found.indptr[:-1], found.indptr[1:], strict=True)]


@dataclass
class Regression:
    """Of classes by number."""

    weights: Float[np.ndarray, "c F"]
    bias: Float[np.ndarray, " c"]
    classes: NDArray[np.int64]

    @classmethod
    def learnt(cls, rows: sparse.csr_matrix, labels: NDArray[np.int64]) -> "Regression":
        classes = np.unique(labels)
        if len(classes) == 1:
            return cls(np.zeros((1, rows.shape[1])), np.zeros(1), classes)
        # As words: scikit-learn takes many different numbers for a regression's.
        model = LogisticRegression(C=10.0, max_iter=150).fit(rows, np.char.zfill(labels.astype(str), 9))
        weights, bias = model.coef_, model.intercept_
        if len(classes) == 2:
            weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
        return cls(weights, bias, classes)

    def __call__(self, rows: sparse.csr_matrix, columns: int) -> Float[np.ndarray, "n C"]:
        """Log-probabilities by class; UNSEEN of one that training has not."""
        logits = rows @ self.weights.T + self.bias
        scores = np.full((rows.shape[0], columns), UNSEEN)
        highest = logits.max(axis=1, keepdims=True)
        scores[:, self.classes] = logits - highest - np.log(np.exp(logits - highest).sum(axis=1, keepdims=True))
        return scores


class TfidfTuned:
    """See `scoring.Tuned`."""

    name = NAME
    visible: tuple[str, ...] = ()

    def __init__(self, info: TaskInfo, words: Words, regressions: dict[str, Regression]) -> None:
        self.info, self.words, self.regressions = info, words, regressions
        self.threshold, self.history = info.threshold, list[dict[str, float]]()
        self.template: str | None = None

    @property
    def task(self) -> Task:
        return self.info.task

    @classmethod
    def tuned(cls, info: TaskInfo, data: TaskData, source: Store) -> "TfidfTuned":
        begun = monotonic()
        view = example_view(data.train, source, info.hidden_properties)
        model = cls(info, Words.learnt(view), {})
        rows = model._rows(data.train, source)
        if data.task == "answer":
            true = answer.true_columns(data.train, data.answers)
            for prop, of in data.train.table.groupby("property").groups.items():
                asked = np.asarray(of)[true[np.asarray(of)] >= 0]
                if len(asked):
                    model.regressions[str(prop)] = Regression.learnt(rows[asked], true[asked])
        else:
            model.regressions[""] = Regression.learnt(rows, data.train.labels)
        model.history.append({"minutes": (monotonic() - begun) / 60})
        return model

    def scores(self, examples: Examples, source: Store) -> Float[np.ndarray, "n ..."]:
        rows = self._rows(examples, source)
        if self.task == "classify":
            return self.regressions[""](rows, len(self.info.classes))
        if self.task == "align":
            found = self.regressions[""](rows, 2)
            return found[:, 1] - found[:, 0]
        scores = np.full((len(examples), len(self.info.answers)), BEHIND)
        for prop, of in examples.table.groupby("property").groups.items():
            if prop in self.regressions:
                asked, own = np.asarray(of), self.regressions[str(prop)]
                found = own(rows[asked], scores.shape[1])
                scores[np.ix_(asked, own.classes)] = found[:, own.classes]
        return scores

    def _rows(self, examples: Examples, source: Store) -> sparse.csr_matrix:
        view = example_view(examples, source, self.info.hidden_properties)
        rows = self.words(view)
        if self.task != "align":
            return rows
        left, right = rows[0::2], rows[1::2]
        both = left.multiply(right)
        cosine = sparse.csr_matrix(both.sum(axis=1))
        return sparse.hstack([abs(left - right), both, cosine], format="csr")

    def save(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        write_info(directory, replace(self.info, threshold=self.threshold))
        tensors = self.words.tensors()
        for number, own in enumerate(self.regressions.values()):
            tensors |= {f"{number}.{name}": getattr(own, name) for name in ("weights", "bias", "classes")}
        save_file(
            {name: np.ascontiguousarray(array) for name, array in tensors.items()}, directory / "weights.safetensors"
        )
        told = {"properties": list(self.regressions), "vocabulary": self.words.vocabulary}
        (directory / "words.json").write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> "TfidfTuned":
        tensors = load_file(directory / "weights.safetensors")
        told = json.loads((directory / "words.json").read_text(encoding="utf-8"))
        regressions = {
            name: Regression(*(tensors[f"{number}.{part}"] for part in ("weights", "bias", "classes")))
            for number, name in enumerate(told["properties"])
        }
        return cls(read_info(directory), Words.restored(told["vocabulary"], tensors), regressions)
