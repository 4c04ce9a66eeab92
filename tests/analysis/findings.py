"""Findings of a large catalogue as a report takes them, generated."""

import numpy as np
import pandas as pd

import graphstore
from analysis.previous import Previous
from analysis.reasons import COLUMNS
from analysis.report import Findings
from graphstore import Store, image_key
from k3m.evidence import MODALITIES
from tests.analysis.shop import HOSTILE, picture

PROPERTIES = (*(f"property {number:02}" for number in range(39)), "<i>odd</i> & property")
VALUES = tuple(f"value {number:03}" for number in range(200))


def large_store(num_items: int) -> Store:
    """Items with a photograph of ten, each with one triple; the first has a hostile title."""
    photographs = [picture((25 * number, 120, 250 - 25 * number)) for number in range(10)]
    ids = [f"item-{number:05}" for number in range(num_items)]
    items = pd.DataFrame(
        {
            "id": ids,
            "title": [HOSTILE, *(f"A thing of shop number {number}, quite plain" for number in range(1, num_items))],
            "category": "thing",
            "image": [image_key(photographs[number % 10]) for number in range(num_items)],
        }
    )
    triples = pd.DataFrame({"item": ids, "property": PROPERTIES[0], "value": VALUES[0], "split": None})
    return graphstore.from_tables(items, triples, images={image_key(data): data for data in photographs})


def large_findings(num_proposals: int, seed: int = 0) -> Findings:
    """A proposal an item of `large_store`, with reasons, conflicts and a report before; the first and surest is hostile
    in all of its texts."""
    draw = np.random.default_rng(seed)
    ids = [f"item-{number:05}" for number in range(num_proposals)]
    best = pd.DataFrame(
        {
            "item": ids,
            "property": draw.choice(PROPERTIES, num_proposals),
            "value": draw.choice(VALUES, num_proposals),
            "score": draw.normal(size=num_proposals),
            "confidence": draw.beta(4, 1, num_proposals),
            "applies": draw.uniform(0.05, 1, num_proposals),
        }
    )
    best.update(pd.DataFrame({"property": [PROPERTIES[-1]], "value": [HOSTILE], "confidence": [1.0]}))
    triples = pd.DataFrame({"item": ids, "property": PROPERTIES[0], "split": None})
    suspect = best[["item", "property", "value"]].assign(suggested=VALUES[0], probability=0.1, suspicion=0.6)
    metrics = {"link_completion": {}, "run": {"name": "large"}}
    curve = pd.DataFrame({"coverage": np.linspace(0.01, 1, 100)}).assign(split="test", predictor="k3m")
    curve = curve.assign(precision=1 - curve["coverage"] ** 2 / 4, confidence=1 - curve["coverage"] / 2)
    return Findings(
        metrics=metrics,
        ranks=pd.DataFrame(),
        best=best,
        triples=triples,
        facts={"Command": "generated"},
        selective=curve,
        conflicts=suspect,
        reasons=_reasons(best, draw),
        previous=Previous(metrics, best.assign(value=draw.choice(VALUES, num_proposals))),
    )


def _reasons(best: pd.DataFrame, draw: np.random.Generator) -> pd.DataFrame:
    shares = draw.dirichlet(np.ones(3), len(best))
    found = best[["item", "property", "value"]].assign(lead=1.0, title_from_image=0.5, image_from_title=0.5)
    for place, name in enumerate(MODALITIES):
        found[name], found[f"without_{name}"] = shares[:, place], shares[:, place]
    triple = {"property": PROPERTIES[-1], "value": HOSTILE, "fall": 0.3, "is_fact": True}
    found["triples"] = pd.Series([[triple] * 5] * len(best))
    found["nearest"] = pd.Series([[{"item": best["item"][place // 2], "cosine": 0.9}] * 3 for place in best.index])
    found["cypher"] = "MATCH (i:Item {id: '" + best["item"] + "', title: \"" + HOSTILE + '"}) RETURN i'
    return found[list(COLUMNS)]
