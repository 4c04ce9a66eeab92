"""Photographs in folders and zip archives, found by the name that a row gives or by an item's id."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile

from loaders.catalogue import CatalogueError


class Photographs:
    """What lies in these places.

    Args:
        places: folders and zip archives.

    Raises:
        CatalogueError: a place that is neither, or is not there.
    """

    def __init__(self, places: Sequence[Path]) -> None:
        self._places: list[Path | ZipFile] = [_opened(place) for place in places]

    def named(self, name: str) -> bytes:
        """The file with this path in one of the places.

        Raises:
            CatalogueError: there is none; a path that leads out of a folder is in no place.
        """
        for place in self._places:
            if isinstance(place, ZipFile):
                if name in place.NameToInfo:
                    return place.read(name)
            elif (file := (place / name).resolve()).is_relative_to(place) and file.is_file():
                return file.read_bytes()
        raise CatalogueError(f"{name} is in no image folder or archive")

    def name_of(self, id: str) -> str | None:
        """The path of the file that is called like the item, whatever its ending; the first by name of several."""
        return self._by_id.get(id)

    @cached_property
    def _by_id(self) -> dict[str, str]:
        names = sorted((name for place in self._places for name in _names(place)), reverse=True)
        return {PurePosixPath(name).stem: name for name in names}


def _opened(place: Path) -> Path | ZipFile:
    if place.is_dir():
        return place.resolve()
    if not place.exists():
        raise CatalogueError(f"{place} is missing")
    try:
        return ZipFile(place)
    except BadZipFile as error:
        raise CatalogueError(f"{place}: images lie in a folder or a zip archive: {error}") from error


def _names(place: Path | ZipFile) -> Iterator[str]:
    if isinstance(place, ZipFile):
        yield from (info.filename for info in place.infolist() if not info.is_dir())
    else:
        yield from (file.relative_to(place).as_posix() for file in place.rglob("*") if file.is_file())
