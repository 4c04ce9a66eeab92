"""Planted values: how many, which, the same again, and the figures worked out by hand."""

import pandas as pd
import pytest

from analysis import planting
from analysis.planting import KEY, corrupted, plant
from tests.catalogues import tiny_catalogue

TABLES = tiny_catalogue()
CATEGORY = TABLES.items.set_index("id")["category"]
TRAINING = TABLES.triples[TABLES.triples["split"].isna()]


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_so_many_are_planted_and_the_same_again(share: float) -> None:
    planted = plant(TABLES.triples, CATEGORY, share, seed=3)
    assert len(planted) == round(share * len(TRAINING))
    shuffled = TABLES.triples.sample(frac=1.0, random_state=1)
    pd.testing.assert_frame_equal(planted, plant(shuffled, CATEGORY, share, seed=3))
    assert not planted.equals(plant(TABLES.triples, CATEGORY, share, seed=4))


def test_a_planted_value_is_a_donor_s_and_none_of_the_item_s() -> None:
    planted = plant(TABLES.triples, CATEGORY, 0.3, seed=0)
    held = set(TABLES.triples[KEY].itertuples(index=False, name=None))
    assert set(planted[["item", "property", "original"]].itertuples(index=False, name=None)) <= set(
        TRAINING[KEY].itertuples(index=False, name=None)
    )
    kinds = {(CATEGORY[item] or "", property, value) for item, property, value in TRAINING[KEY].itertuples(index=False)}
    for item, property, value in planted[KEY].itertuples(index=False, name=None):
        assert (item, property, value) not in held
        assert (CATEGORY[item] or "", property, value) in kinds
    assert not planted.duplicated(KEY).any()


def test_donors_that_are_many_are_drawn_often() -> None:
    """Nine tenths of the donors of another value than `grey` are red."""
    rows = [(f"i{n:03}", "colour", "grey" if n < 100 else "red" if n % 10 else "blue") for n in range(200)]
    triples = pd.DataFrame(rows, columns=KEY).assign(split=None)
    category = pd.Series("hat", index=triples["item"])
    planted = plant(triples, category, 0.5, seed=0)
    of_grey = planted.loc[planted["original"] == "grey", "value"]
    assert len(of_grey) > 30
    assert 0.8 < (of_grey == "red").mean() < 1
    assert set(of_grey) == {"red", "blue"}


def test_the_corrupted_catalogue_differs_in_what_was_planted_alone() -> None:
    planted = plant(TABLES.triples, CATEGORY, 0.1, seed=0)
    wrong = corrupted(TABLES.triples, planted)
    assert len(wrong) == len(TABLES.triples)
    assert list(wrong) == list(TABLES.triples)
    before, after = (set(table[KEY].itertuples(index=False, name=None)) for table in (TABLES.triples, wrong))
    assert after - before == set(planted[KEY].itertuples(index=False, name=None))
    assert before - after == set(planted[["item", "property", "original"]].itertuples(index=False, name=None))
    pd.testing.assert_series_equal(wrong["split"], TABLES.triples["split"], check_index=False)


def test_what_cannot_be_planted_is_refused() -> None:
    with pytest.raises(ValueError, match=r"in \(0, 1\) \(got 0\)"):
        plant(TABLES.triples, CATEGORY, 0, seed=0)
    share = 0.4 / len(TRAINING)
    with pytest.raises(ValueError, match=f"of {len(TRAINING)} training triples is none: nothing to plant"):
        plant(TABLES.triples, CATEGORY, share, seed=0)
    alone = pd.DataFrame([("a", "colour", "red"), ("b", "size", "S")], columns=KEY).assign(split=None)
    with pytest.raises(ValueError, match="of 2 training triples 0 have a donor: cannot plant 1"):
        plant(alone, pd.Series({"a": "hat", "b": "hat"}), 0.5, seed=0)


def test_figures_by_hand() -> None:
    """Planted are the first, the third and the last of five: precision 1, 1/2, 2/3, 1/2, 3/5 down the list."""
    found = pd.DataFrame(
        {
            "item": list("abcde"),
            "property": "colour",
            "value": "red",
            "suggested": ["blue", "blue", "blue", "blue", None],
            "suspicion": [0.9, 0.5, 0.4, 0.0, -1.0],
        }
    )
    planted = found.loc[[0, 2, 4], KEY].assign(original=["blue", "green", "pink"])
    figures = planting.figures(found, planted)
    assert figures == {
        "judged": 5,
        "planted": 3,
        "chance": pytest.approx(3 / 5),
        "average_precision": pytest.approx((1 + 2 / 3 + 3 / 5) / 3),
        "recall_at_precision_80": pytest.approx(1 / 3),
        "precision_at_recall_50": pytest.approx(2 / 3),
        "restored": pytest.approx(1 / 3),
    }
    table = planting.table({"tabular": figures})
    assert table.splitlines()[-1] == "| tabular | .756 | .333 | .667 | .333 | .600 |"
