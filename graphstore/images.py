"""The image pack: the original bytes of every photograph in one append-only file, named by their SHA-256.

`images.pack` holds the bytes one after the other, `images.index` a record of 48 bytes each: digest, offset, length.
Both are only appended to; a record is written after its bytes, so that a stop in between loses nothing that was
promised.
"""

import fcntl
import mmap
import os
import struct
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np

from graphstore.errors import ReadOnlyStore, StoreError

PREFIX = "sha256:"
LATEST = 2**16
_RECORD = struct.Struct("<32sQQ")
_MAPPED = np.dtype([("first", ">u8"), ("rest", "V40")])
"""A record by the first bytes of its digest."""


class UnknownImage(StoreError):
    """A key that the pack has not."""


def image_key(data: bytes) -> str:
    return PREFIX + sha256(data).hexdigest()


class ImagePack:
    """Images in a folder, which is made when the first one is added."""

    def __init__(self, folder: Path, read_only: bool = True) -> None:
        self.folder, self.read_only = folder, read_only
        self._places = Places(folder / "images.index")
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
        place = self._places.find(key)
        if place is None:
            raise UnknownImage(f"{self.folder} has no image {key}")
        offset, length = place
        if self._map is None or offset + length > len(self._map):
            with self._pack.open("rb") as pack:
                self._map = mmap.mmap(pack.fileno(), 0, access=mmap.ACCESS_READ)
        data = self._map[offset : offset + length]
        if len(data) != length:
            raise StoreError(f"{self._pack} ends before image {key}: it was cut off, ingest the images again")
        return data

    def __contains__(self, key: object) -> bool:
        return self._places.find(key) is not None

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[str]:
        """Keys in the order they came."""
        return iter(dict.fromkeys(self._places.keys()))

    @property
    def _pack(self) -> Path:
        return self.folder / "images.pack"

    @property
    def _index(self) -> Path:
        return self._places.path


class Places:
    """Where in the pack each image is. The records stay in their file: four bytes an image in memory say which is where
    in the order of the digests. The latest ones are held as they are, until they are `LATEST`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._latest: dict[bytes, tuple[int, int]] = {}
        self._read = 0
        self._records, self._order = np.empty(0, _MAPPED), np.empty(0, np.int32)

    def find(self, key: object) -> tuple[int, int] | None:
        """Offset and length."""
        digest = _digest(key)
        if digest is None:
            return None
        found = self._known(digest)
        if found is None and self._refresh():
            found = self._known(digest)
        return found

    def keys(self) -> Iterator[str]:
        """In the order they came; one that two writers added at a time comes twice."""
        if self.path.exists():
            with self.path.open("rb") as index:
                while len(record := index.read(_RECORD.size)) == _RECORD.size:
                    yield PREFIX + _RECORD.unpack(record)[0].hex()

    def _known(self, digest: bytes) -> tuple[int, int] | None:
        if digest in self._latest:
            return self._latest[digest]
        beginning, order = int.from_bytes(digest[:8], "big"), self._order
        for place in range(bisect_left(order, beginning, key=self._records["first"].__getitem__), len(order)):
            found, offset, length = _RECORD.unpack(self._records[order[place]].tobytes())
            if found == digest:
                return offset, length
            if found[:8] != digest[:8]:
                break
        return None

    def _refresh(self) -> bool:
        """Learn of the records that were appended since the last look, if there are any."""
        whole = self.path.stat().st_size // _RECORD.size if self.path.exists() else 0
        if whole == self._read:
            return False
        if whole - len(self._order) > LATEST:
            self._sort(whole)
        else:
            with self.path.open("rb") as index:
                index.seek(self._read * _RECORD.size)
                new = index.read((whole - self._read) * _RECORD.size)
            self._latest |= {digest: (offset, length) for digest, offset, length in _RECORD.iter_unpack(new)}
        self._read = whole
        return True

    def _sort(self, whole: int) -> None:
        self._records = np.memmap(self.path, _MAPPED, "r", shape=whole).view(np.ndarray)
        self._order = np.argsort(self._records["first"].astype(np.uint64)).astype(np.int32)
        self._latest = {}


def _digest(key: object) -> bytes | None:
    """Of a key; None for what is none."""
    try:
        digest = bytes.fromhex(str(key).removeprefix(PREFIX))
    except ValueError:
        return None
    return digest if str(key) == PREFIX + digest.hex() else None


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
