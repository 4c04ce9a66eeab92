from collections.abc import Sequence
from random import Random

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loaders.holdout import MOST_KNOWN, hold_out

TEXTS = st.sampled_from(["a", "b", "c", "d", "e", "围"])
TRIPLES = st.lists(st.tuples(TEXTS, TEXTS, TEXTS), unique=True, max_size=60)
SHARES = st.sampled_from([0.0, 0.2, 0.5, 0.9])
SEEDS = st.integers(0, 5)


def _table(triples: Sequence[tuple[str, str, str]]) -> pd.DataFrame:
    return pd.DataFrame(triples, columns=["item", "property", "value"], dtype=object)


def _large() -> pd.DataFrame:
    """2,000 items of 6 facts in 5 cells: brand, and two colours."""
    properties = ["brand", "colour", "colour", "size", "fabric", "care"]
    return _table([(f"i{item}", name, f"v{place}") for item in range(2000) for place, name in enumerate(properties)])


def _splits(table: pd.DataFrame) -> dict[tuple[str, str, str], str | None]:
    rows = table[["item", "property", "value"]].itertuples(index=False, name=None)
    return dict(zip(rows, table["split"], strict=True))


@settings(deadline=None)
@given(TRIPLES, SHARES, SEEDS)
def test_invariants(triples: list[tuple[str, str, str]], share: float, seed: int) -> None:
    table = hold_out(_table(triples), share, seed)
    assert list(_splits(table)) == triples  # every triple, once, in its order
    for item, rows in table.groupby("item"):
        splits = set(rows["split"])
        assert splits == {"cold"} or "cold" not in splits, item
        if len(rows) < MOST_KNOWN:
            assert splits <= {None, "cold"}
    for _, cell in table.groupby(["item", "property"]):
        assert len(set(cell["split"])) == 1  # whole cells


@settings(deadline=None)
@given(TRIPLES, SHARES, SEEDS, st.randoms())
def test_the_order_of_rows_changes_nothing(
    triples: list[tuple[str, str, str]], share: float, seed: int, random: Random
) -> None:
    shuffled = random.sample(triples, len(triples))
    assert _splits(hold_out(_table(triples), share, seed)) == _splits(hold_out(_table(shuffled), share, seed))


def test_items_that_come_later_move_no_cell() -> None:
    """A catalogue that grows must not turn yesterday's test triples into training triples."""
    whole = _large()
    before = _splits(hold_out(whole[whole["item"] < "i5"], 0.2, 0))
    after = _splits(hold_out(whole, 0.2, 0))
    assert all(after[triple] == split for triple, split in before.items())


def test_shares() -> None:
    """R = .2: a tenth of the items cold; of the others' cells a tenth each; four standard deviations either way."""
    table = hold_out(_large(), 0.2, 0, base=("brand",))
    cold_items = table[table["split"] == "cold"]["item"].unique()
    assert abs(len(cold_items) - 200) < 4 * (2000 * 0.1 * 0.9) ** 0.5
    cells = table[~table["item"].isin(cold_items)].drop_duplicates(["item", "property"])
    for split in ("valid", "test"):
        assert abs((cells["split"] == split).sum() - 0.1 * len(cells)) < 4 * (len(cells) * 0.1 * 0.9) ** 0.5


def test_counts_of_a_seed() -> None:
    counts = hold_out(_large(), 0.2, 0, base=("brand",))["split"].fillna("training").value_counts().to_dict()
    assert counts == {"training": 8815, "test": 1162, "valid": 1048, "cold": 975}


def test_cold_items_keep_the_base_properties_alone() -> None:
    table = hold_out(_large(), 0.2, 0, base=("brand", "care"))
    cold = table[table["item"].isin(table[table["split"] == "cold"]["item"])]
    kept = cold[cold["split"].isna()]
    assert set(kept["property"]) == {"brand", "care"}
    assert len(kept) == 2 * cold["item"].nunique()
    assert set(cold["split"]) == {None, "cold"}


def test_another_seed_keeps_other_cells_back() -> None:
    one, two = (hold_out(_large(), 0.2, seed)["split"] for seed in (0, 1))
    assert not one.equals(two)


def test_none_kept_back_at_zero() -> None:
    assert hold_out(_large(), 0.0, 0)["split"].isna().all()


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_that_is_none(share: float) -> None:
    with pytest.raises(ValueError, match=r"--holdout must be in \[0, 1\) \(got "):
        hold_out(_large(), share, 0)


def test_a_base_that_no_triple_has() -> None:
    with pytest.raises(ValueError, match="--base: no triple has the property Brand, maker"):
        hold_out(_large(), 0.2, 0, base=("maker", "brand", "Brand"))
