"""Which properties apply to an item: shares worked out by hand, what a regression learns, and what must not tell."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import graphstore
from graphstore import Store
from k3m import applicability
from k3m.applicability import Applicability

TRIPLES = ["item", "property", "value"]


def _store(items: list[tuple[str, str | None]], triples: list[str], kept_back: tuple[str, ...] = ()) -> Store:
    rows = pd.DataFrame([row.split() for row in triples], columns=TRIPLES).assign(split=None)
    kept = pd.DataFrame([row.split() for row in kept_back], columns=TRIPLES).assign(split="test")
    items_table = pd.DataFrame(items, columns=["id", "category"], dtype=object)
    return graphstore.from_tables(items_table, pd.concat([rows, kept]) if kept_back else rows)


def test_a_category_s_share_by_hand() -> None:
    """So few items that no regression is fitted. Of three hats two have a colour, one of these a size, one nothing; a
    scarf has a fabric twice; of the four items three are described."""
    store = _store(
        [("a", "hat"), ("b", "hat"), ("c", "hat"), ("d", "scarf")],
        ["a colour red", "b colour red", "b size S", "d fabric wool", "d fabric silk"],
        ("c fabric wool", "d colour red"),
    )
    found = Applicability.from_store(store)
    assert found.properties.tolist() == ["colour", "fabric", "size"]
    shares = found.probabilities(pd.Series(["hat", "scarf", None, "sock"]), np.zeros((4, 3), dtype=bool))
    # Of all of a category's items, drawn to the share of all: (having + that) / (items + 1); then of those that another
    # property describes: a has nothing but a colour, d nothing but a fabric.
    hat = [(2 + 2 / 4) / 4, (0 + 1 / 4) / 4, (1 + 1 / 4) / 4]
    scarf = [(0 + 2 / 4) / 2, (1 + 1 / 4) / 2, (0 + 1 / 4) / 2]
    every = [(2 + 2 / 4) / 5, (1 + 1 / 4) / 5, (1 + 1 / 4) / 5]
    having = np.array([[1, 0, 1], [0, 0, 0], [1, 0, 1], [1, 0, 1]])
    described = np.array([[1, 2, 2], [1, 0, 1], [2, 2, 3], [2, 2, 3]])
    expected = (having + 10 * np.array([hat, scarf, every, every])) / (described + 10)
    np.testing.assert_allclose(shares, expected, rtol=1e-12)


def test_what_nearly_all_have_is_shared_by_all_of_a_category() -> None:
    """A colour says of no item that it was described: nine of ten hats have one."""
    store = _store([(f"h{n}", "hat") for n in range(10)], [f"h{n} colour red" for n in range(9)] + ["h0 size S"])
    found = Applicability.from_store(store)
    of_all = (np.array([9, 1]) + np.array([9, 1]) / 10) / 11
    # Of the size none is described by another property: its share of all hats.
    np.testing.assert_allclose(found.shares[found._any], (np.array([9, 0]) + 10 * of_all) / np.array([20, 10]))


def test_a_property_does_not_describe_the_items_that_it_is_asked_of() -> None:
    """Eight shoes of a hundred are waterproof, and nothing else is ever said: that is said of few, not of all. Where a
    sole describes two of these eight and two others, of four so described two are waterproof."""
    items: list[tuple[str, str | None]] = [(f"s{n:02}", "shoe") for n in range(100)]
    triples = [f"s{n:02} colour red" for n in range(100)] + [f"s{n:02} waterproof yes" for n in range(8)]
    found = Applicability.from_store(_store(items, triples))
    assert found.shares[found._any, 1] == pytest.approx(0.08)
    several = Applicability.from_store(_store(items, triples + [f"s{n:02} sole flat" for n in range(6, 10)]))
    colour, sole, waterproof = several.shares[several._any]
    assert colour == pytest.approx(1.0)
    assert sole == pytest.approx((2 + 10 * 0.04) / (8 + 10))
    assert waterproof == pytest.approx((2 + 10 * 0.08) / (4 + 10))


def test_what_describes_alone_is_counted_in_the_sample_and_scaled() -> None:
    category, sole = pd.Series(["hat", "hat", "hat", None]), np.array(["size", "\n", None, "size"])
    number, alone = applicability._described(pd.Series({"": 8, "hat": 6, "sock": 1}), category, sole)
    assert number.to_dict() == {"": 6.0, "hat": pytest.approx(4.0), "sock": 0.75}
    assert alone.values.tolist() == [["", "size", 4.0], ["hat", "size", 2.0]]


def test_missing_are_the_cells_above_the_threshold_that_nobody_has() -> None:
    store = _store([("a", "hat"), ("b", "hat")], ["a colour red"], ("b colour red",))
    found = Applicability.from_store(store)
    items = pd.DataFrame({"id": ["b", "a", "x"], "category": ["hat", "hat", None]})
    known = store.triples((None, "test")).to_pandas()
    asked = found.missing(items, known)  # b has one in a kept-back triple: not asked, whatever applies
    assert asked[["item", "property"]].values.tolist() == [["x", "colour"]]
    assert asked["applies"].tolist() == [found.shares[found._any, 0]]
    assert found.missing(items, known, threshold=1.0 + 1e-9).empty
    assert found.missing(items.iloc[:0], known).empty


@pytest.mark.parametrize(("items", "kept_back"), [([("a", "hat")], ("a colour red",)), ([], ())])
def test_a_store_without_triples_has_none_to_ask(
    items: list[tuple[str, str | None]], kept_back: tuple[str, ...], tmp_path: Path
) -> None:
    store = _store(items, [], kept_back)
    Applicability.from_store(store).save(tmp_path / "applicability.parquet")
    found = Applicability.load(tmp_path / "applicability.parquet")
    assert found.missing(pd.DataFrame({"id": ["b"], "category": ["hat"]}), pd.DataFrame(columns=TRIPLES)).empty


def _wardrobe(number: int = 400, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Garments and watches under one category: garments have fabric, fit and sleeve, watches dial, strap and movement,
    each recorded in four cases of five; both have a brand."""
    random = np.random.default_rng(seed)
    kinds = (("fabric", "fit", "sleeve"), ("dial", "strap", "movement"))
    rows = [
        (f"i{place:03}", property, "x")
        for place in range(number)
        for property in ("brand", *kinds[place % 2])
        if property == "brand" or random.random() < 0.8
    ]
    items = pd.DataFrame({"id": [f"i{place:03}" for place in range(number)], "category": "thing"})
    return items, pd.DataFrame(rows, columns=TRIPLES).assign(split=None)


