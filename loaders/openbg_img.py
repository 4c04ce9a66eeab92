"""OpenBG-IMG as its authors lay it out: `*train.tsv`, `*dev.tsv` and `*test.tsv` of lines head, relation, tail (ids:
ent_021198, rel_0031, ent_017656), `*entity2text.tsv` and `*relation2text.tsv` of lines id, text, and a folder `*images`
with a folder of photographs for each entity that has some. OpenBG500 and OpenBG500-L, which have no photographs, lie
the same way.

Heads are items, titled by their text, with the first photograph by name. Tails are values by their text; of tails that
share one text each is a value of its own, "TEXT (ID)", since the data set asks for the entity; relations likewise. dev
is split valid. The published test lines have no tail: their heads become items and nothing else is known of them.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from loaders.catalogue import Catalogue, CatalogueBuilder, CatalogueError, read_cells, read_lines

SPLITS = {"train": None, "dev": "valid", "test": "test"}
Line = tuple[Path, int, list[str], str | None]


def read(path: Path, builder: CatalogueBuilder) -> Catalogue:
    """The catalogue in the folder `path`.

    Raises:
        CatalogueError: the training triples or the texts are missing, or are there twice.
    """
    texts_file, relations_file = _file(path, "entity2text"), _file(path, "relation2text")
    lines = list(_lines(path, builder))
    heads = {cells[0] for _, _, cells, _ in lines}
    entities = _texts(texts_file, builder, heads, _images(path))
    tails = {cells[2] for _, _, cells, _ in lines if len(cells) == 3}
    values = _kept_apart(entities, tails)
    properties = _kept_apart(relations := _texts(relations_file, builder), relations)
    questions: dict[tuple[str, str], None] = {}
    for file, number, cells, split in lines:
        if len(cells) == 2:
            if builder.knows(file, number, cells[0]):
                builder.take(file, number, questions, (cells[0], cells[1]), None, "question")
        elif cells[1] not in properties or cells[2] not in values:
            nameless = cells[1] if cells[1] not in properties else cells[2]
            builder.refuse(file, number, f"{nameless!r:.60} has no text")
        else:
            builder.triple(file, number, cells[0], properties[cells[1]], values[cells[2]], split)
    return builder.catalogue(brings_splits=any(builder.triples.values()))


def _lines(path: Path, builder: CatalogueBuilder) -> Iterator[Line]:
    """Triples, and pairs in test."""
    given = [name for name in SPLITS if name == "train" or any(path.glob(f"*{name}.tsv"))]
    for name in given:
        file, split = _file(path, name), SPLITS[name]
        for number, line in read_lines(file, builder):
            cells = line.split("\t")
            if len(cells) == 3 or (name == "test" and len(cells) == 2):
                yield file, number, cells, split
            else:
                builder.refuse(file, number, f"expected 3 columns (head, relation, tail), got {len(cells)}")


def _file(path: Path, name: str) -> Path:
    found = sorted(path.glob(f"*{name}.tsv"))
    if len(found) != 1:
        there = f"there twice: {found[0].name}, {found[1].name}" if found else "missing"
        raise CatalogueError(f"{path / f'*{name}.tsv'} is {there}")
    return found[0]


def _texts(
    file: Path,
    builder: CatalogueBuilder,
    heads: Iterable[str] = (),
    photograph: Callable[[str], Callable[[], bytes] | None] = lambda id: None,
) -> dict[str, str]:
    """Texts by id; those of heads become items."""
    texts: dict[str, str] = {}
    for number, (id, text) in read_cells(file, builder, ("id", "text")):
        if not id:
            builder.refuse(file, number, f"expected an id, got {id!r}")
        elif id not in heads:
            builder.take(file, number, texts, id, text, f"the text of {id}")
        elif builder.item(file, number, id, {"title": text, "category": None}, photograph(id)):
            texts[id] = text
    return texts


def _kept_apart(texts: dict[str, str], ids: Iterable[str]) -> dict[str, str]:
    """One name for each of those of the ids that have a text (the id itself for an empty one)."""
    named = {id: texts[id] for id in ids if id in texts}
    times = Counter(named.values())
    return {id: text if text and times[text] == 1 else f"{text} ({id})" if text else id for id, text in named.items()}


def _images(path: Path) -> Callable[[str], Callable[[], bytes] | None]:
    """What reads an entity's photograph."""
    folders = {folder.name: folder for place in path.glob("*images") for folder in place.iterdir() if folder.is_dir()}

    def photograph(id: str) -> Callable[[], bytes] | None:
        files = sorted(folders[id].iterdir()) if id in folders else []
        return files[0].read_bytes if files else None

    return photograph
