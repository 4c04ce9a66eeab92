"""Nothing that is asked for reaches the input: the asked triple, the class label, ids, order, price."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import graphstore
from graphstore import Store
from k3m.baselines import pretraining
from k3m.run import load_run
from k3m.tasks import classify, models
from k3m.tasks.classify import unseen
from k3m.tasks.config import TaskConfig
from k3m.tasks.data import Examples, TaskData
from k3m.tasks.encoders import K3MEncoder
from k3m.tasks.neural import NeuralTuned, info_of
from k3m.tasks.view import QuestionTokenizer
from tests.catalogues import Tables
from tests.k3m.tasks.conftest import SMALL, catalogue, store_of, untrained


def reader(run: Path, data: TaskData) -> NeuralTuned:
    """K3M with a head that was never trained."""
    found = load_run(run)
    torch.manual_seed(0)
    return NeuralTuned(
        K3MEncoder(found.model), QuestionTokenizer(found.tokenizer.tokenizer), info_of("k3m", data, TaskConfig())
    )


def changed(rows: pd.Series, value: str) -> Store:
    tables = catalogue()
    triples = tables.triples.assign(value=tables.triples["value"].where(~rows, value))
    return store_of(dataclasses.replace(tables, triples=triples))


def test_the_asked_triple_changes_no_score(run: Path, store: Store, tasks: dict[str, TaskData]) -> None:
    data = tasks["answer"]
    examples = data.train.take([0])
    item, asked = examples.table.loc[0, ["item", "property"]]
    tuned, triples = reader(run, data), catalogue().triples
    before = tuned.scores(examples, store)
    of_item = triples["item"] == item
    for value in ("green", "blue"):
        other = changed(of_item & (triples["property"] == asked), value)
        assert np.array_equal(tuned.scores(examples, other), before)
    shown = changed(of_item & (triples["property"] == "brand"), "Aldo" if value != "Aldo" else "Birk")
    assert not np.array_equal(tuned.scores(examples, shown), before)  # what is not asked is seen


def test_a_question_is_read_behind_the_title_and_never_cut(run: Path, store: Store, tasks: dict[str, TaskData]) -> None:
    data = tasks["answer"]
    tuned = reader(run, data)
    tuned.template = "what is the {}?"
    batch = next(tuned.batches(data.train.take([0, 1]), store))
    words = tuned.tokenizer
    question = [words.vocabulary.sep, *words._encoded(f"what is the {data.train.table['property'].iloc[0]}?")]
    title = store.item_features(store.item_ords([str(data.train.table["item"].iloc[0])]), ("title",))["title"][0]
    expected = [words.vocabulary.cls, *(words._encoded(title) if title else []), *question]
    assert [token for token in batch.title[0].tolist() if token != words.vocabulary.pad] == expected
    short = words.titles([f"{'long ' * 50}\x1fwhat is the colour?"], 16)[0].tolist()
    assert len(short) == 16
    assert short[-len(words._encoded("what is the colour?")) :] == words._encoded("what is the colour?")


def test_ids_order_and_price_change_no_score(run: Path, store: Store, tasks: dict[str, TaskData]) -> None:
    tables = catalogue()
    new = {name: f"renamed {99 - number}" for number, name in enumerate(tables.items["id"])}
    items = tables.items.assign(id=tables.items["id"].map(new), price=1.0).iloc[::-1]
    triples = tables.triples.assign(item=tables.triples["item"].map(new))
    other = store_of(Tables(items, triples, tables.images))
    for task, data in tasks.items():
        tuned = reader(run, data)
        renamed = data.test.table.assign(item=data.test.table["item"].map(new))
        if task == "align":
            renamed["other"] = renamed["other"].map(new)
        if task == "answer":
            tuned.template = "what is the {}?"  # the wording is drawn by the item's id
        there = tuned.scores(Examples(data.task, renamed), other)
        assert np.allclose(there, tuned.scores(data.test, store), atol=1e-5)


def labelled_by(prop: str) -> TaskData:
    return classify.from_store(store_of(catalogue()), prop)


def test_a_run_that_saw_the_label_is_refused(
    store: Store, run: Path, tasks: dict[str, TaskData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saw = untrained(store, tmp_path / "saw", "visible.fields=category")
    with pytest.raises(ValueError, match=r"visible\.fields have 'category'"):
        models.tuned_by("k3m", tasks["classify"], store, TaskConfig(), saw)
    monkeypatch.setattr(classify, "LEAST", 5)
    with pytest.raises(ValueError, match="pretrained on triples of the property 'fabric'"):
        models.tuned_by("k3m", labelled_by("fabric"), store, TaskConfig(), run)


def test_a_run_of_two_hops_is_refused(store: Store, tasks: dict[str, TaskData], tmp_path: Path) -> None:
    two = untrained(store, tmp_path / "two", "model.shared_values=true", "data.fan_out=4,4")
    with pytest.raises(ValueError, match="two hops"):
        models.tuned_by("k3m", tasks["answer"], store, TaskConfig(), two)


def test_a_field_above_the_label_and_a_property_of_its_words_are_refused() -> None:
    tables = catalogue()
    items = tables.items.assign(above=["clothes" if number % 4 else "goods" for number in range(len(tables.items))])
    items = items.assign(kind=[f"{('scarf', 'hat', 'shoe', 'belt')[n % 4]}" for n in range(len(items))])
    triples = pd.DataFrame({"item": items["id"], "property": "sort", "value": items["kind"].str.upper()})
    store = graphstore.from_tables(items, triples.iloc[:30], images=tables.images)
    part = pd.DataFrame({"item": items["id"], "label": [n % 4 for n in range(40)], "group": items["id"]})
    examples = Examples("classify", part)
    data = TaskData("classify", examples, examples, examples, classes=("scarf", "hat", "shoe", "belt"))
    with pytest.raises(ValueError, match="'above'"):
        unseen(data, store, ("title", "image", "above"), ())
    with pytest.raises(ValueError, match="'sort'"):
        unseen(data, store, (), ("sort",))
    assert unseen(data, store, ("price",), ()).hidden_properties == ("sort",)


def test_a_hidden_property_changes_no_score(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a baseline from scratch, which may be tuned for it."""
    monkeypatch.setattr(classify, "LEAST", 5)
    data = unseen(labelled_by("fabric"), store, (), ())
    assert data.hidden_properties == ("fabric",)
    encoder, tokenizer = pretraining.fresh("text_pkg", store, settings=SMALL)
    tuned = NeuralTuned(encoder, QuestionTokenizer(tokenizer.tokenizer), info_of("text_pkg", data, TaskConfig()))
    triples = catalogue().triples
    other = changed((triples["property"] == "fabric") & triples["split"].isna(), "wool")
    assert np.array_equal(tuned.scores(data.test, other), tuned.scores(data.test, store))