def test_other_properties_tell_what_the_category_does_not() -> None:
    items, triples = _wardrobe()
    found = Applicability.from_store(graphstore.from_tables(items, triples))
    names = found.properties.tolist()
    present = np.array([[name in shown for name in names] for shown in (("brand", "fabric"), ("brand", "dial"), ())])
    applies = pd.DataFrame(found.probabilities(pd.Series(["thing"] * 3), present), columns=names)
    assert (applies.loc[0, ["fit", "sleeve"]] > 0.6).all()
    assert (applies.loc[0, ["dial", "strap", "movement"]] < 0.15).all()
    assert (applies.loc[1, ["strap", "movement"]] > 0.6).all()
    assert (applies.loc[1, ["fabric", "fit", "sleeve"]] < 0.15).all()
    # Nothing is there to tell by: the category's share, about .4 of the six.
    np.testing.assert_allclose(applies.loc[2].to_numpy(), found.shares[found._any], rtol=1e-12)
    assert found.shares[found._any][names.index("brand")] > 0.9


def test_saved_and_loaded_it_says_the_same(tmp_path: Path) -> None:
    items, triples = _wardrobe()
    found = Applicability.from_store(graphstore.from_tables(items, triples))
    found.save(tmp_path / "applicability.parquet")
    known = triples.iloc[::2]
    pd.testing.assert_frame_equal(
        Applicability.load(tmp_path / "applicability.parquet").missing(items, known), found.missing(items, known)
    )


def test_kept_back_facts_tell_nothing() -> None:
    """Neither when it is learnt nor when it is asked: with the kept-back triples gone, the same probabilities; their
    own cells alone are not asked."""
    items, triples = _wardrobe()
    random = np.random.default_rng(1)
    split = pd.Series("test", index=triples.index, dtype=object)
    kept = triples.assign(split=split.where(random.random(len(triples)) < 0.3, None))
    training = kept[kept["split"].isna()]
    full, bare = (Applicability.from_store(graphstore.from_tables(items, rows)) for rows in (kept, training))
    pd.testing.assert_frame_equal(full.table, bare.table)
    asked, without = full.missing(items, kept), bare.missing(items, training)
    cells = kept.loc[kept["split"].notna(), ["item", "property"]]
    expected = without[~pd.MultiIndex.from_frame(without[["item", "property"]]).isin(pd.MultiIndex.from_frame(cells))]
    pd.testing.assert_frame_equal(asked, expected.reset_index(drop=True))
    assert len(asked) < len(without)


def test_in_blocks_and_from_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks change nothing; a sample of half of the items learns much the same."""
    items, triples = _wardrobe()
    store = graphstore.from_tables(items, triples)
    whole = Applicability.from_store(store)
    known = triples.iloc[::2]
    monkeypatch.setattr(applicability, "BLOCK", 7)
    again = Applicability.from_store(store)
    pd.testing.assert_frame_equal(again.table, whole.table)
    pd.testing.assert_frame_equal(again.missing(items, known), whole.missing(items, known))
    half = Applicability.from_store(store, sample=200).missing(items, known)
    both = half.merge(whole.missing(items, known), on=["item", "property"])
    assert len(both) > 0.9 * len(half)
    assert (both["applies_x"] - both["applies_y"]).abs().mean() < 0.05
