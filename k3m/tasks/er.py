"""Text-only alignment sets in DeepMatcher's serialisation: train.txt, valid.txt and test.txt, a line a pair, `COL name
VAL value COL ...` twice and a label, tab-separated (Mudgal et al., SIGMOD 2018; Ditto, VLDB 2020).

They become a store in memory and pairs of it: name, title and description are the title, other columns are triples.
Order and price are no inputs here either, though the published systems read the price.
"""

import re
from pathlib import Path

import pandas as pd

import graphstore
from graphstore import Store
from k3m.tasks.data import PARTS, TaskData, from_table

TITLE = ("title", "name", "description")
"""Columns that make the title, in this order."""
LEFT_OUT = ("price",)
_COLUMN = re.compile(r"COL (\S+) VAL ?(.*?)(?= COL \S+ VAL|$)")


def is_folder(path: Path) -> bool:
    return path.is_dir() and all((path / f"{part}.txt").is_file() for part in PARTS)


def from_folder(folder: Path) -> tuple[Store, TaskData]:
    """The items of all three parts, each listing once, and the pairs.

    Raises:
        ValueError: naming the first line that is none.
    """
    ids: dict[str, str] = {}
    rows = []
    for part in PARTS:
        for number, line in enumerate((folder / f"{part}.txt").read_text(encoding="utf-8").splitlines(), 1):
            fields = line.split("\t")
            if len(fields) != 3 or fields[2] not in ("0", "1"):
                raise ValueError(f"{folder / part}.txt, line {number}: expected two listings and 0 or 1, tab-separated")
            one, two = (
                ids.setdefault(f"{side} {text.strip()}", f"{side}{len(ids)}")
                for side, text in zip("ab", fields[:2], strict=True)
            )
            rows.append((one, two, fields[2], part))
    store = _store(ids)
    table = pd.DataFrame(rows, columns=["item", "other", "label", "split"])
    return store, from_table("align", table, store)


def _store(ids: dict[str, str]) -> Store:
    """Of listings (side, a space, the serialised text) and their ids."""
    items, triples = [], []
    for text, item in ids.items():
        columns = listing(text[2:])
        title = " ".join(columns[name] for name in TITLE if columns.get(name))
        items.append((item, title or None))
        own = {name: value for name, value in columns.items() if name not in (*TITLE, *LEFT_OUT) and value}
        triples += [(item, name, value) for name, value in own.items()]
    return graphstore.from_tables(
        pd.DataFrame(items, columns=["id", "title"], dtype=object),
        pd.DataFrame(triples, columns=["item", "property", "value"], dtype=object),
    )


def listing(text: str) -> dict[str, str]:
    """Columns of a serialised listing."""
    return {name: value.strip() for name, value in _COLUMN.findall(text)}
