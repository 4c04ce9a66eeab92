"""What a store holds, counted by hand, and the same from every store; the picture of it."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

import graphstore
from analysis import stats
from graphstore import Store
from k3m import cli
from tests.catalogues import Tables, tiny_catalogue
from tests.stores import ADOPTED, KINDS, STREAMED, store_of


def four_items() -> Tables:
    """a, b and c have colours (b two, c one that is kept back); a has a size; d has nothing."""
    items = pd.DataFrame({"id": list("abcd"), "title": ["A", None, "C", "D"], "category": ["hat", "hat", None, None]})
    rows = [
        ("a", "colour", "red", None),
        ("b", "colour", "red", None),
        ("b", "colour", "blue", None),
        ("a", "size", "S", None),
        ("c", "colour", "green", "test"),
        ("c", "shape", "round", "valid"),
    ]
    triples = pd.DataFrame(rows, columns=["item", "property", "value", "split"], dtype=object)
    return Tables(items.astype(object), triples, {})


@pytest.fixture(params=[*KINDS, *ADOPTED, *STREAMED])
def any_store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with store_of(request.param, tiny_catalogue(), request) as opened:
        yield opened


def in_memory(tables: Tables) -> Store:
    return graphstore.from_tables(tables.items, tables.triples, tables.properties, tables.images)


def test_figures_by_hand() -> None:
    found = stats.stats(in_memory(four_items()))
    assert (found.counts.titles, found.counts.images, found.uncategorised) == (3, 0, 2)
    assert found.properties.values.tolist() == [["colour", 2, 0.5, 2], ["size", 1, 0.25, 1], ["shape", 0, 0.0, 0]]
    assert found.degrees.values.tolist() == [[0, 2], [2, 2]]
    assert found.sharing.values.tolist() == [[1, 2], [2, 1]]
    assert stats.summary(found.degrees) == "median 0, mean 1.0, largest 2"
    assert stats.splits(found.counts) == {"training": 4, "kept back: test": 1, "kept back: valid": 1}


def test_every_store_says_the_same(any_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = stats.stats(in_memory(tiny_catalogue()))
    monkeypatch.setattr("graphstore.store.BLOCK", 7)
    found = stats.stats(any_store)
    for name, value in vars(expected).items():
        if isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(getattr(found, name), value)
        elif name != "location":
            assert getattr(found, name) == value


def test_figures_are_those_of_the_tables() -> None:
    tables = tiny_catalogue()
    training = tables.triples[tables.triples["split"].isna()]
    found = stats.stats(in_memory(tables))
    by_property = found.properties.set_index("property")
    assert by_property["items"].to_dict() == training.groupby("property")["item"].nunique().to_dict()
    assert by_property["values"].to_dict() == training.groupby("property")["value"].nunique().to_dict()
    assert by_property["items"].is_monotonic_decreasing
    degrees = training.groupby("item").size().reindex(tables.items["id"], fill_value=0).value_counts()
    assert dict(found.degrees.to_numpy().tolist()) == degrees.to_dict()
    shared = training.groupby(["property", "value"]).size().value_counts()
    assert dict(found.sharing.to_numpy().tolist()) == shared.to_dict()
    assert found.uncategorised == tables.items["category"].isna().sum()


def test_the_text_has_a_line_for_each() -> None:
    lines = [line.split() for line in stats.text(stats.stats(in_memory(four_items()))).splitlines()]
    assert lines[:2] == [["memory"], ["items", "4"]]
    assert ["without", "title", "1", "(25.0%)"] in lines
    assert ["without", "image", "4", "(100.0%)"] in lines
    assert ["kept", "back:", "valid", "1", "(16.7%)"] in lines
    assert lines[-4:] == [
        ["property", "items", "coverage", "values"],
        ["colour", "2", "50.0%", "2"],
        ["size", "1", "25.0%", "1"],
        ["shape", "0", "0.0%", "0"],
    ]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], {}),
        ([0], {"0": 5}),
        ([2, 4], {"2": 5, "3": 0, "4": 5}),
        ([0, 15], {"0": 5} | {str(size): 0 for size in range(1, 15)} | {"15": 5}),
        ([2, 3, 4, 17], {"2": 5, "3–4": 10, "5–8": 0, "9–16": 0, "17–32": 5}),
        ([512, 513, 1024, 1025], {"257–512": 5, "513–1,024": 10, "1,025–2,048": 5}),
    ],
)
def test_bars_are_of_one_size_or_of_powers_of_two(sizes: list[int], expected: dict[str, int]) -> None:
    bars = stats.binned(pd.DataFrame({"size": sizes, "number": [5] * len(sizes)}))
    assert dict(zip(bars["size"], bars["number"], strict=True)) == expected


@pytest.mark.parametrize("tables", [four_items(), tiny_catalogue()], ids=["four items", "tiny"])
@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_command_prints_and_draws(
    tables: Tables, suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, picture = tmp_path / "store.lbdb", tmp_path / f"picture{suffix}"
    with graphstore.open(path, "w") as store:
        store.ingest(tables.items, tables.triples)
    assert cli.main(["stats", str(path), "--picture", str(picture)]) == 0
    assert "triples per item" in capsys.readouterr().out
    if suffix == ".png":
        assert min(Image.open(picture).size) > 500
    else:
        drawn = picture.read_text(encoding="utf-8")
        for words in ("store.lbdb", "colour", "with title", "kept back: test", "Triples per item", "Items per value"):
            assert words in drawn


def test_an_empty_store_has_a_picture_too(tmp_path: Path) -> None:
    with graphstore.open(tmp_path / "store.lbdb", "w"):
        pass
    assert cli.main(["stats", str(tmp_path / "store.lbdb"), "--picture", str(tmp_path / "picture.svg")]) == 0
    assert "0 items" in (tmp_path / "picture.svg").read_text(encoding="utf-8")


def test_another_format_is_refused_before_anything_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        stats.main(["nowhere.lbdb", "--picture", "a.jpg"])
    assert "--picture takes a file that ends in .svg or .png (got a.jpg)" in " ".join(capsys.readouterr().err.split())
