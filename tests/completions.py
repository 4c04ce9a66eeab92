"""Completions as an owner's Cypher plants them, the same on both databases."""

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
