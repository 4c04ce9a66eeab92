"""Which proposals stand after an update."""

import pandas as pd

import graphstore
from k3m.differences import left, without_value

COLUMNS = ["item", "property", "value", "score", "run"]


def test_a_proposal_stands_until_its_cell_has_a_value_or_its_item_goes() -> None:
    """Whether the cell would still be asked is of no account: nobody else here has a `size`."""
    triples = [("a", "colour", "red", None), ("b", "fabric", "wool", "test"), ("c", "colour", "blue", None)]
    store = graphstore.from_tables(
        pd.DataFrame({"id": ["a", "b", "c"]}), pd.DataFrame(triples, columns=["item", "property", "value", "split"])
    )
    cells = [("a", "colour"), ("a", "size"), ("b", "colour"), ("b", "fabric"), ("gone", "size")]
    old = pd.DataFrame([(*cell, "old value", 0.5, "old") for cell in cells], columns=COLUMNS)
    own = pd.DataFrame([("b", "colour", "new value", 0.7, "new")], columns=COLUMNS)
    unanswered = without_value(store, old[["item", "property"]], pd.Index(["a", "b", "c"]))
    assert unanswered.to_numpy().tolist() == [["a", "size"], ["b", "colour"]]
    expected = [["a", "size", "old value", 0.5, "old"], ["b", "colour", "new value", 0.7, "new"]]
    assert left(old, own, unanswered).to_numpy().tolist() == expected
    assert without_value(store, old.iloc[:0][["item", "property"]], pd.Index([])).empty
