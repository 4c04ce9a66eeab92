"""The image pack: the original bytes of every photograph in one append-only file, named by their SHA-256.

`images.pack` holds the bytes one after the other, `images.index` a record of 48 bytes each: digest, offset, length.
Both are only appended to; a record is written after its bytes, so that a stop in between loses nothing that was
promised.
"""

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

from graphstore.errors import ReadOnlyStore, StoreError

PREFIX = "sha256:"
_RECORD = struct.Struct("<32sQQ")


class UnknownImage(StoreError):
    """A key that the pack has not."""


def image_key(data: bytes) -> str:
    return PREFIX + sha256(data).hexdigest()


class ImagePack:
    """Images in a folder, which is made when the first one is added."""

    def __init__(self, folder: Path, read_only: bool = True) -> None:
        self.folder, self.read_only = folder, read_only
        self._places: dict[str, tuple[int, int]] = {}
        self._read_records = 0
        self._map: mmap.mmap | None = None

    def add(self, data: bytes) -> str:
        """The key of these bytes, stored if they are new."""
        if self.read_only:
            raise ReadOnlyStore(f"{self.folder}: images can be added through a handle opened with mode 'w' only")
        key = image_key(data)
        if key not in self:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._pack.open("ab") as pack:
                fcntl.flock(pack, fcntl.LOCK_EX)  # others may add to the pack of a server's store
                offset = pack.seek(0, os.SEEK_END)
                pack.write(data)
                pack.flush()
                self._append(_RECORD.pack(bytes.fromhex(key.removeprefix(PREFIX)), offset, len(data)))
        return key

    def _append(self, record: bytes) -> None:
        with self._index.open("ab") as index:
            whole = index.tell() - index.tell() % _RECORD.size
            index.truncate(whole)  # half a record is what a stop left
            index.write(record)

    def get(self, key: str) -> bytes:
        """The bytes behind a key.

        Raises:
            UnknownImage: naming the key and the pack.
        """
        if key not in self:
            raise UnknownImage(f"{self.folder} has no image {key}")
        offset, length = self._places[key]
        if self._map is None or offset + length > len(self._map):
            with self._pack.open("rb") as pack:
                self._map = mmap.mmap(pack.fileno(), 0, access=mmap.ACCESS_READ)
        data = self._map[offset : offset + length]
        if len(data) != length:
            raise StoreError(f"{self._pack} ends before image {key}: it was cut off, ingest the images again")
        return data

    def __contains__(self, key: object) -> bool:
        if key not in self._places:
            self._refresh()
        return key in self._places

    def __len__(self) -> int:
        self._refresh()
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        """Keys in the order they came."""
        self._refresh()
        return iter(self._places)

    @property
    def _pack(self) -> Path:
        return self.folder / "images.pack"

    @property
    def _index(self) -> Path:
        return self.folder / "images.index"

    def _refresh(self) -> None:
        """Read the records that were appended since the last look."""
        if not self._index.exists() or self._index.stat().st_size < (self._read_records + 1) * _RECORD.size:
            return
        with self._index.open("rb") as index:
            index.seek(self._read_records * _RECORD.size)
            data = index.read()
        whole = len(data) - len(data) % _RECORD.size
        for digest, offset, length in _RECORD.iter_unpack(data[:whole]):
            self._places[PREFIX + digest.hex()] = (offset, length)
            self._read_records += 1


class MemoryImages(ImagePack):
    """The same, in memory."""

    def __init__(self, images: Mapping[str, bytes] | None = None) -> None:
        super().__init__(Path("memory"), read_only=False)
        self._images = dict(images or {})

    def add(self, data: bytes) -> str:
        key = image_key(data)
        self._images[key] = data
        return key

    def get(self, key: str) -> bytes:
        if key not in self._images:
            raise UnknownImage(f"memory has no image {key}")
        return self._images[key]

    def __contains__(self, key: object) -> bool:
        return key in self._images

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[str]:
        return iter(self._images)
