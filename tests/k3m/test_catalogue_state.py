"""Which items a later state of a catalogue calls changed."""

import pandas as pd
import pytest

import graphstore
from k3m.catalogue_state import CatalogueState

TRIPLES = pd.DataFrame([("a", "colour", "red"), ("b", "colour", "blue")], columns=["item", "property", "value"])


def _state(items: pd.DataFrame, colour: str = "red") -> CatalogueState:
    triples = TRIPLES.assign(value=TRIPLES["value"].mask(TRIPLES["item"] == "a", colour), split=None)
    return CatalogueState.of(graphstore.from_tables(items, triples))


@pytest.mark.parametrize("column", [["x", None, None], [1.5, None, None]])
def test_a_new_field_changes_the_items_that_have_it(column: list[object]) -> None:
    items = pd.DataFrame({"id": ["a", "b", "c"], "title": ["hat", None, "scarf"]})
    before, after = _state(items), _state(items.assign(material=pd.Series(column)))
    assert after.changed(before).tolist() == ["a"]
    assert before.changed(after).tolist() == ["a"]


def test_another_value_of_a_field_or_fact_is_a_change() -> None:
    items = pd.DataFrame({"id": ["a", "b", "c"], "title": ["hat", None, "scarf"]})
    titled = items.assign(title=["hat", "cap", "shawl"])
    assert _state(titled).changed(_state(items)).tolist() == ["b", "c"]
    assert _state(items, colour="green").changed(_state(items)).tolist() == ["a"]
