import io
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loaders import demo
from loaders.demo import GRAPH, GROUPS, VALUES, WRONG, Item, Shop, split


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop(seed=3)


@pytest.fixture(scope="module")
def items(shop: Shop) -> list[Item]:
    return shop.items(300)


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("one", "5"), ("two", "5"), ("other", "6")):
        demo.main([str(tmp_path / name), "--items", "40", "--seed", seed])
    assert _bytes(tmp_path / "one") == _bytes(tmp_path / "two")
    assert _bytes(tmp_path / "one") != _bytes(tmp_path / "other")


def test_the_same_seed_writes_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    """Python orders sets of strings by a hash that differs between processes: no draw may follow that order."""
    for hash_seed in ("1", "2"):
        command = [sys.executable, "-m", "loaders.demo", str(tmp_path / hash_seed), "--items", "100", "--seed", "5"]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PYTHONHASHSEED": hash_seed})
    assert _bytes(tmp_path / "1") == _bytes(tmp_path / "2")


def test_the_files(tmp_path: Path) -> None:
    demo.main([str(tmp_path), "--items", "60", "--seed", "0"])
    rows = [json.loads(line) for line in (tmp_path / "items.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 60
    pictures = {row["image"] for row in rows if row["image"]}
    assert pictures == {file.name for file in (tmp_path / "images").iterdir()}
    assert 0 < len(pictures) < 60
    facts = [
        line.split("\t")
        for name in ("", "-test", "-valid", "-cold")
        for line in (tmp_path / f"triples{name}.tsv").read_text(encoding="utf-8").splitlines()
    ]
    assert all(len(fact) == 3 and all(fact) for fact in facts)
    cells = Counter((item, name) for item, name, _ in facts)
    assert max(cells.values()) == 1  # no fact is in two splits
    groups = dict(line.split("\t") for line in (tmp_path / "properties.tsv").read_text().splitlines())
    assert groups == {name: group for group, names in GROUPS.items() for name in names}


def test_test_and_valid_fall_in_three_equal_groups(items: list[Item]) -> None:
    splits = split(items, seed=3)
    group_of = {name: group for group, names in GROUPS.items() for name in names}
    for name in ("test", "valid"):
        counts = Counter(group_of[property] for _, property in splits[name])
        assert len(counts) == 3
        assert len(set(counts.values())) == 1
    cold_items = {item.id for item, _ in splits["cold"]}
    assert len(cold_items) == 12  # 4 % of 300
    assert not cold_items & {item.id for item, _ in splits["test"] + splits["valid"]}


def test_graph_properties_follow_from_their_cause(shop: Shop, items: list[Item]) -> None:
    for item in items:
        for name, (cause, _) in GRAPH.items():
            assert item.truth[name] == shop.rules[name][item.truth[cause]]


def test_title_and_picture_tell_what_they_should(items: list[Item]) -> None:
    for item in items:
        title = (item.title or "").lower()
        assert not item.told or title
        for name in ("pattern", "outline", "handles", *GRAPH):
            assert item.truth[name] not in title
    told = np.mean([len(item.told) / 3 for item in items if item.title])
    assert abs(told - 0.96) < 0.03


def test_shares_of_what_is_wrong_and_missing(items: list[Item]) -> None:
    recorded = [(item, name) for item in items for name in VALUES if name in item.recorded]
    assert abs(len(recorded) / (len(items) * len(VALUES)) - 0.9) < 0.03
    wrong = np.mean([item.recorded[name] != item.truth[name] for item, name in recorded])
    assert abs(wrong - WRONG) < 0.01
    assert abs(np.mean([item.picture is None for item in items]) - 0.05) < 0.04


def test_the_best_score_of_a_fact_by_hand(shop: Shop, items: list[Item]) -> None:
    """A shown value of K: Hits@1 1 - w, and the wrong record anywhere among the other places."""
    item = next(item for item in items if item.picture is not None and "pattern" in item.recorded)
    best = shop.best_scores([(item, "pattern")])["pattern"]
    assert best["hits_at_1"] == pytest.approx(0.98)
    assert best["mrr"] == pytest.approx(0.98 + 0.02 / 3 * (1 / 2 + 1 / 3 + 1 / 4))
    dark = next(item for item in items if item.picture is None)
    chance = shop.best_scores([(dark, "pattern")])["pattern"]
    # 1 : 1/2 : 1/3 : 1/4, then w of each goes to the three others
    assert chance["hits_at_1"] == pytest.approx(0.48 * 0.98 + 0.52 * 0.02 / 3)


def test_photographs_are_small_jpegs_that_differ_between_siblings(items: list[Item]) -> None:
    styles: dict[str, list[Item]] = {}
    for item in items:
        if item.picture:
            picture = Image.open(io.BytesIO(item.picture))
            assert (picture.format, picture.size) == ("JPEG", (64, 64))
            styles.setdefault(item.group, []).append(item)
    pairs = [group for group in styles.values() if len(group) > 1]
    assert all(len({item.price for item in group}) == 1 for group in pairs)
    assert len(pairs) > 10
    assert all(group[0].picture != group[1].picture for group in pairs)
    assert all(group[0].truth["pattern"] == group[1].truth["pattern"] for group in pairs)


def test_a_catalogue_without_items_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--items must be at least 1"):
        demo.main([str(tmp_path), "--items", "0"])
