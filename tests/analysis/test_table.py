"""The table: rows of predictors and of studies, and what it says where there are no figures."""

from pathlib import Path

import pandas as pd
import pytest

from analysis import table
from analysis.table import Arguments, Row, figures_of, markdown, rows_in


def test_rows_of_predictors_and_studies_sorted_by_the_first_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ranks = pd.DataFrame({"property": ["p", "p", "q"], "split": ["test", "test", "cold"], "rank": [1.0, 2.0, 4.0]})
    Row(model="pool", minutes=3.04, figures=figures_of(ranks)).write(tmp_path / "peers" / "pool")
    Row(model="TransE", trials=4, figures={"test": {"mrr": 0.5}, "cold": "cannot"}).write(tmp_path / "peers" / "transe")
    Row(model="GDS", note="no GDS").write(tmp_path / "peers" / "gds")
    rows = [
        ("small", seed, "test", metric, value, 30.0) for seed in (0, 1) for metric, value in (("mrr", 0.8 + seed / 10),)
    ]
    (tmp_path / "study").mkdir()
    columns = ["row", "seed", "split", "metric", "value", "minutes"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "study" / "results.csv", index=False)
    table.main(Arguments(folders=(tmp_path / "peers", tmp_path / "study")))
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| GDS |  |  | not run: no GDS |  |  | not run: no GDS |  |  |",
        "| TransE | 4 |  | .5000 |  |  | cannot |  |  |",
        "| pool |  | 3.0 | .7500 | .5000 | 1.0000 | .2500 | .0000 | 1.0000 |",
        "| K3M: small | 2 | 30.0 | .8500 |  |  |  |  |  |",
    ]


def test_a_row_is_read_as_it_was_written(tmp_path: Path) -> None:
    row = Row(model="TransE, nssa", trials=3, minutes=1.5, settings={"lr": 0.1}, figures={"test": {"mrr": 0.1}})
    row.write(tmp_path)
    assert list(rows_in(tmp_path)) == [row]
    assert markdown([row], ("test",)).splitlines()[2] == "| TransE, nssa | 3 | 1.5 | .1000 |  |  |"


def test_a_folder_without_rows_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected row.json, folders that have it, or a study's results.csv"):
        list(rows_in(tmp_path))
