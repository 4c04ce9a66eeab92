"""The authors' five-column Taobao files: id, title, image URL, `property#:#value#;#property#:#value...`, category;
tab-separated.

`#;#` parts pairs and the first `#:#` of a pair parts property from value, so that a value may hold `#:#`. A part
without `#:#` is the rest of the value before it, which held `#;#`; one at the very beginning has no property and is
set aside. An empty pair says nothing. There are no photographs: the URL is kept as the item field `image_url`. The
files' names are no splits.
"""

from pathlib import Path

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
    if builder.item(file, number, id, title=title, category=category, image_url=url):
        builder.triples.update({(id, *pair): None for pair in pairs})
        for part in refused:
            builder.quarantine.part(
                file, number, f"item {id}: expected property{PAIR}value, got {part!r}; the rest went in"
            )


def pairs_of(text: str) -> tuple[list[tuple[str, str]], list[str]]:
    """(property, value) pairs, and the parts that are none."""
    pairs: list[tuple[str, str]] = []
    refused: list[str] = []
    for part in text.split(PAIRS) if text else []:
        property, found, value = part.partition(PAIR)
        if found and property and value:
            pairs.append((property, value))
        elif not found and pairs:
            pairs[-1] = (pairs[-1][0], f"{pairs[-1][1]}{PAIRS}{part}")
        elif part:
            refused.append(part)
    return pairs, refused
