"""The report's tables, as what its script draws: columns and rows, all of it text and numbers.

A row's place 1 is an item's id wherever a column shows an item, its title or its photograph.
"""

import base64
import gzip
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis import previous
from analysis.report_charts import label
from analysis.selective import LIKELY
from k3m.evidence import MODALITIES

PROPOSALS_SHOWN = 10_000
CONFLICTS_SHOWN, COLD_SHOWN, CHANGES_SHOWN = 1000, 300, 1000
Rows = list[list[Any]]
Table = dict[str, Any]


def table(columns: Sequence[tuple[Any, ...]], rows: Rows, order: Sequence[tuple[int, str]] = ()) -> Table:
    """Columns are (title, kind, place in the row), or with `roomy` (left out of narrow screens) or `hidden` behind."""
    named = [dict(zip(("title", "kind", "at"), column, strict=False)) for column in columns]
    flags = [dict.fromkeys(column[3:], True) for column in columns]
    return {
        "columns": [name | flag for name, flag in zip(named, flags, strict=True)],
        "rows": rows,
        "order": [list(part) for part in order],
    }


def shown(best: pd.DataFrame) -> pd.DataFrame:
    """Up to `PROPOSALS_SHOWN` of the proposals (item, property, value, score, confidence, applies): the best of each
    property in turn, as scores compare within a property only; those whose property rather applies first (column
    `likely`), of them the most confident."""
    best = best.assign(**{name: np.nan for name in ("confidence", "applies") if name not in best})
    best = best.assign(likely=(~(best["applies"] < LIKELY)).astype(int))
    by = ["likely", "confidence", "score", "item"]
    ordered = best.sort_values(by, ascending=[False, False, False, True], kind="stable")
    turn = ordered.groupby("property", sort=False).cumcount()
    chosen = ordered.loc[turn.sort_values(kind="stable").index[:PROPOSALS_SHOWN]]
    by = ["likely", "confidence", "property", "score", "item"]
    return chosen.sort_values(by, ascending=[False, False, True, False, True], ignore_index=True)


def proposals(best: pd.DataFrame, reasons: pd.DataFrame | None) -> Table:
    """Of `shown`. A row is [place, item, property, value, confidence, score, applies, likely]."""
    sure, asked = bool(best["confidence"].notna().any()), bool(best["applies"].notna().any())
    columns = ["item", "property", "value", "confidence", "score", "applies", "likely"]
    rows = [
        [place, *row[:3], *map(_number, row[3:])]
        for place, row in enumerate(best[columns].itertuples(index=False, name=None))
    ]
    return table(
        [
            ("Why", "reasons", 0, *(() if reasons is not None else ("hidden",))),
            ("Photo", "photo", 1),
            ("Property", "text", 2),
            ("Proposed value", "text", 3),
            ("Confidence", "percent", 4, *(() if sure else ("hidden",))),
            ("Title", "title", 1, "roomy"),
            ("Applies", "percent", 6, "roomy", *(() if asked else ("hidden",))),
            ("Score", "figure", 5, "roomy"),
            ("Item", "code", 1, "roomy"),
            ("Likely", "count", 7, "hidden"),
        ],
        rows,
        [(9, "desc"), *([(4, "desc")] if sure else [(2, "asc"), (7, "desc")])],
    )


