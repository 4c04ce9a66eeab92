"""Which properties may be asked of items of a category, worked out by hand."""

from pathlib import Path

import pandas as pd

import graphstore
from k3m.applicability import ANY, Applicability


def test_what_a_share_of_a_categorys_items_have() -> None:
    """At a share of one half. Hats: a and b, of which a alone has a size. Scarves: c, d and e; d has fabrics, twice.
    Without a category: f and g, whose empty one is none; both have a colour, as a and c have."""
    items = pd.DataFrame(
        {"id": list("abcdefg"), "category": ["hat", "hat", "scarf", "scarf", "scarf", None, ""]}, dtype=object
    )
    rows = [
        "a colour red",
        "a size S",
        "c colour red",
        "d fabric wool",
        "d fabric silk",
        "f colour red",
        "g colour blue",
    ]
    triples = pd.DataFrame([row.split() for row in rows], columns=["item", "property", "value"])
    kept_back = pd.DataFrame([("e", "fabric", "wool", "test")], columns=["item", "property", "value", "split"])
    store = graphstore.from_tables(items, pd.concat([triples.assign(split=None), kept_back]))
    found = Applicability.from_store(store, share=0.5).table
    assert found.values.tolist() == [[ANY, "colour"], ["hat", "colour"], ["hat", "size"]]
    third = Applicability.from_store(store, share=1 / 3).table.values.tolist()
    assert third == [*found.values.tolist(), ["scarf", "colour"], ["scarf", "fabric"]]


def test_a_store_without_triples_has_none_to_ask(tmp_path: Path) -> None:
    store = graphstore.from_tables(
        pd.DataFrame({"id": ["a"], "category": ["hat"]}),
        pd.DataFrame([("a", "colour", "red", "test")], columns=["item", "property", "value", "split"]),
    )
    Applicability.from_store(store).save(tmp_path / "applicability.parquet")
    assert Applicability.load(tmp_path / "applicability.parquet").table.values.tolist() == []
