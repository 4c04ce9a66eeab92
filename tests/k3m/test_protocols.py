"""The robustness protocols: what is drawn, and what a store with it says."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphstore
from graphstore import Store
from k3m.candidates import Candidates
from k3m.protocols import PROTOCOLS, Donors, Noise, draw, read_draw, write_draw
from tests.catalogues import tiny_catalogue

TABLES = tiny_catalogue(60)
STORE: Store = graphstore.from_tables(TABLES.items, TABLES.triples, images=TABLES.images)
ITEMS = TABLES.items.set_index("id").astype(object).where(lambda found: found.notna(), None)
SOME = sorted(ITEMS.index)[5:46]
KEY = ["item", "property", "value"]
CONTENT = {modality: ITEMS[modality].to_dict() for modality in ("title", "image")}
TRAINING = STORE.triples().to_pandas()[KEY]
OF_ITEMS = [name for name in PROTOCOLS if name not in ("KMR", "KNR")]

ratios, seeds = st.floats(0, 1), st.integers(0, 2**31)
drawing = settings(max_examples=4, deadline=None, derandomize=True)


def _replaceable() -> int:
    """Training triples of `SOME` that can have another value: in a cell of several, each takes a candidate."""
    candidates, true = Candidates.from_store(STORE), STORE.triples((None, "valid", "test", "cold")).to_pandas()
    known = true.groupby(["item", "property"])["value"].agg(set)
    cells = TRAINING[TRAINING["item"].isin(SOME)].groupby(["item", "property"]).size()
    return sum(min(number, len(set(candidates.of(name)) - known[item, name])) for (item, name), number in cells.items())


@pytest.mark.parametrize("protocol", PROTOCOLS)
@drawing
@given(ratio=ratios, seed=seeds)
def test_the_ratio_is_exact(protocol: str, ratio: float, seed: int) -> None:
    changes = draw(STORE, Noise(protocol=protocol, ratio=ratio, seed=seed), SOME)
    if protocol in OF_ITEMS:
        assert changes["item"].nunique() == int(np.floor(ratio * len(SOME) + 0.5))
        assert not changes.duplicated(["item", "modality"]).any()
    else:
        number = TRAINING["item"].isin(SOME).sum() if protocol == "KMR" else _replaceable()
        assert len(changes) == int(np.floor(ratio * number + 0.5))
        assert not changes.duplicated(KEY).any()
    assert set(changes["item"]) <= set(SOME)
    assert set(changes["protocol"]) <= {protocol}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@drawing
@given(small=ratios, large=ratios, seed=seeds, donors=st.sampled_from(["any", "category"]))
def test_smaller_ratios_lie_inside_larger_ones(
    protocol: str, donors: Donors, small: float, large: float, seed: int
) -> None:
    small, large = sorted((small, large))
    few, many = (draw(STORE, Noise(protocol=protocol, ratio=r, seed=seed, donors=donors), SOME) for r in (small, large))
    pd.testing.assert_frame_equal(few, many.head(len(few)))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_seed_is_all_that_decides(protocol: str) -> None:
    first, again, other = (draw(STORE, Noise(protocol=protocol, ratio=0.5, seed=n), SOME) for n in (3, 3, 4))
    pd.testing.assert_frame_equal(first, again)
    assert set(map(tuple, first[KEY].to_numpy())) != set(map(tuple, other[KEY].to_numpy()))


def test_halves_and_thirds() -> None:
    by_item = {
        protocol: draw(STORE, Noise(protocol=protocol, ratio=1), SOME).groupby("item")["modality"].agg(" ".join)
        for protocol in ("MMR", "MNR", "TINR")
    }
    counts = {protocol: found.value_counts().to_dict() for protocol, found in by_item.items()}
    assert counts == {
        "MMR": {"title": 21, "image": 20},
        "MNR": {"title": 14, "image": 14, "title image": 13},
        "TINR": {"title image": 41},
    }


@pytest.mark.parametrize("protocol", OF_ITEMS)
@drawing
@given(seed=seeds)
def test_what_is_wrong_is_another_item_s(protocol: str, seed: int) -> None:
    changes = draw(STORE, Noise(protocol=protocol, ratio=1, seed=seed), SOME)
    for row in changes.to_dict("records"):
        assert row["value"] == CONTENT[row["modality"]][row["item"]]
        if PROTOCOLS[protocol][0] == "missing":
            assert (row["new"], row["donor"], row["donors"]) == (None, None, None)
        else:
            assert row["donor"] != row["item"]
            assert row["new"] == CONTENT[row["modality"]][row["donor"]] != row["value"]
            assert row["donors"] == "any"


def test_title_and_image_come_from_two_items() -> None:
    changes = draw(STORE, Noise(protocol="TINR", ratio=1), SOME)
    assert (changes.groupby("item")["donor"].nunique() == 2).all()


def test_every_other_title_is_as_likely() -> None:
    """Of ten draws for every item: no donor much more often than the others, which are all with another title."""
    noise = [Noise(protocol="TNR", ratio=1, seed=seed) for seed in range(10)]
    donors = pd.concat([draw(STORE, each, list(ITEMS.index))["donor"] for each in noise]).value_counts()
    assert set(donors.index) == set(ITEMS.index[ITEMS["title"].notna()])
    assert donors.max() < 2.5 * donors.mean()


def test_donors_of_the_same_category() -> None:
    changes = draw(STORE, Noise(protocol="MNR", ratio=1, donors="category"), SOME)
    category = ITEMS["category"].fillna("none")
    assert (category[changes["donor"]].to_numpy() == category[changes["item"]].to_numpy()).all()
    assert set(changes["donors"]) == {"category"}


def _shop(*rows: tuple[str | None, str]) -> Store:
    items = pd.DataFrame([(f"i{n}", *row) for n, row in enumerate(rows)], columns=["id", "title", "category"])
    triples = pd.DataFrame([("i0", "size", "S")], columns=KEY)
    return graphstore.from_tables(items.astype(object), triples)


def test_a_category_without_another_title_takes_any_and_says_so() -> None:
    shop = _shop(("hat", "hats"), ("hat", "hats"), ("shoe", "shoes"))
    changes = draw(shop, Noise(protocol="TNR", ratio=1, donors="category"), ["i0", "i1"])
    assert changes["donor"].tolist() == ["i2", "i2"]
    assert changes["donors"].tolist() == ["any", "any"]


def test_a_catalogue_of_one_title_is_refused() -> None:
    shop = _shop(("hat", "hats"), ("hat", "hats"), (None, "hats"))
    with pytest.raises(ValueError, match="title of no other item differs"):
        draw(shop, Noise(protocol="TNR", ratio=1), ["i0"])


def test_an_item_without_a_title_gets_one_where_titles_are_wrong() -> None:
    shop = _shop(("hat", "hats"), (None, "hats"))
    changes = draw(shop, Noise(protocol="TNR", ratio=1), ["i1"])
    assert changes[["value", "new"]].to_numpy().tolist() == [[None, "hat"]]


@drawing
@given(seed=seeds)
def test_a_wrong_value_is_a_candidate_and_untrue(seed: int) -> None:
    changes = draw(STORE, Noise(protocol="KNR", ratio=1, seed=seed), SOME)
    candidates = Candidates.from_store(STORE)
    true = set(map(tuple, TABLES.triples[KEY].to_numpy()))
    given = list(changes[["item", "property", "new"]].itertuples(index=False, name=None))
    assert not set(given) & true
    assert len(set(given)) == len(given)
    assert all(new in candidates.of(name) for _, name, new in given)


def test_a_property_of_one_value_has_no_wrong_one() -> None:
    shop = _shop(("hat", "hats"), ("shoe", "shoes"))
    assert len(draw(shop, Noise(protocol="KNR", ratio=1), ["i0"])) == 0
    assert len(draw(shop, Noise(protocol="KMR", ratio=1), ["i0"])) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_draw_is_read_as_it_was_written(protocol: str, tmp_path: Path) -> None:
    changes = draw(STORE, Noise(protocol=protocol, ratio=0.5), SOME)
    write_draw(changes, tmp_path / "draw.parquet")
    pd.testing.assert_frame_equal(read_draw(tmp_path / "draw.parquet"), changes)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"protocol": "XYZ"}, "protocol is one of TMR"),
        ({"ratio": 20.0}, "ratio is a share"),
        ({"donors": "friends"}, "donors are any or category"),
    ],
)
def test_what_is_no_protocol_is_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Noise(**({"protocol": "TMR", "ratio": 0.5} | wrong))
