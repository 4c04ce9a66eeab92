"""Differences between two predictors: by hand, and their intervals."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import paired as command
from analysis.paired import EVERY, Arguments, gains, paired

NO_GROUPS = pd.Series(dtype=str)


def _ranks(ranks: list[float], properties: str) -> pd.DataFrame:
    items = [f"i{n}" for n in range(len(ranks))]
    return pd.DataFrame({"item": items, "property": list(properties), "value": "v", "split": "test", "rank": ranks})


def test_means_and_gains_by_hand() -> None:
    both = paired(_ranks([1, 1, 2, 4], "ccss"), _ranks([2, 1, 1, 2], "ccss"), "mrr")
    found = gains(both, NO_GROUPS).set_index("property")
    assert list(found.loc["c", ["n", "a", "b", "gain"]]) == [2, 1.0, 0.75, 0.25]
    assert list(found.loc["s", ["n", "a", "b", "gain"]]) == [2, 0.375, 0.75, -0.375]
    assert list(found.loc[EVERY, ["n", "gain"]]) == [4, -0.0625]
    hits = gains(paired(_ranks([1, 1.5], "cc"), _ranks([2, 1], "cc"), "hits_at_1"), NO_GROUPS)
    assert hits["gain"].tolist() == [0.0, 0.0]


def test_the_interval_is_that_of_a_mean_of_independent_items() -> None:
    draws = np.random.default_rng(0).random(400) < 0.3  # A is right where B is wrong in 30 %
    both = paired(_ranks(np.where(draws, 1, 2).tolist(), "c" * 400), _ranks([2.0] * 400, "c" * 400), "hits_at_1")
    row = gains(both, NO_GROUPS).iloc[0]
    half = 1.96 * np.sqrt(draws.mean() * (1 - draws.mean()) / 400)
    assert row["low"] == pytest.approx(draws.mean() - half, abs=0.01)
    assert row["high"] == pytest.approx(draws.mean() + half, abs=0.01)


def test_items_of_one_group_say_nothing_new() -> None:
    """Ten copies of each item: the interval is as wide as that of one copy, where single items would make it narrow."""
    draws = np.repeat(np.random.default_rng(0).random(40) < 0.5, 10)
    both = paired(_ranks(np.where(draws, 1, 2).tolist(), "c" * 400), _ranks([2.0] * 400, "c" * 400), "hits_at_1")
    groups = pd.Series([f"g{n // 10}" for n in range(400)], index=[f"i{n}" for n in range(400)])
    wide, narrow = gains(both, groups).iloc[0], gains(both, NO_GROUPS).iloc[0]
    assert (wide["high"] - wide["low"]) > 2.5 * (narrow["high"] - narrow["low"])


def test_properties_with_few_triples_are_not_listed_but_count() -> None:
    both = paired(_ranks([1, 2, 1], "ccs"), _ranks([1, 1, 1], "ccs"), "mrr")
    found = gains(both, NO_GROUPS, least=2).set_index("property")
    assert list(found.index) == [EVERY, "c"]
    assert found.loc[EVERY, "n"] == 3


def test_ranks_of_other_triples_are_refused() -> None:
    with pytest.raises(ValueError, match="the ranks are of other triples: 2 and 3, 2 of both"):
        paired(_ranks([1, 1], "cc"), _ranks([1, 1, 1], "ccc"), "mrr")


def test_a_split_that_one_of_them_did_not_rank_is_left_out() -> None:
    first = pd.concat([_ranks([1, 1], "cc"), _ranks([1], "c").assign(split="cold")])
    assert paired(first, _ranks([1, 2], "cc"), "mrr")["split"].tolist() == ["test", "test"]


def test_the_command_lists_what_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, ranks in (("a", [1.0, 1, 2, 4]), ("b", [2.0, 1, 1, 2])):
        _ranks(ranks, "ccss").to_parquet(tmp_path / f"{name}.parquet")
    first, second = tmp_path / "a.parquet", tmp_path / "b.parquet"
    command.main(Arguments(first=first, second=second, properties=("c",), metric="mrr", least=1))
    shown = capsys.readouterr().out
    assert "| test | c | 2 | 1.000 | 0.750 | +0.250 |" in shown
    assert EVERY in shown
    assert "| s |" not in shown
