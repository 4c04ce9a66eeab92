from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

import graphstore
from graphstore import ReadOnlyStore, StoreNotFound, UnknownProposals
from k3m import review
from tests.catalogues import tiny_catalogue
from tests.stores import ingested

ROWS = pd.DataFrame(
    [("item-1", "fabric", "wool"), ("item-2", "fabric", "linen"), ("item-2", "tag", "NA")],
    columns=["item", "property", "value"],
)
ONE = ["--item", "item-1", "--property", "fabric", "--value", "wool"]


@pytest.fixture
def location(tmp_path: Path) -> str:
    path = tmp_path / "store.lbdb"
    ingested(path, tiny_catalogue(8)).close()
    with graphstore.open(path, "w") as store:
        for run in ("first", "second"):
            store.write_predictions(ROWS.assign(rank=1), run=run, model="m", created=datetime(2026, 1, 2, tzinfo=UTC))
    return str(path)


def judged(location: str) -> list[list[str]]:
    with graphstore.open(location) as store:
        found = store.query(
            "MATCH (i:Item)-[p:PREDICTED]->(v:Value) WHERE p.status <> 'proposed' "
            "RETURN p.run AS run, v.text AS value, p.status AS status ORDER BY run, value"
        )
    return found.to_numpy().tolist()


def test_one_proposal_of_all_runs_or_of_one(location: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert review.main([location, "accept", *ONE]) == 0
    assert judged(location) == [["first", "wool", "accepted"], ["second", "wool", "accepted"]]
    assert review.main([location, "reject", *ONE, "--run", "second"]) == 0
    assert judged(location) == [["first", "wool", "accepted"], ["second", "wool", "rejected"]]
    assert review.main([location, "reject", *ONE, "--run", "second"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [f"{location}: {line}" for line in ("2 changed to accepted", "1 changed to rejected")] + [
        f"{location}: 0 changed to rejected"
    ]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_many_from_a_file(location: str, tmp_path: Path, kind: str) -> None:
    """NA is a value, an empty run is any."""
    file = tmp_path / f"rows.{kind}"
    rows = ROWS.assign(run=pd.Series(["first", None, "second"], dtype=object))
    if kind == "csv":
        rows.to_csv(file, index=False)
    else:
        rows.to_parquet(file)
    review.main([location, "reject", "--file", str(file)])
    assert judged(location) == [
        ["first", "linen", "rejected"],
        ["first", "wool", "rejected"],
        ["second", "NA", "rejected"],
        ["second", "linen", "rejected"],
    ]
    with pytest.raises(ValueError, match="has a column run: leave --run out"):
        review.main([location, "reject", "--file", str(file), "--run", "first"])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (ONE[:4], "name a proposal by --item, --property and --value, or many by --file"),
        ([*ONE, "--file", "rows.csv"], "--file takes the place of --item, --property and --value"),
        (["--file", "rows.txt"], "rows.txt: a table of proposals is .csv or .parquet"),
    ],
)
def test_what_names_no_proposals_is_refused(location: str, words: list[str], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        review.main([location, "accept", *words])
    assert judged(location) == []


def test_a_proposal_that_is_not_there(location: str) -> None:
    with pytest.raises(UnknownProposals, match="has no proposal <item-1, fabric, wool> of run third"):
        review.main([location, "accept", *ONE, "--run", "third"])


def test_a_store_that_takes_no_review(location: str, tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound, match="no store there"):
        review.main([str(tmp_path / "none.lbdb"), "accept", *ONE])
    assert not (tmp_path / "none.lbdb").exists()
    with graphstore.open(location) as store:
        graphstore.write_snapshot(store, tmp_path / "snapshot")
    with pytest.raises(ReadOnlyStore, match="snapshots are read-only"):
        review.main([str(tmp_path / "snapshot"), "accept", *ONE])
