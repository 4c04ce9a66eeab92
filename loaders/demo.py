"""`python -m loaders.demo PATH --items N --seed S`: the demo catalogue, an invented homeware shop, written as files.

Its kept-back properties are of three kinds. `title`: a word of the title tells the value. `graph`: it follows from
another fact of the item. `picture`: only the photograph shows it. The rest is as in a shop: titles with synonyms,
typos, words left out, or no title; photographs missing; facts missing or wrong; the same style in two colours. Because
the process is known, so is the best score that anyone can reach on each property from what the item itself shows:
`scores.json` has it, as the mean over the kept-back facts.

The demo is a smoke check of the whole system, never evidence for the model.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import tyro
from tqdm import tqdm
from tyro.conf import Positional

from loaders.demo_pictures import COLOURS, HANDLES, OUTLINES, PATTERNS, PROPORTIONS, Look, photograph

WRONG = 0.02
"""Share of recorded facts whose value is another one of the property."""
UNRECORDED = 0.1
"""Share of facts that the shop never recorded."""
NO_TITLE, NO_PHOTOGRAPH = 0.03, 0.05
WORD_LEFT_OUT, TYPO = 0.04, 0.02
SIBLING = 0.2
"""Share of items that are an earlier style in another colour."""
TEST, VALID, COLD = 0.12, 0.06, 0.04

TITLE = {
    "material": {
        "oak": ("oak", "oakwood"),
        "walnut": ("walnut", "walnut wood"),
        "bamboo": ("bamboo",),
        "steel": ("steel", "stainless"),
        "ceramic": ("ceramic", "stoneware"),
        "glass": ("glass",),
    },
    "finish": {
        "matt": ("matt", "dull"),
        "glossy": ("glossy", "shiny"),
        "brushed": ("brushed",),
        "waxed": ("waxed", "wax"),
    },
    "occasion": {
        "wedding": ("wedding", "bridal"),
        "garden party": ("garden", "outdoor"),
        "housewarming": ("housewarming",),
        "picnic": ("picnic",),
        "everyday": ("everyday", "daily"),
    },
}
"""Property -> value -> the words that a title may say it with."""
GRAPH = {
    "warranty": ("collection", ("one year", "two years", "five years", "ten years")),
    "origin": ("supplier", ("Northland", "Istria", "Auvergne", "Kyushu", "Galicia")),
    "care": ("glaze code", ("dishwasher safe", "wash by hand", "wipe only", "do not soak")),
}
"""Property -> the fact that it follows from, and its values."""
PICTURE = {"pattern": PATTERNS, "outline": tuple(OUTLINES), "handles": HANDLES}
BASE = {
    "brand": ("Havel", "Norrby", "Tilo", "Casa Brun", "Okumo", "Fennick", "Lund & Lark", "Perrin"),
    "collection": ("Dawn", "Harbour", "Meadow", "Slate", "Ember", "Juniper", "Atlas", "Willow", "Quarry", "Linden"),
    "supplier": tuple(f"S-{number}" for number in range(101, 116)),
    "glaze code": tuple(f"G{number:02d}" for number in range(1, 13)),
    "season": ("spring", "summer", "autumn", "winter"),
}
"""Facts that are never kept back, beside the colour."""
GROUPS = {"title": tuple(TITLE), "graph": tuple(GRAPH), "picture": tuple(PICTURE)}
VALUES = {
    **{name: tuple(words) for name, words in TITLE.items()},
    **{name: values for name, (_, values) in GRAPH.items()},
    **PICTURE,
}


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Write the demo catalogue's files."""

    path: Positional[Path]
    """Folder to write to; made if it does not exist."""
    items: int = 3000
    """Items of the catalogue."""
    seed: int = 0
    """Of all that is drawn."""


@dataclass(frozen=True)
class Item:
    """An item as it is (`truth`), and as the shop shows and records it."""

    id: str
    group: str
    category: str
    price: float
    truth: dict[str, str]
    title: str | None = None
    told: frozenset[str] = frozenset()
    """Title properties that the title tells."""
    picture: bytes | None = None
    recorded: dict[str, str] = field(default_factory=dict)