def packed_reasons(best: pd.DataFrame, reasons: pd.DataFrame | None) -> str | None:
    """Of each row of `proposals`: [shares, falls, gates, [[property, value, fall], ...], [[item, cosine], ...],
    Cypher], null where there are none; as gzip in base64."""
    if reasons is None:
        return None
    key = ["item", "property", "value"]
    of_cell = {
        tuple(row[:3]): row[3:]
        for row in reasons[
            [
                *key,
                *MODALITIES,
                *(f"without_{name}" for name in MODALITIES),
                "title_from_image",
                "image_from_title",
                "triples",
                "nearest",
                "cypher",
            ]
        ].itertuples(index=False, name=None)
    }
    rows = [_reason(of_cell.get(cell)) for cell in best[key].itertuples(index=False, name=None)]
    data = json.dumps(rows, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    return base64.b64encode(gzip.compress(data, mtime=0)).decode("ascii")


def _reason(found: tuple[Any, ...] | None) -> list[Any] | None:
    if found is None:
        return None
    numbers = [_number(number, 4) for number in found[:8]]
    triples = [[t["property"], t["value"], _number(t["fall"], 4)] for t in found[8]]
    nearest = [[near["item"], _number(near["cosine"], 4)] for near in found[9]]
    return [numbers[:3], numbers[3:6], numbers[6:], triples, nearest, found[10]]


def conflicts(found: pd.DataFrame) -> Table:
    """The first of (item, property, value, probability, suggested), in their order."""
    rows = [
        [place, item, property, value, _number(probability), suggested]
        for place, (item, property, value, probability, suggested) in enumerate(
            found.head(CONFLICTS_SHOWN)[["item", "property", "value", "probability", "suggested"]].itertuples(
                index=False, name=None
            )
        )
    ]
    return table(
        [
            ("Photo", "photo", 1),
            ("Property", "text", 2),
            ("Value now", "text", 3),
            ("Probability", "percent", 4),
            ("Suggested", "text", 5),
            ("Title", "title", 1, "roomy"),
            ("Item", "code", 1, "roomy"),
        ],
        rows,
    )


def cold_items(store_items: Sequence[str], triples: pd.DataFrame) -> list[str]:
    """Items without a fact in training."""
    warm = set(triples.loc[triples["split"].isna(), "item"])
    return [item for item in store_items if item not in warm]


def cold(items: Sequence[str], triples: pd.DataFrame, best: pd.DataFrame) -> Table:
    """`COLD_SHOWN` of them, those with proposals first."""
    kept_back = triples[triples["item"].isin(set(items))]["item"].value_counts()
    own = best[best["item"].isin(set(items))]
    own = own.sort_values("confidence", ascending=False, kind="stable") if "confidence" in own else own
    proposed = {str(item): _proposed(of_item) for item, of_item in own.groupby("item")}
    ordered = sorted(items, key=lambda item: (item not in proposed, item))[:COLD_SHOWN]
    rows = [[place, item, proposed.get(item, ""), int(kept_back.get(item, 0))] for place, item in enumerate(ordered)]
    columns = [("Photo", "photo", 1), ("Title", "title", 1), ("Proposed", "text", 2), ("Facts kept back", "count", 3)]
    return table([*columns, ("Item", "code", 1, "roomy")], rows)


def _proposed(best: pd.DataFrame) -> str:
    confidence = best["confidence"] if "confidence" in best else pd.Series(np.nan, index=best.index)
    texts = [
        f"{property}: {value}" + ("" if math.isnan(sure) else f" ({sure:.0%})")
        for property, value, sure in zip(best["property"], best["value"], confidence, strict=True)
    ]
    return "; ".join(texts[:8]) + ("; …" if len(texts) > 8 else "")


def changes(found: pd.DataFrame) -> Table:
    """Of `previous.changes`, the changed, gone and new."""
    order = {"changed": 0, "gone": 1, "new": 2}
    differing = found[found["what"] != "same"]
    listed = differing.assign(place=differing["what"].map(order)).sort_values(["place", "property", "item"])
    rows = [
        [what, item, property, _text(then), _text(now), _number(sure_then), _number(sure)]
        for what, item, property, then, now, sure_then, sure in listed.head(CHANGES_SHOWN)[
            ["what", "item", "property", "value_then", "value", "confidence_then", "confidence"]
        ].itertuples(index=False, name=None)
    ]
    hidden = () if found[["confidence", "confidence_then"]].notna().any(axis=None) else ("hidden",)
    return table(
        [
            ("", "text", 0),
            ("Property", "text", 2),
            ("Then", "text", 3),
            ("Now", "text", 4),
            ("Confidence then", "percent", 5, "roomy", *hidden),
            ("Confidence now", "percent", 6, "roomy", *hidden),
            ("Title", "title", 1, "roomy"),
            ("Item", "code", 1),
        ],
        rows,
    )


def then_and_now(then: Mapping[str, Any], now: Mapping[str, Any]) -> Table:
    rows = [[name, was, is_now, is_now - was] for name, was, is_now in previous.figures(then, now)]
    figures = [("Then", "figure", 1), ("Now", "figure", 2), ("Difference", "figure", 3)]
    return table([("Figure", "text", 0), *figures], rows)


def coverage(found: pd.DataFrame, num_items: int) -> Table:
    """Of `report.coverage`."""
    rows = [
        [
            property,
            known,
            kept_back,
            proposed,
            (known + kept_back) / num_items,
            (known + kept_back + proposed) / num_items,
        ]
        for property, known, kept_back, proposed in found.itertuples(index=False, name=None)
    ]
    return table(
        [
            ("Property", "text", 0),
            ("Known", "count", 1, "roomy"),
            ("Kept back", "count", 2, "roomy"),
            ("Proposed", "count", 3),
            ("Before", "percent", 4),
            ("After", "percent", 5),
        ],
        rows,
        [(3, "desc")],
    )


def quality(rows: Sequence[Mapping[str, Any]], names: Sequence[str], intervals: Mapping[tuple[str, ...], str]) -> Table:
    """Of `report.quality`; intervals by (split, property) of K3M's Hits@1."""
    body = [
        [
            row["property"],
            row["split"],
            row["n"],
            intervals.get((row["split"], row["property"]), ""),
            *(row["metrics"][name][key] for name in names for key in ("mrr", "hits_at_1")),
        ]
        for row in rows
    ]
    figures = [
        (f"{name} {title}", "figure", 4 + 2 * place + shift)
        for place, name in enumerate(names)
        for shift, title in enumerate(("MRR", "Hits@1"))
    ]
    interval = ("its 95 %", "text", 3, *(() if intervals else ("hidden",)))
    columns = [
        ("Property", "text", 0),
        ("Split", "text", 1),
        ("Facts", "count", 2),
        *figures[:2],
        interval,
        *figures[2:],
    ]
    return table(columns, body, [(2, "desc")])


def parts(evaluation: pd.DataFrame) -> Table | None:
    """Hits@1 by how often training has the value and by style siblings, predictor beside predictor."""
    chosen = evaluation[evaluation["by"].isin(("frequency", "sibling"))]
    if chosen.empty:
        return None
    names = chosen["predictor"].unique().tolist()
    texts = {"frequency": "value {} times in training", "sibling": "{} a sibling in training"}
    rows: Rows = []
    for (split, by, name), part in chosen.groupby(["split", "by", "name"], sort=False):
        own = part.set_index("predictor")
        figures = own["hits_at_1"].reindex(names)  # NaN for one that cannot answer
        rows.append([split, texts[str(by)].format(name), int(own["n"].iloc[0]), *map(_number, figures)])
    columns = [(f"{label(name)} Hits@1", "figure", 3 + place) for place, name in enumerate(names)]
    return table([("Split", "text", 0), ("Part", "text", 1), ("Facts", "count", 2), *columns], rows)


CALIBRATED = {
    "ece_before": ("ECE before", "figure"),
    "ece": ("ECE", "figure"),
    "brier_before": ("Brier before", "figure"),
    "brier": ("Brier", "figure"),
    "log_loss_before": ("Log loss before", "figure"),
    "log_loss": ("Log loss", "figure"),
    "coverage_95": ("95 %: held", "percent"),
    "set_size_95": ("values", "figure"),
    "coverage_99": ("99 %: held", "percent"),
    "set_size_99": ("values", "figure"),
}


def calibrated(found: pd.DataFrame) -> Table:
    rows = [
        [row["split"], label(row["predictor"]), int(row["n"]), *(_number(row[name]) for name in CALIBRATED)]
        for row in found.to_dict("records")
    ]
    figures = [(title, kind, 3 + place) for place, (title, kind) in enumerate(CALIBRATED.values())]
    return table([("Split", "text", 0), ("Predictor", "text", 1), ("Facts", "count", 2, "roomy"), *figures], rows)


def thresholds(found: pd.DataFrame, best: pd.DataFrame) -> Table:
    """A row a property, with how many proposals reach each precision."""
    precisions = sorted(found["precision"].unique())
    by_property = dict(iter(best.groupby("property")["confidence"]))
    rows = []
    for property, of_property in found.groupby("property"):
        own = of_property.set_index("precision")
        cells: list[Any] = [
            str(property),
            "all properties" if own["pooled"].any() else "its own",
            int(own["n"].iloc[0]),
        ]
        for precision in precisions:
            least = own["confidence"].get(precision, math.nan)
            cells += [_number(least), int((by_property.get(property, pd.Series(dtype=float)) >= least).sum())]
        rows.append(cells)
    figures = []
    for place, precision in enumerate(precisions):
        figures += [(f"{precision:.0%}: from", "percent", 3 + 2 * place), ("proposals", "count", 4 + 2 * place)]
    columns = [("Property", "text", 0), *figures, ("Facts", "count", 2, "roomy"), ("Facts are", "text", 1, "roomy")]
    return table(columns, rows, [(2, "desc")])


def _number(value: float, digits: int = 6) -> float | None:
    """null for NaN, which JSON has not."""
    return None if value is None or math.isnan(value) else round(float(value), digits)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
