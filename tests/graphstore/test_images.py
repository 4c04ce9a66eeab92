"""The image pack on disk."""

from pathlib import Path

import pytest

from graphstore import ImagePack, ReadOnlyStore, StoreError, image_key
from graphstore.images import MemoryImages, UnknownImage

ONE, TWO = b"one picture", b"another"
KEY_OF_TEST = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def test_a_key_is_the_sha256_of_the_bytes() -> None:
    assert image_key(b"test") == KEY_OF_TEST


def test_what_was_added_is_read_by_this_handle_and_by_another(tmp_path: Path) -> None:
    pack, reader = ImagePack(tmp_path / "images", read_only=False), ImagePack(tmp_path / "images")
    assert pack.add(ONE) == image_key(ONE)
    assert (reader.get(image_key(ONE)), len(reader)) == (ONE, 1)
    pack.add(TWO)
    assert (reader.get(image_key(TWO)), pack.get(image_key(ONE))) == (TWO, ONE)
    assert list(reader) == [image_key(ONE), image_key(TWO)]


def test_the_same_bytes_are_kept_once(tmp_path: Path) -> None:
    for _ in range(2):
        pack = ImagePack(tmp_path, read_only=False)
        assert [pack.add(ONE), pack.add(ONE)] == [image_key(ONE)] * 2
    assert (tmp_path / "images.pack").read_bytes() == ONE
    assert (tmp_path / "images.index").stat().st_size == 48


def test_two_writers_take_turns(tmp_path: Path) -> None:
    first, second = ImagePack(tmp_path, read_only=False), ImagePack(tmp_path, read_only=False)
    for number in range(10):
        (first, second)[number % 2].add(bytes([number]) * (number + 1))
    assert [len(first.get(key)) for key in second] == list(range(1, 11))


def test_half_a_record_is_what_a_stop_left_and_is_written_again(tmp_path: Path) -> None:
    ImagePack(tmp_path, read_only=False).add(ONE)
    with (tmp_path / "images.index").open("ab") as index:
        index.write(b"x" * 17)
    pack = ImagePack(tmp_path, read_only=False)
    assert (len(pack), pack.get(image_key(ONE))) == (1, ONE)
    pack.add(TWO)
    assert [ImagePack(tmp_path).get(image_key(data)) for data in (ONE, TWO)] == [ONE, TWO]


def test_bytes_without_a_record_are_passed_over(tmp_path: Path) -> None:
    ImagePack(tmp_path, read_only=False).add(ONE)
    with (tmp_path / "images.pack").open("ab") as pack:
        pack.write(b"half of a pict")
    ImagePack(tmp_path, read_only=False).add(TWO)
    assert [ImagePack(tmp_path).get(image_key(data)) for data in (ONE, TWO)] == [ONE, TWO]


def test_a_pack_that_lost_its_end_gives_no_half_image(tmp_path: Path) -> None:
    ImagePack(tmp_path, read_only=False).add(ONE)
    (tmp_path / "images.pack").write_bytes(ONE[:4])
    with pytest.raises(StoreError, match=f"images.pack ends before image {image_key(ONE)}"):
        ImagePack(tmp_path).get(image_key(ONE))


@pytest.mark.parametrize("in_memory", [True, False])
def test_an_unknown_key_is_named(tmp_path: Path, in_memory: bool) -> None:
    pack = MemoryImages({image_key(ONE): ONE}) if in_memory else ImagePack(tmp_path / "nowhere")
    assert image_key(TWO) not in pack
    with pytest.raises(UnknownImage, match=f"^.* has no image {image_key(TWO)}$"):
        pack.get(image_key(TWO))


def test_a_reader_adds_nothing(tmp_path: Path) -> None:
    with pytest.raises(ReadOnlyStore, match="images can be added through a handle opened with mode 'w' only"):
        ImagePack(tmp_path / "images").add(ONE)
    assert not (tmp_path / "images").exists()


def test_images_in_memory() -> None:
    pack = MemoryImages({image_key(ONE): ONE})
    pack.add(TWO)
    assert (list(pack), len(pack), pack.get(image_key(TWO))) == ([image_key(ONE), image_key(TWO)], 2, TWO)