class Shop:
    """The generative process: one draw of it is one catalogue."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        random = np.random.default_rng([seed, 0])
        self.rules = {
            name: dict(zip(BASE[cause], random.permutation(np.resize(values, len(BASE[cause]))).tolist(), strict=True))
            for name, (cause, values) in GRAPH.items()
        }
        self.likely = {
            (name, category): random.permutation(_falling(len(VALUES[name])))
            for name in (*TITLE, *PICTURE)
            for category in PROPORTIONS
        }

    def items(self, number: int) -> list[Item]:
        items: list[Item] = []
        for place in tqdm(range(number), desc="items", unit="item"):
            random = np.random.default_rng([self.seed, 1, place])
            sibling = items[random.integers(len(items))] if items and random.random() < SIBLING else None
            items.append(self._shown(self._made(place, sibling, random), random))
        return items

    def _made(self, place: int, sibling: Item | None, random: np.random.Generator) -> Item:
        """A new style, or an earlier one in another colour."""
        id, colour = f"P{place:05d}", str(random.choice(list(COLOURS)))
        if sibling is not None:
            return replace(sibling, id=id, truth=sibling.truth | {"colour": colour})
        category = str(random.choice(list(PROPORTIONS)))
        truth = {name: str(random.choice(values)) for name, values in BASE.items()} | {"colour": colour}
        truth |= {name: self.rules[name][truth[cause]] for name, (cause, _) in GRAPH.items()}
        truth |= {name: str(random.choice(VALUES[name], p=self.likely[name, category])) for name in (*TITLE, *PICTURE)}
        # A stream of its own: a price says nothing of any property.
        price = float(np.random.default_rng([self.seed, 3, place]).integers(9, 120)) + 0.9
        return Item(id, f"style-{place}", category, price, truth)

    def _shown(self, item: Item, random: np.random.Generator) -> Item:
        title, told = _title(item, random) if random.random() >= NO_TITLE else (None, frozenset[str]())
        look = Look(item.category, item.truth["colour"], *(item.truth[name] for name in PICTURE))
        picture = photograph(look, random) if random.random() >= NO_PHOTOGRAPH else None
        recorded = {name: value for name, value in item.truth.items() if random.random() >= UNRECORDED}
        for name, values in VALUES.items():  # in this order: a set's order differs between processes
            if name in recorded and random.random() < WRONG:
                recorded[name] = str(random.choice([value for value in values if value != recorded[name]]))
        return replace(item, title=title, told=told, picture=picture, recorded=recorded)

    def best_scores(self, kept_back: list[tuple[Item, str]]) -> dict[str, dict[str, float]]:
        """Mean over these facts of the best MRR and Hits@1 that anyone can expect, by property."""
        scores: dict[str, list[tuple[float, float]]] = {name: [] for name in VALUES}
        for item, name in kept_back:
            chances = np.sort(self._chances(item, name))[::-1]
            scores[name].append(((chances / np.arange(1, len(chances) + 1)).sum(), chances[0]))
        return {
            name: dict(zip(("mrr", "hits_at_1"), np.mean(found, axis=0).tolist(), strict=True)) | {"n": len(found)}
            for name, found in scores.items()
            if found
        }

    def _chances(self, item: Item, name: str) -> np.ndarray:
        """Of each value to be the recorded one, given what is shown: near certainty, or the category's habit."""
        values = VALUES[name]
        cause = GRAPH[name][0] if name in GRAPH else None
        shown = name in item.told or (name in PICTURE and item.picture is not None) or (cause in item.recorded)
        if shown:
            truth = np.array([value == item.truth[name] for value in values], dtype=float)
        elif cause is not None:
            truth = np.array([list(self.rules[name].values()).count(value) for value in values]) / len(BASE[cause])
        else:
            truth = self.likely[name, item.category]
        return truth * (1 - WRONG) + (1 - truth) * WRONG / (len(values) - 1)


