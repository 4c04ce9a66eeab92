"""Candidates: what training has seen for a property, in code-point order."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from k3m.candidates import Candidates

TRAINING = pd.DataFrame(
    [
        ("a", "colour", "red"),
        ("b", "colour", "red"),
        ("c", "colour", "Zinc"),
        ("c", "colour", "äther"),
        ("a", "size", "10"),
        ("b", "size", "9"),
    ],
    columns=["item", "property", "value"],
)


def test_values_and_counts_come_in_code_point_order() -> None:
    candidates = Candidates.from_triples(TRAINING.sample(frac=1, random_state=3))
    assert candidates.properties == ["colour", "size"]
    assert candidates.of("colour").tolist() == ["Zinc", "red", "äther"]
    assert candidates.counts("colour").tolist() == [1, 2, 1]
    assert candidates.of("size").tolist() == ["10", "9"]


def test_a_property_without_training_triples_has_no_candidates() -> None:
    candidates = Candidates.from_triples(TRAINING)
    assert candidates.of("shape").tolist() == []
    assert candidates.counts("shape").tolist() == []
    assert candidates.columns("shape", np.array(["round"], dtype=object)).tolist() == [-1]


def test_columns_are_places_in_the_list_and_minus_one_for_unseen_values() -> None:
    found = Candidates.from_triples(TRAINING).columns("colour", pd.Series(["äther", "10", "Zinc"]))
    assert found.tolist() == [2, -1, 0]


def test_no_triples_make_no_candidates() -> None:
    assert Candidates.from_triples(TRAINING.iloc[:0]).properties == []


def test_a_saved_table_comes_back(tmp_path: Path) -> None:
    candidates = Candidates.from_triples(TRAINING)
    candidates.save(tmp_path / "candidates.parquet")
    loaded = Candidates.load(tmp_path / "candidates.parquet")
    pd.testing.assert_frame_equal(loaded.table, candidates.table)
    assert loaded.of("colour").tolist() == ["Zinc", "red", "äther"]


def test_a_table_with_other_columns_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\['property', 'value', 'count'\] \(got \['property', 'value'\]\)"):
        Candidates(TRAINING[["property", "value"]])
