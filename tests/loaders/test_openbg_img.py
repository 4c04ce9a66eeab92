import io
from pathlib import Path

import pytest
from PIL import Image

from graphstore import image_key
from graphstore.images import MemoryImages
from loaders import openbg_img
from loaders.catalogue import Catalogue, CatalogueBuilder, CatalogueError
from loaders.quarantine import Quarantine


def _picture(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(buffer, "JPEG")
    return buffer.getvalue()


FILES = {
    "entity2text": "ent_000001\t苦荞茶\nent_000002\t硬糕\nent_000010\t苦荞麦\nent_000011\t白色\nent_000012\t白色\n"
    "ent_000013\t\nent_000020\t没有人\n",
    "relation2text": "rel_0001\t外部材质\nrel_0002\t颜色\nrel_0003\t颜色\n",
    "train": "ent_000001\trel_0001\tent_000010\nent_000001\trel_0002\tent_000011\nent_000001\trel_0002\tent_000012\n",
    "dev": "ent_000001\trel_0003\tent_000013\n",
    "test": "ent_000002\trel_0001\n",
}


def _write(folder: Path, prefix: str = "OpenBG-IMG_", **files: str) -> None:
    for name, content in (FILES | files).items():
        (folder / f"{prefix}{name}.tsv").write_text(content, encoding="utf-8")


def _read(folder: Path, limit: int | None = None) -> tuple[Catalogue, CatalogueBuilder]:
    builder = CatalogueBuilder("openbg-img", MemoryImages(), Quarantine(), limit)
    return openbg_img.read(folder, builder), builder


@pytest.mark.parametrize("prefix", ["OpenBG-IMG_", ""])
def test_heads_are_items_and_tails_are_values(prefix: str, tmp_path: Path) -> None:
    _write(tmp_path, prefix)
    images = tmp_path / f"{prefix}images" / "ent_000001"
    images.mkdir(parents=True)
    for shade in (2, 1):
        (images / f"image_{shade}.jpg").write_bytes(_picture(shade))
    catalogue, builder = _read(tmp_path)
    assert catalogue.items.to_dict("records") == [
        {"id": "ent_000001", "title": "苦荞茶", "category": None, "image": image_key(_picture(1))},
        {"id": "ent_000002", "title": "硬糕", "category": None, "image": None},
    ]
    assert catalogue.triples[["item", "property", "value", "split"]].values.tolist() == [
        ["ent_000001", "外部材质", "苦荞麦", None],
        ["ent_000001", "颜色 (rel_0002)", "白色 (ent_000011)", None],
        ["ent_000001", "颜色 (rel_0002)", "白色 (ent_000012)", None],
        ["ent_000001", "颜色 (rel_0003)", "ent_000013", "valid"],
    ]
    assert catalogue.brings_splits
    counts = catalogue.rows
    assert (counts.read, counts.loaded, counts.set_aside) == (15, 15, 0)
    assert builder.quarantine.rows == []


def test_rows_that_do_not_fit(tmp_path: Path) -> None:
    _write(
        tmp_path,
        train=FILES["train"] + "ent_000001\trel_0001\n",
        dev="ent_000009\trel_0001\tent_000010\nent_000001\trel_0001\tent_000099\nent_000001\trel_9\tent_000010\n"
        "ent_000001\trel_0001\tent_000010\n",
        test="ent_000002\trel_0001\tent_000011\nent_000009\trel_0001\nent_000002\trel_0002\nent_000002\trel_0002\n",
        entity2text=FILES["entity2text"] + "ent_000010\tsomething else\n\tno id\n",
    )
    catalogue, builder = _read(tmp_path)
    assert builder.quarantine.rows == [
        "OpenBG-IMG_train.tsv\t4\texpected 3 columns (head, relation, tail), got 2",
        "OpenBG-IMG_entity2text.tsv\t8\tthe text of ent_000010 stands in the catalogue already, with other content",
        "OpenBG-IMG_entity2text.tsv\t9\texpected an id, got ''",
        "OpenBG-IMG_dev.tsv\t1\titem ent_000009 is not in the catalogue",
        "OpenBG-IMG_dev.tsv\t2\t'ent_000099' has no text",
        "OpenBG-IMG_dev.tsv\t3\t'rel_9' has no text",
        "OpenBG-IMG_dev.tsv\t4\t<ent_000001, 外部材质, 苦荞麦> stands in split training already, here in valid",
        "OpenBG-IMG_test.tsv\t2\titem ent_000009 is not in the catalogue",
    ]
    assert catalogue.triples["split"].tolist() == [None, None, None, "test"]
    assert (catalogue.rows.repeated, catalogue.rows.set_aside) == (1, 8)


def test_without_images_dev_and_test(tmp_path: Path) -> None:
    _write(tmp_path)
    for name in ("dev", "test"):
        (tmp_path / f"OpenBG-IMG_{name}.tsv").unlink()
    catalogue, _ = _read(tmp_path)
    assert catalogue.items["image"].tolist() == [None]
    assert not catalogue.brings_splits


def test_a_limit(tmp_path: Path) -> None:
    _write(tmp_path)
    catalogue, _ = _read(tmp_path, limit=1)
    assert catalogue.items["id"].tolist() == ["ent_000001"]
    assert catalogue.rows.over_limit == 2  # the text of ent_000002 and its question


def test_files_that_are_missing_or_there_twice(tmp_path: Path) -> None:
    _write(tmp_path)
    (tmp_path / "relation2text.tsv").write_text("")
    with pytest.raises(CatalogueError, match=r"relation2text.tsv is there twice: OpenBG-IMG_relation2text.tsv, rel"):
        _read(tmp_path)
    (tmp_path / "relation2text.tsv").unlink()
    (tmp_path / "OpenBG-IMG_train.tsv").unlink()
    with pytest.raises(CatalogueError, match=r"train.tsv is missing"):
        _read(tmp_path)
