"""Generated catalogues for the benchmarks, made as columns: a million items cost no Python object a triple."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

DEGREE = 12
PROPERTIES = 40
CATEGORIES = 20
WORDS = 2000
TITLE_WORDS = 6
KEPT_BACK = 0.1


def triples_of(n_items: int, n_values: int, seed: int = 0) -> tuple[NDArray[np.int64], ...]:
    """item, property and value ordinals by edge id: about 12 an item. Value r is drawn in proportion to 1 / (r + 10),
    and is one of one property."""
    random = np.random.default_rng(seed)
    weight = np.cumsum(1 / (np.arange(n_values) + 10.0))
    item = np.repeat(np.arange(n_items), DEGREE + 1)  # one in 13 is drawn twice and goes
    value = np.searchsorted(weight / weight[-1], random.random(len(item)))
    value = random.permutation(n_values)[value]
    codes = np.unique((item * PROPERTIES + value % PROPERTIES) * n_values + value)
    item_property, value = np.divmod(codes, n_values)
    return *np.divmod(item_property, PROPERTIES), value


def tables_of(n_items: int, n_values: int, seed: int = 0) -> tuple[pa.Table, pa.Table]:
    """items (id, title, category) and triples (item, property, value, split), a tenth of them of split valid. Titles
    are of the same words, however many items there are."""
    random = np.random.default_rng(seed + 1)
    ids, words = named("item-{:09}", n_items), named("word{}", WORDS)
    title = pc.binary_join_element_wise(
        *(words.take(pa.array(random.integers(0, WORDS, n_items))) for _ in range(TITLE_WORDS)), " "
    )
    category = named("category {:02}", CATEGORIES).take(pa.array(random.integers(0, CATEGORIES, n_items)))
    columns = zip(
        ("item", "property", "value"),
        (ids, named("property {:02}", PROPERTIES), named("value {:09}", n_values)),
        triples_of(n_items, n_values, seed),
        strict=True,
    )
    triples = pa.table({name: texts.take(pa.array(ords)) for name, texts, ords in columns})
    split = pc.if_else(pa.array(random.random(len(triples)) < KEPT_BACK), "valid", pa.scalar(None, pa.string()))
    return pa.table({"id": ids, "title": title, "category": category}), triples.append_column("split", split)


def named(text: str, n: int) -> pa.Array:
    """The text with each of the numbers below n in it."""
    return pa.array([text.format(ord) for ord in range(n)])
