"""docs/catalogues.md says what is: every source and entry has its place there, and its examples work."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import graphstore
from k3m.cli import COMMANDS
from loaders import normalise, table
from loaders.ingest import SOURCES

TEXT = (Path(__file__).parents[2] / "docs" / "catalogues.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("source", [*SOURCES, "table"])
def test_each_source_has_a_section_and_a_command(source: str) -> None:
    assert re.search(rf"^## {source}\b", TEXT, re.MULTILINE)
    assert f"k3m ingest {source} " in TEXT


def test_commands_are_some_that_there_are() -> None:
    assert set(re.findall(r"^k3m (\w+)", TEXT, re.MULTILINE)) <= COMMANDS.keys()


def test_the_mapping_shown_is_whole() -> None:
    (shown,) = [block for block in _blocks("toml") if "[items]" in block]
    mapping = table.mapping_of(tomllib.loads(shown))
    assert mapping.items.properties == {"colour": ("Colour",), "tag": ("tag 1", "tag 2")}
    for kind in (table.Mapping, table.ItemColumns, table.TripleColumns):
        assert all(re.search(rf"\b{entry.name}\b", TEXT) for entry in fields(kind))


def test_the_rules_shown_are_whole() -> None:
    (shown,) = [block for block in _blocks("toml") if "[[rules]]" in block]
    rules = normalise.rules_of(tomllib.loads(shown), Path())
    assert [rule.applied("width", " 1  in ") for rule in rules] == ["1 in", " 1  in ", "2.54 cm"]
    assert all(entry.name in shown for entry in fields(normalise.Rule))


def test_frames_go_in_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for id in ("A-17", "A-18"):
        Path(f"{id}.jpg").write_bytes(id.encode())
    names: dict[str, Any] = {}
    (code,) = _blocks("python")
    exec(code, names)
    assert (names["report"].items_new, names["report"].triples_new) == (2, 3)
    with graphstore.open("shop.lbdb") as store:
        assert store.items(("price",)).to_pydict() == {"id": ["A-17", "A-18"], "price": [12.5, 9.0]}
        keys = store.items(("image",))["image"].to_pylist()
        assert [store.images.get(key) for key in keys] == [b"A-17", b"A-18"]
