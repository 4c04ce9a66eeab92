from pathlib import Path

import pytest

from graphstore.images import MemoryImages
from loaders import taobao
from loaders.catalogue import Catalogue, CatalogueBuilder, CatalogueError
from loaders.quarantine import Quarantine
from loaders.taobao import pairs_of


def _read(path: Path) -> tuple[Catalogue, Quarantine]:
    quarantine = Quarantine()
    return taobao.read(path, CatalogueBuilder("taobao", MemoryImages(), quarantine)), quarantine


@pytest.mark.parametrize(
    ("text", "pairs", "refused"),
    [
        ("", [], []),
        ("颜色#:#红#;#产地#:#中国大陆", [("颜色", "红"), ("产地", "中国大陆")], []),
        ("size#:#S#;#size#:#M", [("size", "S"), ("size", "M")], []),
        ("ratio#:#16#:#9", [("ratio", "16#:#9")], []),
        ("note#:#a#;#b#;#size#:#S", [("note", "a#;#b"), ("size", "S")], []),
        ("stray#;#size#:#S", [("size", "S")], ["stray"]),
        ("size#:##;#fit#:#slim", [("fit", "slim")], ["size#:#"]),
        ("#:#S#;#fit#:#slim", [("fit", "slim")], ["#:#S"]),
        ("size#:#S#;#", [("size", "S")], []),
        ("#;#size#:#S#;##;#fit#:#slim", [("size", "S"), ("fit", "slim")], []),
    ],
)
def test_pairs(text: str, pairs: list[tuple[str, str]], refused: list[str]) -> None:
    assert pairs_of(text) == (pairs, refused)


def test_a_file_of_every_kind_of_row(tmp_path: Path) -> None:
    rows = [
        "1\t围巾\thttps://a/1.jpg\t颜色#:#红#;#颜色#:#蓝#;#颜色#:#红\tscarf",
        "2\that without pairs\t\t\that",
        "3\tfour columns\thttps://a/3.jpg\tsize#:#S",
        "\tno id\t\tsize#:#S\that",
        "4\tstray\t\tstray#;#size#:#S\that",
        "1\t围巾\thttps://a/1.jpg\t颜色#:#红#;#颜色#:#蓝#;#颜色#:#红\tscarf",
        "2\that with pairs\t\tsize#:#S\that",
    ]
    (tmp_path / "train.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    catalogue, quarantine = _read(tmp_path / "train.tsv")
    assert catalogue.items.to_dict("records") == [
        {"id": "1", "title": "围巾", "category": "scarf", "image_url": "https://a/1.jpg", "image": None},
        {"id": "2", "title": "hat without pairs", "category": "hat", "image_url": None, "image": None},
        {"id": "4", "title": "stray", "category": "hat", "image_url": None, "image": None},
    ]
    assert catalogue.triples.values.tolist() == [
        ["1", "颜色", "红", "taobao", None],
        ["1", "颜色", "蓝", "taobao", None],
        ["4", "size", "S", "taobao", None],
    ]
    assert quarantine.rows == [
        "train.tsv\t3\texpected 5 columns (id, title, image URL, pairs, category), got 4",
        "train.tsv\t4\texpected an item id, got ''",
        "train.tsv\t5\titem 4 went in without a pair: expected property#:#value, got 'stray'",
        "train.tsv\t7\titem 2 stands in the catalogue already, with other content",
    ]
    counts = catalogue.rows
    assert (counts.read, counts.loaded, counts.repeated, counts.set_aside, counts.repeated_pairs) == (7, 3, 1, 3, 1)
    assert not catalogue.brings_splits


def test_a_folder_s_files_are_no_splits(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("1\ta\t\tp#:#v\tc\n", encoding="utf-8")
    (tmp_path / "valid.tsv").write_text("2\tb\t\tp#:#w\tc\n", encoding="utf-8")
    catalogue, _ = _read(tmp_path)
    assert catalogue.triples[["item", "value", "split"]].values.tolist() == [["1", "v", None], ["2", "w", None]]


def test_paths_without_files(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"holds no \*.tsv"):
        _read(tmp_path)
    with pytest.raises(CatalogueError, match=r"nothing.tsv is missing"):
        _read(tmp_path / "nothing.tsv")


@pytest.mark.data
def test_the_authors_500_rows_load_whole(real_data: Path) -> None:
    catalogue, quarantine = _read(real_data / "taobao_sample")
    counts = catalogue.rows
    assert (counts.read, counts.loaded, counts.set_aside, counts.repeated) == (500, 500, 0, 0)
    assert quarantine.rows == []
    assert (len(catalogue.items), len(catalogue.triples), counts.repeated_pairs) == (500, 3641, 0)
    assert catalogue.triples.groupby("item").size().max() == 158
    first = catalogue.items.iloc[0]
    assert (first["id"], first["category"]) == ("631433039677", "Cosplay女装")
    assert first["title"] == "莱苑博雅琪舒嫣服饰2020冬季新款高领复古印花气质加绒打底衫H42"
    facts = catalogue.triples[catalogue.triples["item"] == first["id"]]
    assert list(zip(facts["property"], facts["value"], strict=True)) == [
        ("出售状态", "现货"),
        ("女装", "上衣"),
        ("作品来源", "动漫"),
        ("品名", "请填写"),
        ("适用年龄", "14周岁以上"),
    ]
