"""Tasks from files and from a store."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import graphstore
from graphstore import Store
from k3m.tasks import align, answer, classify
from k3m.tasks.data import from_file, group_names


def shop() -> Store:
    """60 items in 20 groups of three, two categories of a group each."""
    ids = [f"i{number:02d}" for number in range(60)]
    items = pd.DataFrame(
        {
            "id": ids,
            "title": [f"thing {number}" for number in range(60)],
            "category": [("hat", "scarf")[number // 3 % 2] for number in range(60)],
            "group": [f"g{number // 3}" for number in range(60)],
        }
    )
    rows: list[tuple[str, str, str, str | None]] = [
        (item, "colour", ("red", "blue")[number % 2], None) for number, item in enumerate(ids)
    ]
    rows += [
        (item, "size", ("S", "L")[number % 2], ("valid", "test", None)[number % 3]) for number, item in enumerate(ids)
    ]
    triples = pd.DataFrame(rows, columns=["item", "property", "value", "split"], dtype=object)
    return graphstore.from_tables(items, triples)


def test_a_file_is_read_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "alignment.tsv"
    path.write_text("i00\ti01\t1\ttrain\ni02\ti03\t0\tvalid\ni04\ti05\t1\ttest\n", encoding="utf-8")
    data = from_file("align", path, shop())
    assert data.train.items.tolist() == [["i00", "i01"]]
    assert (data.valid.labels.tolist(), data.test.groups.tolist()) == ([0], ["g1"])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("i00\thot\tdev\n", "split is one of train, valid, test"),
        ("i00\thot\ttrain\n", "got none of valid, test"),
        ("i00\thot\n", "needs the columns item, label, split"),
        ("i00\ta\ttrain\ni01\ta\tvalid\ni02\tb\ttest\n", "every class needs examples of split train"),
    ],
)
def test_a_file_that_is_none_is_refused(lines: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "classification.tsv"
    path.write_text(lines, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        from_file("classify", path, shop())


def test_tasks_of_a_store_are_split_by_group() -> None:
    store = shop()
    for data in (classify.from_store(store), align.from_store(store)):
        items = {name: set(data.part(name).items.ravel()) for name in ("train", "valid", "test")}
        groups = {name: set(group_names(store, own)) for name, own in items.items()}
        assert all(groups.values())
        assert not groups["train"] & groups["test"]
        assert not groups["train"] & groups["valid"]
        assert not groups["valid"] & groups["test"]


def test_pairs_of_a_store_are_same_groups_and_others_of_the_category() -> None:
    store = shop()
    data = align.from_store(store)
    table = pd.concat([data.part(name).table for name in ("train", "valid", "test")])
    assert (table["label"] == 1).sum() == 40  # two of each group of three
    assert 30 <= (table["label"] == 0).sum() <= 40  # a split of one group has no other group's
    of = store.items(("group", "category")).to_pandas().set_index("id")
    same = of.loc[table["item"], "group"].to_numpy() == of.loc[table["other"], "group"].to_numpy()
    assert np.array_equal(same, table["label"] == 1)
    one, two = (of.loc[table[name], "category"].to_numpy() for name in ("item", "other"))
    assert (one == two).mean() > 0.9


def test_questions_of_training_leave_out_what_is_asked_of_the_group() -> None:
    store = shop()
    data = answer.from_store(store)
    assert set(data.test.table["property"]) == {"size"}
    assert len(data.test) == 20
    assert 0 < len(data.valid) < 20  # the part of valid to select by
    assert len(data.train) == 0  # each group has an item whose size is asked for in test
    assert data.answers.tolist() == ["L", "S"]


def test_few_are_drawn_once_and_for_all() -> None:
    test = classify.from_store(shop()).train
    assert len(test.first(7)) == 7
    assert test.first(7).table.equals(test.first(7).table)
    assert set(test.first(7).table["item"]) <= set(test.first(9).table["item"])
