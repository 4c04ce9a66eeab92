"""What a mapping file may say."""

from pathlib import Path
from typing import Any

import pytest
import tomli_w

import graphstore
from graphstore import ConnectionFailed, MappingError, ReadOnlyStore
from graphstore.mapping import load_mapping
from tests.foreign import documented_mapping

GOOD: dict[str, Any] = {
    "database": "shop.lbdb",
    "items": {"query": "MATCH (p:P) RETURN p.sku", "columns": {"id": "p.sku"}},
    "triples": {"query": "MATCH ...", "columns": {"item": "i", "property": "p", "value": "v"}},
}


def changed(section: str, **entries: Any) -> dict[str, Any]:
    return GOOD | {section: GOOD.get(section, {}) | entries}


def load(mapping: dict[str, Any], folder: Path) -> Any:
    (folder / "map.toml").write_text(tomli_w.dumps(mapping), encoding="utf-8")
    return load_mapping(folder / "map.toml")


def test_what_is_left_out_is_nothing(tmp_path: Path) -> None:
    mapping = load(GOOD, tmp_path)
    assert (mapping.images, mapping.properties, mapping.triples.streamed) == (None, None, False)
    assert (mapping.holdout.share, mapping.holdout.seed) == (0.0, 0)


def test_the_documented_example(tmp_path: Path) -> None:
    mapping = load(documented_mapping(), tmp_path)
    assert mapping.items.columns["id"] == "sku"
    assert mapping.images.folder == "photos"
    assert mapping.triples.streamed
    assert mapping.holdout.share == 0.1


THREE = {"item": "i", "property": "p", "value": "v"}
BAD: list[tuple[dict[str, Any], str]] = [
    ({name: GOOD[name] for name in ("database", "items")}, "needs triples"),
    (GOOD | {"password": "hunter2"}, r"unknown password \(known: database, .*\); a password comes from K3M_NEO4J_PASS"),
    (
        changed("items", db_password="hunter2"),
        r"\[items\] unknown db_password .*; a password comes from K3M_NEO4J_PASS",
    ),
    (changed("items", colums={}), r"\[items\] unknown colums \(known: query, columns\)"),
    (GOOD | {"items": "MATCH"}, r"\[items\] must be a section"),
    (GOOD | {"database": 7}, r"database must be of type str \(got int\)"),
    (changed("items", columns={"title": "t"}), r"\[items\] columns must name id"),
    (changed("items", columns=["id"]), r"columns must be a table of names"),
    (changed("items", columns={"id": "a", "title": "a"}), r"\[items\] columns names one column twice: a, a"),
    (changed("items", columns={"id": "a", "image": "b"}), r"items.columns.image and \[images\] folder go together"),
    (GOOD | {"images": {"folder": "photos"}}, r"items.columns.image and \[images\] folder go together"),
    (changed("triples", columns={"item": "i", "value": "v"}), r"\[triples\] columns must name property"),
    (changed("triples", columns=THREE | {"weight": "w"}), r"\[triples\] columns: unknown weight \(known: item, "),
    (GOOD | {"properties": {"query": "q", "columns": {"name": "n"}}}, r"\[properties\] columns must name group"),
    (
        GOOD | {"properties": {"query": "q", "columns": {"name": "n", "group": "g", "unit": "u"}}},
        r"\[properties\] columns: unknown unit \(known: name, group\)",
    ),
    (
        GOOD | {"properties": {"query": "$items", "columns": {"name": "n", "group": "g"}}},
        r"\[properties\] query takes no parameter \(got \$items\)",
    ),
    (changed("items", query="MATCH (p {sku: $id}) RETURN p"), r"\[items\] query takes no parameter \(got \$id\)"),
    (changed("triples", query="$items $id"), r"\[triples\] query takes \$items \(got \$id, \$items\)"),
    (GOOD | {"holdout": {"share": 1.0}}, r"\[holdout\] share must be in \[0, 1\) \(got 1.0\)"),
    (GOOD | {"holdout": {"seed": 1.5}}, r"seed must be of type int \(got float\)"),
    (
        changed("triples", columns=THREE | {"split": "s"}) | {"holdout": {"share": 0.1}},
        r"\[holdout\] the triples bring their own splits",
    ),
]


@pytest.mark.parametrize(("mapping", "text"), BAD, ids=[text for _, text in BAD])
def test_what_is_no_mapping_is_refused_and_no_secret_shown(mapping: dict[str, Any], text: str, tmp_path: Path) -> None:
    with pytest.raises(MappingError, match=rf"map\.toml: .*{text}") as refused:
        load(mapping, tmp_path)
    assert "hunter2" not in str(refused.value)


def test_a_password_in_the_url_is_refused_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(tomli_w.dumps(GOOD | {"database": "neo4j://ann:hunter2@127.0.0.1/shop"}))
    with pytest.raises(ConnectionFailed, match="without a password: this one comes from K3M_NEO4J_PASSWORD") as refused:
        graphstore.open(tmp_path / "map.toml")
    assert "hunter2" not in str(refused.value)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text("database = ")
    with pytest.raises(MappingError, match=r"map\.toml: Invalid value"):
        load_mapping(tmp_path / "map.toml")
    with pytest.raises(MappingError, match=r"none\.toml: .*No such file"):
        graphstore.open(tmp_path / "none.toml")
    with pytest.raises(ReadOnlyStore, match="is a mapping: the graph behind it is read, and never written to"):
        graphstore.open(tmp_path / "map.toml", "w")


def test_the_digest_is_of_what_the_split_follows_from(tmp_path: Path) -> None:
    own = load(GOOD, tmp_path).digest()
    assert load(GOOD | {"database": "moved.lbdb"}, tmp_path).digest() == own
    for other in (changed("triples", query="MATCH other"), changed("triples", columns=THREE | {"value": "w"})):
        assert load(other, tmp_path).digest() != own
