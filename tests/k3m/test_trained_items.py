"""Which items a run knew."""

from pathlib import Path

import pandas as pd
import pytest

import graphstore
from graphstore import Store
from k3m import trained_items


def _store(*items: str) -> Store:
    rows = pd.DataFrame({"id": items, "title": "t"})
    return graphstore.from_tables(rows, pd.DataFrame([(items[0], "p", "v")], columns=["item", "property", "value"]))


def test_items_are_added_and_others_are_new(tmp_path: Path) -> None:
    trained_items.record(_store("b", "a"), tmp_path)
    assert trained_items.new_to(tmp_path, ["a", "c", "b", "d"]).tolist() == [False, True, False, True]
    trained_items.record(_store("c", "a"), tmp_path)  # a run that went on with newer data
    assert trained_items.new_to(tmp_path, ["a", "c", "b", "d"]).tolist() == [False, False, False, True]
    assert trained_items.new_to(tmp_path, []).tolist() == []


def test_a_run_that_says_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"does not say which items its store had \(items.npy is missing\)"):
        trained_items.new_to(tmp_path, ["a"])