def _falling(number: int) -> np.ndarray:
    """Chances 1 : 1/2 : 1/3 : ..."""
    weights = 1 / np.arange(1, number + 1)
    return weights / weights.sum()


def _title(item: Item, random: np.random.Generator) -> tuple[str, frozenset[str]]:
    """A title, and which of the title properties it tells."""
    words, told = [item.category], set()
    for name, values in TITLE.items():
        if random.random() >= WORD_LEFT_OUT:
            words.append(_mistyped(str(random.choice(values[item.truth[name]])), random))
            told.add(name)
    optional = (item.truth["brand"], item.truth["colour"], item.truth["season"], "new", "sale", "home")
    words += [str(word) for word in optional if random.random() < 0.4]
    return " ".join(random.permutation(words).tolist()).capitalize(), frozenset(told)


def _mistyped(word: str, random: np.random.Generator) -> str:
    """Now and then two letters change places; the word can still be told."""
    if random.random() >= TYPO or len(word) < 5:
        return word
    place = int(random.integers(1, len(word) - 2))
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def split(items: list[Item], seed: int) -> dict[str, list[tuple[Item, str]]]:
    """(item, property) facts of each split: cold has all kept-back properties of some items; test and valid have as
    many facts of each of the three groups."""
    random = np.random.default_rng([seed, 2])
    cold_items = {items[place].id for place in random.permutation(len(items))[: round(COLD * len(items))]}
    splits: dict[str, list[tuple[Item, str]]] = {"cold": [], "test": [], "valid": []}
    splits["cold"] = [
        (item, name) for item in items if item.id in cold_items for name in VALUES if name in item.recorded
    ]
    pools = [
        [(item, name) for item in items if item.id not in cold_items for name in names if name in item.recorded]
        for names in GROUPS.values()
    ]
    smallest = min(len(pool) for pool in pools)
    number_test, number_valid = round(TEST * smallest), round(VALID * smallest)
    for pool in pools:
        drawn = [pool[place] for place in random.permutation(len(pool))]
        splits["test"] += drawn[:number_test]
        splits["valid"] += drawn[number_test : number_test + number_valid]
    return splits


def write(path: Path, items: list[Item], splits: dict[str, list[tuple[Item, str]]], scores: object) -> None:
    """All files of the catalogue."""
    (path / "images").mkdir(parents=True, exist_ok=True)
    with (path / "items.jsonl").open("w", encoding="utf-8") as file:
        for item in items:
            image = f"{item.id}.jpg" if item.picture else None
            row = {"id": item.id, "title": item.title, "category": item.category, "group": item.group}
            file.write(json.dumps(row | {"image": image, "price": item.price}, ensure_ascii=False) + "\n")
            if item.picture:
                (path / "images" / f"{item.id}.jpg").write_bytes(item.picture)
    kept_back = {(item.id, name) for facts in splits.values() for item, name in facts}
    training = [(item, name) for item in items for name in item.recorded if (item.id, name) not in kept_back]
    for name, facts in {"triples": training, **{f"triples-{name}": facts for name, facts in splits.items()}}.items():
        lines = sorted(f"{item.id}\t{property}\t{item.recorded[property]}\n" for item, property in facts)
        (path / f"{name}.tsv").write_text("".join(lines), encoding="utf-8")
    groups = [f"{name}\t{group}\n" for group, names in GROUPS.items() for name in names]
    (path / "properties.tsv").write_text("".join(groups), encoding="utf-8")
    (path / "scores.json").write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module."""
    arguments = tyro.cli(Arguments, args=argv, prog="python -m loaders.demo")
    if arguments.items < 1:
        raise ValueError(f"--items must be at least 1 (got {arguments.items})")
    shop = Shop(arguments.seed)
    items = shop.items(arguments.items)
    splits = split(items, arguments.seed)
    scores = {name: shop.best_scores(facts) for name, facts in splits.items()}
    write(arguments.path, items, splits, scores)
    print(f"{arguments.path}: {len(items):,} items, {sum(item.picture is not None for item in items):,} photographs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
