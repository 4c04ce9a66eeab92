"""`k3m complete` from its command line: what --conflicts, --previous and --applies change, and what they refuse."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis import complete as command
from tests.analysis.shop import FixedRun, shop

TRIPLE = ["item", "property", "value"]


@pytest.fixture(scope="module", autouse=True)
def _on_the_shop() -> Iterator[None]:
    """Whatever run and store a command line names."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(command.k3m, "load", FixedRun)
        patched.setattr(command.graphstore, "open", lambda location: shop())
        yield


def _complete(run: Path, *options: Any) -> Path:
    """The command with the options; where it writes to unless --report names another folder."""
    command.main(["--run", str(run), "--store", "shop", "--floors", "majority", *map(str, options)])
    return run / "complete"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report without any of the options."""
    return _complete(tmp_path_factory.mktemp("plain") / "run")


def _page(folder: Path) -> str:
    return (folder / "index.html").read_text(encoding="utf-8")


def _figures(folder: Path) -> dict[str, Any]:
    """metrics.json less what it says of the run, the seconds among it."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return {name: figures for name, figures in metrics.items() if name != "run"}


def _rows(folder: Path, chosen: str) -> pd.DataFrame:
    """Of completions.parquet."""
    return pd.read_parquet(folder / "completions.parquet").query(chosen).reset_index(drop=True)


# --conflicts


@pytest.fixture(scope="module")
def stored() -> pd.DataFrame:
    return shop().triples().to_pandas()[TRIPLE]


def _write_conflicts(folder: Path, triples: pd.DataFrame, suspicion: list[float]) -> Path:
    """What `k3m conflicts` leaves there, as far as reports read it."""
    folder.mkdir(parents=True)
    found = triples.assign(suggested="sand", probability=0.05, suspicion=suspicion)
    found.assign(suggested_probability=0.05 + found["suspicion"]).to_parquet(folder / "conflicts.parquet", index=False)
    (folder / "conflicts.json").write_text("{}", encoding="utf-8")
    return folder


