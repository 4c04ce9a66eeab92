"""Text-only alignment sets."""

from pathlib import Path

import pytest

from k3m.tasks import er

LINE = (
    "COL name VAL sony camera COL description VAL 7 megapixel , pink COL price VAL 12.5\t"
    "COL name VAL Sony cam COL manufacturer VAL sony COL price VAL \t1\n"
)


def folder(path: Path, line: str = LINE) -> Path:
    for part in ("train", "valid", "test"):
        (path / f"{part}.txt").write_text(line, encoding="utf-8")
    return path


def test_a_listing_becomes_a_title_and_triples_without_the_price(tmp_path: Path) -> None:
    assert er.listing("COL name VAL a COL b COL price VAL  ") == {"name": "a COL b", "price": ""}
    store, data = er.from_folder(folder(tmp_path))
    assert er.is_folder(tmp_path)
    assert (store.num_items, len(data.train), data.test.labels.tolist()) == (2, 1, [1])  # a listing is one item
    assert data.train.items.tolist() == [["a0", "b1"]]
    assert store.items(("title",)).to_pydict() == {
        "id": ["a0", "b1"],
        "title": ["sony camera 7 megapixel , pink", "Sony cam"],
    }
    assert store.triples().select(["item", "property", "value"]).to_pylist() == [
        {"item": "b1", "property": "manufacturer", "value": "sony"}
    ]


def test_a_line_that_is_no_pair_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train\.txt, line 1: expected two listings and 0 or 1"):
        er.from_folder(folder(tmp_path, "COL name VAL a\tCOL name VAL b\tyes\n"))
