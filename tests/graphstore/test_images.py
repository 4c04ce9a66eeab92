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


@pytest.mark.parametrize("latest", [0, 3, 64])
def test_every_image_is_found_however_many_records_are_held(
    tmp_path: Path, latest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While they are added, by another handle, and by one that has looked before the last of them came."""
    monkeypatch.setattr("graphstore.images.LATEST", latest)
    pictures = [bytes([number]) * (number + 1) for number in range(40)]
    pack, early = ImagePack(tmp_path, read_only=False), ImagePack(tmp_path)
    for number, picture in enumerate(pictures):
        assert image_key(picture) not in early
        assert [pack.add(picture), pack.add(picture)] == [image_key(picture)] * 2
        assert all(pack.get(image_key(known)) == known for known in pictures[: number + 1])
    for reader in (early, ImagePack(tmp_path)):
        assert [reader.get(image_key(picture)) for picture in pictures] == pictures
        assert list(reader) == [image_key(picture) for picture in pictures]
        assert image_key(b"") not in reader


def test_images_whose_digests_begin_alike_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphstore.images.LATEST", 0)
    keys = [f"sha256:{'0' * 16}{number:048x}" for number in (2, 1, 3)]
    monkeypatch.setattr("graphstore.images.image_key", lambda data: keys[data[0]])
    pack = ImagePack(tmp_path, read_only=False)
    assert [pack.add(bytes([number])) for number in (0, 1)] == keys[:2]
    assert [pack.get(key) for key in keys[:2]] == [b"\0", b"\1"]
    assert keys[2] not in pack


@pytest.mark.parametrize(
    "key", ["", "sha256:", "sha256:00", "photo.png", image_key(ONE).upper(), image_key(ONE)[7:], 7]
)
def test_what_is_no_key_names_no_image(tmp_path: Path, key: object) -> None:
    ImagePack(tmp_path, read_only=False).add(ONE)
    assert key not in ImagePack(tmp_path)


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