def test_conflicts_are_those_of_the_folder_and_not_those_beside_the_run(
    plain: Path, stored: pd.DataFrame, tmp_path: Path
) -> None:
    """Those that the store still has, and that another value is more probable for. No figure changes."""
    _write_conflicts(tmp_path / "run" / "conflicts", stored.iloc[10:11], [0.9])
    judged = pd.concat([stored.iloc[:3], stored.iloc[3:4].assign(item="gone")])
    named = _write_conflicts(tmp_path / "named", judged, [0.8, 0.3, -0.1, 0.9])
    beside = tmp_path / "beside"
    _complete(tmp_path / "run", "--report", beside)
    folder = _complete(tmp_path / "run", "--conflicts", named)
    for written, expected in ((beside, stored.iloc[10:11]), (folder, stored.iloc[:2])):
        found = pd.read_parquet(written / "conflicts.parquet")
        assert list(found) == [*TRIPLE, "probability", "suggested"]
        assert found[TRIPLE].to_numpy().tolist() == expected.to_numpy().tolist()
    said = "Of 2 facts a model that never trained on them finds another value more probable, of 1 of them far more"
    assert said in _page(folder)
    assert _figures(folder) == _figures(plain)
    assert not (plain / "conflicts.parquet").exists()
    assert "Not looked for. k3m conflicts" in _page(plain)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "holds no conflicts: conflicts.parquet is missing"),
        (lambda folder: (folder / "planted.parquet").touch(), "has planted values: its conflicts are not the"),
        (lambda folder: (folder / "conflicts.parquet").write_text("no table"), "holds no conflicts that can be read"),
        (
            lambda folder: pd.DataFrame({"item": ["i000"]}).to_parquet(folder / "conflicts.parquet"),
            "holds no conflicts that can be read: .*property",
        ),
    ],
    ids=["absent", "planted", "no-table", "other-columns"],
)
def test_conflicts_that_are_none_are_refused_before_anything_is_written(
    stored: pd.DataFrame, tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    folder = _write_conflicts(tmp_path / "named", stored.iloc[:1], [0.8])
    damage(folder)
    with pytest.raises(ValueError, match=f"^{folder} {message}"):
        _complete(tmp_path / "run", "--conflicts", folder)
    assert not (tmp_path / "run").exists()


def test_conflicts_are_not_overwritten_by_the_report(stored: pd.DataFrame, tmp_path: Path) -> None:
    folder = _write_conflicts(tmp_path / "named", stored.iloc[:1], [0.8])
    with pytest.raises(ValueError, match=f"--report {folder} would overwrite what k3m conflicts wrote there"):
        _complete(tmp_path / "run", "--conflicts", folder, "--report", folder)


# --previous


@pytest.fixture
def other(plain: Path, tmp_path: Path) -> Path:
    """The report of another run, which proposes for one cell another value, for one nothing, and for one of its own."""
    folder = shutil.copytree(plain, tmp_path / "other")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    metrics["run"]["name"] = "another"
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    best = _rows(folder, "split == 'missing' and rank == 1")
    best.loc[0, "value"], best.loc[1, "item"] = "sand", "gone"
    best.to_parquet(folder / "completions.parquet", index=False)
    return folder


def test_previous_is_compared_with_in_place_of_the_report_that_lies_there(
    plain: Path, other: Path, tmp_path: Path
) -> None:
    assert "Nothing to compare with" in _page(plain)
    shutil.copytree(plain, tmp_path / "run" / "complete")
    folder = _complete(tmp_path / "run", "--previous", other)
    same = len(_rows(plain, "split == 'missing' and rank == 1")) - 2
    said = f"on run another: 1 proposals are new, 1 are gone, 1 have another value, {same} are the same."
    assert said in _page(folder)
    assert _figures(folder) == _figures(plain)
    assert {path.name for path in folder.iterdir()} == {"metrics.json", "completions.parquet", "index.html"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("metrics.json", None, "No such file"),
        ("metrics.json", "no json", "Expecting value"),
        ("metrics.json", "[]", "expected an object in metrics.json, got a list"),
        ("completions.parquet", None, "completions.parquet"),
        ("completions.parquet", "no table", "Parquet"),
    ],
)
def test_a_previous_report_that_is_none_is_refused_before_anything_is_written(
    other: Path, tmp_path: Path, name: str, text: str | None, message: str
) -> None:
    (other / name).unlink()
    if text is not None:
        (other / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=f"^{other} holds no report that can be read: .*{message}"):
        _complete(tmp_path / "run", "--previous", other)
    assert not (tmp_path / "run").exists()


def test_a_previous_report_of_other_columns_is_refused(other: Path, tmp_path: Path) -> None:
    _rows(other, "rank == 1").drop(columns="property").to_parquet(other / "completions.parquet")
    with pytest.raises(ValueError, match=f"^{other} holds no report that can be read: .*property"):
        _complete(tmp_path / "run", "--previous", other)


# --applies


def test_applies_is_the_least_probability_of_a_missing_cell(plain: Path, tmp_path: Path) -> None:
    """Kept-back cells are completed as before, and no figure changes."""
    least = float(_rows(plain, "split == 'missing'")["applies"].median())
    folder = _complete(tmp_path / "run", "--applies", least)
    chosen = f"split == 'test' or applies >= {least!r}"
    pd.testing.assert_frame_equal(_rows(folder, "rank >= 1"), _rows(plain, chosen))
    numbers = [len(_rows(report, "split == 'missing' and rank == 1")) for report in (folder, plain)]
    assert 0 < numbers[0] < numbers[1]
    for report, number in zip((folder, plain), numbers, strict=True):
        assert f"<p>{number} missing facts have a proposal, over 60 items." in _page(report)
    assert _figures(folder) == _figures(plain)


def test_nothing_is_as_likely_as_1(tmp_path: Path) -> None:
    folder = _complete(tmp_path / "run", "--applies", 1)
    assert set(_rows(folder, "rank == 1")["split"]) == {"test"}
    assert "No cell is missing" in _page(folder)


@pytest.mark.parametrize("applies", ["-0.1", "1.5", "nan", "often"])
def test_applies_is_a_probability(tmp_path: Path, capsys: pytest.CaptureFixture[str], applies: str) -> None:
    with pytest.raises(SystemExit):
        _complete(tmp_path / "run", "--applies", applies)
    said = "Error parsing --applies" if applies == "often" else f"--applies must lie between 0 and 1 (got {applies})"
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
