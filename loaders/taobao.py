"""The authors' five-column Taobao files: id, title, image URL, `property#:#value#;#property#:#value...`, category;
tab-separated.

`#;#` parts pairs and the first `#:#` of a pair parts property from value, so that a value may hold `#:#`. A part
without `#:#` is the rest of the value before it, which held `#;#`; one at the very beginning has no property and is
set aside, as is a pair with an empty property or value. Nothing between two `#;#`, or after the last, says nothing. Of
a pair that a row says twice one is kept. There are no photographs: the URL is kept as the item field `image_url`. The
files' names are no splits.
"""

from pathlib import Path

from graphstore.tables import MAX_KEY_BYTES
from loaders.catalogue import Catalogue, CatalogueBuilder, CatalogueError, read_cells

PAIRS, PAIR = "#;#", "#:#"
COLUMNS = ("id", "title", "image URL", "pairs", "category")


def read(path: Path, builder: CatalogueBuilder) -> Catalogue:
    """The catalogue in one such file, or in all `*.tsv` of a folder.

    Raises:
        CatalogueError: no file there.
    """
    files = sorted(path.glob("*.tsv")) if path.is_dir() else [path]
    if not files:
        raise CatalogueError(f"{path} holds no *.tsv")
    for file in files:
        for number, cells in read_cells(file, builder, COLUMNS):
            _item(file, number, cells, builder)
    return builder.catalogue(brings_splits=False)


def _item(file: Path, number: int, cells: list[str], builder: CatalogueBuilder) -> None:
    id, title, url, text, category = cells
    pairs, refused = pairs_of(text)
    fields = {"title": title, "category": category, "image_url": url}
    if builder.item(file, number, id, fields, pairs=pairs):
        for part in refused:
            reason = f"item {id} went in without a pair: expected property{PAIR}value, got {part!r:.200}"
            builder.quarantine.part(file, number, reason)


def pairs_of(text: str) -> tuple[list[tuple[str, str]], list[str]]:
    """(property, value) pairs, and the parts that are none."""
    parts: list[str] = []
    for part in filter(None, text.split(PAIRS)):
        if PAIR in part or not parts:
            parts.append(part)
        else:  # the value before it held the delimiter
            parts[-1] += PAIRS + part
    split = [part.partition(PAIR) for part in parts]
    pairs = [(property, value) for property, _, value in split if _is_pair(property, value)]
    return pairs, ["".join(triple) for triple in split if not _is_pair(triple[0], triple[2])]


def _is_pair(property: str, value: str) -> bool:
    return bool(property and value) and len(property.encode()) <= MAX_KEY_BYTES
