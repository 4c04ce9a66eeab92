"""Completions as an owner's Cypher plants them, and all that comes back by the store itself, the same on both
databases."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd

from graphstore import Store

PLANT = (
    "MATCH (i:Item {id: $id}) MATCH (v:Value) WHERE v.text = $value "
    "CREATE (i)-[:PREDICTED {property: $property, confidence: $confidence, rank: $rank, run: 'first', model: 'small', "
    "created: '2026-01-02T03:04:05Z', status: $status}]->(v)"
)
PLANTED: list[tuple[str, str, str, float, int, str]] = [
    ("item-7", "brand", "Aldo", 0.5, 1, "proposed"),
    ("item-7", "fabric", "linen", 0.875, 1, "accepted"),
    ("item-9", "fabric", "wool", 0.125, 1, "proposed"),
    ("item-9", "fabric", "cotton", 0.0625, 2, "proposed"),
    ("item-11", "fabric", "wool", 0.25, 1, "rejected"),
    ("item-11", "brand", "Birk", 0.25, 1, "rejected"),
]
"""item, property, value, confidence, rank, status."""


def plant(store: Store) -> None:
    """Through a handle that writes."""
    for item, name, value, confidence, rank, status in PLANTED:
        given = {"id": item, "property": name, "value": value, "confidence": confidence, "rank": rank, "status": status}
        store.query(PLANT, **given)


def propose_again(store: Store) -> None:
    """In another run, what was rejected."""
    again = pd.DataFrame({"item": ["item-11"], "property": ["fabric"], "value": ["wool"], "rank": [2]})
    store.write_predictions(again, run="second", model="small", created=datetime(2026, 1, 3, tzinfo=UTC))


def plant_vectors(store: Store) -> None:
    """Of the last thirty items, two of them of an older data version."""
    ids = store.items()["id"].to_pylist()[-30:]
    vectors = np.random.default_rng(4).normal(size=(30, 6))
    for chosen, version in ((slice(0, 2), 0), (slice(2, 30), 1)):
        parts = [(ids[chosen], vectors[chosen])]
        store.write_embeddings(parts, run="first", model="small", data_version=version)


NUMBER = 80
"""Completions of `come_back`."""


def come_back(store: Store) -> None:
    """Two for every item of the tiny catalogue, one of them a value that no triple has, some of them reviewed; and a
    vector an item."""
    ids = store.items()["id"].to_pylist()
    completions = pd.DataFrame(
        {"item": np.repeat(ids, 2), "property": "fabric", "value": ["wool", "tweed"] * 40, "rank": [1, 2] * 40}
    )
    store.write_predictions(completions, run="written", model="m", created=datetime(2026, 1, 2, tzinfo=UTC))
    store.review(completions[:20], "accepted")
    store.review(completions[20:40], "rejected")
    vectors = np.random.default_rng(3).normal(size=(len(ids), 6))
    store.write_embeddings([(ids, vectors)], run="written", model="m", data_version=1)
