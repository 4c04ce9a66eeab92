"""The report: its figures by hand; in a browser it opens offline, sorts and filters; hostile titles stay text."""

import re
from importlib.resources import files
from pathlib import Path

import pandas as pd
import pytest

import graphstore
from analysis.complete import Arguments, complete
from analysis.report import Findings, coverage, headline, quality
from analysis.report_charts import FONT
from analysis.report_pictures import thumbnail, titles_and_pictures
from analysis.report_tables import proposals, shown
from tests.analysis.shop import HOSTILE, FixedRun, picture, shop


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    arguments = Arguments(run=folder / "run", store="shop")
    return complete(shop(), FixedRun(folder / "<b>run"), arguments, "k3m complete")


def test_the_page_names_no_other_place(page_file: Path) -> None:
    text = page_file.read_text(encoding="utf-8")
    markup = re.sub(r"(?s)(<script[^>]*>).*?</script>", r"\1", text)
    sources = re.findall(r"<(?:script|link|img|iframe)[^>]*\b(?:src|href)=\"([^\"]*)", markup)
    assert sources
    assert [source for source in sources if not source.startswith("data:")] == []
    assert "@import" not in markup


def test_hostile_texts_are_escaped(page_file: Path) -> None:
    text = page_file.read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert r"\u003c/script\u003e\u003cscript\u003ewindow.hacked = true" in text
    assert "<h1>Completion report: &lt;b&gt;run</h1>" in text


def test_headline_compares_with_the_best_floor() -> None:
    own = {"mrr": 0.9, "hits_at_1": 0.8, "hits_at_3": 1.0, "hits_at_10": 1.0, "macro_mrr": 0.7, "n": 3}
    floors = {"majority": own | {"mrr": 0.5}, "tabular": own | {"mrr": 0.95}}
    rows = headline({"test": own | {"floors": floors, "groups": {"title": own | {"floors": {}}}}}, ["k3m", "majority"])
    assert [row["name"] for row in rows] == ["test", "test: title"]
    assert rows[0]["ahead"] == {"floor": "tabular", "by": pytest.approx(-0.05)}
    assert rows[1]["ahead"] is None
    assert rows[0]["metrics"]["majority"]["mrr"] == 0.5


def test_quality_has_a_row_for_each_split_and_property() -> None:
    ranks = pd.DataFrame({"property": ["p", "q", "q"], "split": ["test"] * 3, "k3m": [4.0, 1.0, 2.0]})
    rows = quality(ranks, ["k3m"])
    assert [(row["property"], row["n"], row["metrics"]["K3M"]["mrr"]) for row in rows] == [
        ("q", 2, 0.75),
        ("p", 1, 0.25),
    ]


def test_a_floor_that_cannot_answer_has_no_figures() -> None:
    """Neither K3M's in its place nor zeros."""
    own = {"mrr": 0.9, "hits_at_1": 0.8, "hits_at_3": 1.0, "hits_at_10": 1.0, "macro_mrr": 0.7, "n": 1}
    [row] = headline({"cold": own | {"floors": {}}}, ["k3m", "rotate"])
    assert row["metrics"]["K3M"]["mrr"] == 0.9
    assert row["metrics"]["rotate"] is None
    ranks = pd.DataFrame({"property": ["p"], "split": ["cold"], "k3m": [2.0], "rotate": [float("nan")]})
    [of_property] = quality(ranks, ["k3m", "rotate"])
    assert of_property["metrics"]["K3M"]["mrr"] == 0.5
    assert of_property["metrics"]["rotate"] is None


def test_coverage_counts_cells_once() -> None:
    triples = pd.DataFrame(
        [
            ("a", "p", None),
            ("a", "p", "test"),
            ("b", "p", "test"),
            ("b", "p", "valid"),
            ("c", "q", None),
            ("c", "q", None),
        ],
        columns=["item", "property", "split"],
    )
    best = pd.DataFrame({"item": ["c"], "property": ["p"], "value": ["x"], "score": [1.0]})
    found = coverage(Findings(metrics={}, ranks=pd.DataFrame(), best=best, triples=triples, facts={}))
    assert found.to_numpy().tolist() == [["p", 1, 1, 1], ["q", 1, 0, 0]]
    assert list(found) == ["property", "known", "kept back", "proposed"]


def test_what_rather_applies_is_proposed_before_what_is_sure_if_it_applies() -> None:
    """A property with one value is answered with confidence 1, also where hardly an item has it."""
    rows = [("a", "harbour", "north", 1.0, 0.06), ("b", "colour", "red", 0.4, 0.5), ("c", "colour", "blue", 0.7, 0.9)]
    best = pd.DataFrame(rows, columns=["item", "property", "value", "confidence", "applies"]).assign(score=0.0)
    assert shown(best)["item"].tolist() == ["c", "b", "a"]
    table = proposals(shown(best), None)
    by = [(table["columns"][place]["at"], direction) for place, direction in table["order"]]
    assert sorted(table["rows"], key=lambda row: [-row[at] for at, _ in by]) == table["rows"]
    assert {direction for _, direction in by} == {"desc"}
    assert shown(best.drop(columns="applies"))["item"].tolist() == ["a", "c", "b"]  # nothing known of it


def test_page_and_charts_name_the_same_fonts() -> None:
    """With those that have Chinese on Windows, macOS and Linux."""
    css = files("analysis").joinpath("templates", "report.css").read_text(encoding="utf-8")
    assert FONT.replace("'", '"') in css
    assert all(name in FONT for name in ("PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC"))


def test_thumbnails_are_small_data_uris() -> None:
    uri = thumbnail(picture((200, 0, 0)))
    assert uri is not None
    assert uri.startswith("data:image/jpeg;base64,")
    assert len(uri) < 2000


def test_a_photograph_that_cannot_be_read_is_left_out() -> None:
    """Of an adopted graph: its item goes without, and the others keep theirs."""
    red, broken = picture((200, 0, 0)), b"no image at all"
    images = {graphstore.image_key(data): data for data in (broken, red)}
    items = pd.DataFrame(zip("ab", ("broken", "red"), images, strict=True), columns=["id", "title", "image"])
    triples = pd.DataFrame([("a", "p", "x")], columns=["item", "property", "value"])
    store = graphstore.from_tables(items, triples, images=images)
    with pytest.warns(UserWarning, match="cannot be read as an image"):
        found, pictures, _ = titles_and_pictures(store, {"proposals": ["a", "b"]})
    assert found == {"a": ["broken", None], "b": ["red", 0]}
    assert len(pictures) == 1


def test_a_catalogue_without_photographs_splits_or_gaps_has_a_page(tmp_path: Path) -> None:
    items = pd.DataFrame([("a", None, "c"), ("b", None, "c")], columns=["id", "title", "category"])
    triples = pd.DataFrame([("a", "p", "x"), ("b", "p", "y")], columns=["item", "property", "value"])
    store = graphstore.from_tables(items, triples)
    path = complete(store, FixedRun(tmp_path / "run"), Arguments(run=tmp_path / "run", store="-"), "")
    text = path.read_text(encoding="utf-8")
    assert "The store keeps no facts back" in text
    assert "No cell is missing" in text
