"""The completion report: one HTML file that opens without a network and reads on a telephone.

Everything from the catalogue is text to it: Jinja2 escapes titles and values, data for scripts travel as JSON. The
JavaScript (Vega, DataTables) is read from the installed packages when a report is written. Colours are told apart by
the colour-blind and never the only sign. A catalogue without photographs, splits or missing cells gives a shorter
report.
"""

import base64
import functools
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import altair as alt
import itables
import jinja2
import numpy as np
import pandas as pd
import vl_convert
from PIL import Image

from analysis.answers import OURS
from graphstore import Store
from k3m.ranks import link_metrics

PROPOSALS_SHOWN = 1000
PROPERTIES_CHARTED = 25
THUMBNAIL = (60, 80)  # largest width and height in pixels
PREDICTORS = {  # Okabe-Ito colours; outside predictors have OTHER
    "k3m": ("#d55e00", "diamond"),
    "majority": ("#767676", "circle"),
    "tabular": ("#0072b2", "square"),
    "visual": ("#009e73", "triangle-up"),
    "nearest": ("#56b4e9", "triangle-down"),
    "cnn": ("#cc79a7", "triangle-left"),
    "pool": ("#e69f00", "triangle-right"),
}
OTHER = ("#000000", "cross")
STATES = {"known": "#0072b2", "kept back": "#767676", "proposed": "#e69f00"}


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a completion found, for the page."""

    metrics: dict[str, Any]
    """As in metrics.json."""
    ranks: pd.DataFrame
    """Kept-back triples: item, property, value, split, and a column of ranks for K3M and each floor."""
    best: pd.DataFrame
    """The first proposal of each missing cell: item, property, value, score, confidence (0 to 1, NaN where nothing
    could be calibrated)."""
    triples: pd.DataFrame
    """All triples of the store: item, property, split."""
    facts: Mapping[str, str]
    """What else a reader must know of the run (visible fields, machine, command), by its name."""
    evaluation: pd.DataFrame | None = None
    """A row a split, predictor and part of the split: columns split, predictor (`k3m` or a floor), by (`all`,
    `property`, `frequency`, `sibling`), name (of the part: the property; how often training has the true value; `with`
    or `without` an item of the same style in training), n, mrr, hits_at_1, hits_at_3, hits_at_10, mrr_low, mrr_high,
    hits_at_1_low, hits_at_1_high (95 % intervals, NaN where they were not drawn), mrr_optimistic, mrr_pessimistic,
    hits_at_1_optimistic, hits_at_1_pessimistic, amri, adjusted_mrr (0 is chance, 1 perfect)."""
    calibration: pd.DataFrame | None = None
    """A row a split and predictor: split, predictor, n, ece_before, ece, brier_before, brier, log_loss_before,
    log_loss, coverage_95, set_size_95, coverage_99, set_size_99. None where the store has too few triples to calibrate
    on."""
    reliability: pd.DataFrame | None = None
    """Points of reliability diagrams, bins of equal mass: split, predictor, when (`before`, `after`), confidence,
    precision, n."""
    selective: pd.DataFrame | None = None
    """Precision at each coverage: split, predictor, coverage (share of the questions answered), precision, confidence
    (the least among these answers)."""
    thresholds: pd.DataFrame | None = None
    """Of K3M, a row a property and precision asked for (.95, .99): property, precision, confidence (the least that is
    written; NaN where no confidence reaches the precision), n (questions behind it), pooled (whether they are those of
    all properties)."""
    answers: pd.DataFrame | None = None
    """K3M's first answers to kept-back triples: item, property, value (the true one), split, confidence, right (bool),
    set_size_95, set_size_99, covered_95, covered_99 (whether the set holds the true value)."""


def shown(predictor: str) -> str:
    """As the page names it."""
    return "K3M" if predictor == OURS else predictor


def write(findings: Findings, store: Store, path: Path) -> None:
    """Write the page to `path`."""
    splits = findings.metrics["link_completion"].values()
    floors = dict.fromkeys(name for figures in splits for name in figures["floors"])
    predictors = [name for name in (OURS, *floors) if name in findings.ranks]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("analysis"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("report.html").render(
        name=findings.metrics["run"]["name"],
        facts=findings.facts,
        headline=headline(findings.metrics["link_completion"], predictors),
        predictors=[shown(name) for name in predictors],
        quality=quality(findings.ranks, predictors),
        proposals=proposals(findings.best, store),
        num_missing=len(findings.best),
        num_items=store.num_items,
        charts=charts(findings, predictors, store.num_items),
        vega=_vega(),
        datatables=Path(itables.options.dt_bundle).read_text(encoding="utf-8"),
        datatables_css=Path(itables.options.dt_bundle).with_suffix(".css").read_text(encoding="utf-8"),
        versions={name: version(name) for name in ("k3m", "altair", "itables")},
    )
    path.write_text(page, encoding="utf-8")


@functools.cache  # bundling takes a second
def _vega() -> str:
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


def headline(link_completion: Mapping[str, Any], predictors: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each split and group: name, n, the metrics of each predictor (None for a floor that cannot answer),
    K3M's MRR less the best floor's."""
    rows = []
    for split, figures in link_completion.items():
        groups = figures.get("groups", {})
        rows.append(_row(split, figures, predictors) | {"group": False})
        rows += [_row(f"{split}: {name}", groups[name], predictors) | {"group": True} for name in groups]
    return rows


def _row(name: str, figures: Mapping[str, Any], predictors: Sequence[str]) -> dict[str, Any]:
    own = figures["floors"] | {OURS: figures}
    metrics = {shown(predictor): own.get(predictor) for predictor in predictors}
    floors = {floor: own["mrr"] for floor, own in figures["floors"].items()}
    best = max(floors, key=lambda floor: floors[floor], default=None)
    ahead = None if best is None else {"floor": shown(best), "by": figures["mrr"] - floors[best]}
    return {"name": name, "n": figures["n"], "metrics": metrics, "ahead": ahead}


def quality(ranks: pd.DataFrame, predictors: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each split and property: n, and each predictor's MRR and Hits@1 (None where it cannot answer); the most
    frequent first."""
    rows = []
    for (split, property), of_property in ranks.groupby(["split", "property"], sort=False):
        own = {
            shown(name): link_metrics(of_property[name].to_numpy(), of_property["property"].to_numpy())
            if of_property[name].notna().all()
            else None
            for name in predictors
        }
        rows.append({"split": split, "property": property, "n": len(of_property), "metrics": own})
    return sorted(rows, key=lambda row: (-row["n"], row["property"]))


def proposals(best: pd.DataFrame, store: Store) -> list[dict[str, Any]]:
    """Up to `PROPOSALS_SHOWN`: the best-scored of each property, as scores compare within a property only."""
    share = max(1, PROPOSALS_SHOWN // max(1, best["property"].nunique()))
    shown = best.sort_values(["score", "item"], ascending=[False, True]).groupby("property", sort=False).head(share)
    shown = shown.head(PROPOSALS_SHOWN).sort_values(["property", "score", "item"], ascending=[True, False, True])
    items = shown["item"].unique().tolist()
    features = store.item_features(store.item_ords(items), ("title", "image"))
    title, image = (dict(zip(items, features[field], strict=True)) for field in ("title", "image"))
    pictures = {item: thumbnail(store.images.get(key)) for item, key in image.items() if key is not None}
    return [
        {
            "item": item,
            "property": property,
            "value": value,
            "score": score,
            "title": title[item] or "",
            "picture": pictures.get(item),
        }
        for item, property, value, score in shown[["item", "property", "value", "score"]].itertuples(index=False)
    ]


def thumbnail(data: bytes) -> str:
    """A data URI of the picture, made small."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    image.thumbnail(THUMBNAIL)
    small = io.BytesIO()
    image.save(small, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(small.getvalue()).decode('ascii')}"


def coverage(findings: Findings) -> pd.DataFrame:
    """Items that have each property known, kept back or proposed (columns of `STATES`), most proposed first."""
    cells = findings.triples.drop_duplicates(["item", "property", "split"])
    training = cells["split"].isna()
    counts = {
        "known": cells.loc[training].drop_duplicates(["item", "property"])["property"].value_counts(),
        "kept back": _cells_without(cells[~training], cells[training])["property"].value_counts(),
        "proposed": findings.best["property"].value_counts(),
    }
    table = pd.DataFrame(counts).fillna(0).astype(np.int64).rename_axis("property").reset_index()
    return table.sort_values(["proposed", "known", "property"], ascending=[False, False, True], ignore_index=True)


def _cells_without(cells: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """The cells (item, property), each once, that `others` has not."""
    cells = cells[["item", "property"]].drop_duplicates()
    held = pd.MultiIndex.from_frame(others[["item", "property"]])
    return cells[~pd.MultiIndex.from_frame(cells).isin(held)]


def charts(findings: Findings, predictors: Sequence[str], num_items: int) -> dict[str, dict[str, Any]]:
    """Vega-Lite specifications by the id of the element that shows them."""
    found = {}
    if len(findings.ranks):
        found["chart-splits"] = _dots(_figures(findings.metrics["link_completion"], predictors), predictors)
        found["chart-properties"] = _dots(_by_property(findings.ranks, predictors), predictors)
    found["chart-coverage"] = _bars(coverage(findings).head(PROPERTIES_CHARTED), num_items)
    return {name: _readable(chart).to_dict() for name, chart in found.items()}


def _readable(chart: alt.Chart) -> alt.Chart:
    return chart.configure_axis(labelFontSize=12, titleFontSize=12).configure_legend(labelFontSize=12)


def _figures(link_completion: Mapping[str, Any], predictors: Sequence[str]) -> pd.DataFrame:
    rows = headline(link_completion, predictors)
    return pd.DataFrame(
        [(row["name"], name, row["n"], own["mrr"]) for row in rows for name, own in row["metrics"].items() if own],
        columns=["what", "predictor", "n", "mrr"],
    )


def _by_property(ranks: pd.DataFrame, predictors: Sequence[str]) -> pd.DataFrame:
    """MRR of the most frequent properties, all splits together; none for a predictor that cannot answer one of them,
    since its mean would be over fewer facts than the others'."""
    frequent = ranks["property"].value_counts().head(PROPERTIES_CHARTED)
    reciprocal = 1 / ranks.set_index("property")[list(predictors)]
    means = (
        reciprocal.groupby("property")
        .mean()
        .where(reciprocal.notna().groupby("property").all())
        .loc[frequent.index]
        .rename(columns=shown)
        .rename_axis("what")
        .reset_index()
    )
    table = means.melt("what", var_name="predictor", value_name="mrr").dropna(ignore_index=True)
    return table.assign(n=table["what"].map(frequent))


def _dots(table: pd.DataFrame, predictors: Sequence[str]) -> alt.Chart:
    """MRR on a line for each `what`; predictors differ in shape as well as in colour."""
    names = [shown(name) for name in predictors]
    colours, shapes = ({shown(name): PREDICTORS.get(name, OTHER)[part] for name in predictors} for part in (0, 1))
    return (
        alt.Chart(table, width="container", height=24 * table["what"].nunique())
        .mark_point(size=90, strokeWidth=2.5)  # outlines, so that equal figures do not hide each other
        .encode(
            x=alt.X("mrr:Q", title="MRR", scale=alt.Scale(zero=False, nice=True)),
            y=alt.Y(
                "what:N", title=None, sort=table["what"].unique().tolist(), axis=alt.Axis(grid=True, labelLimit=150)
            ),
            color=_scale("predictor", colours, names),
            shape=_scale("predictor", shapes, names, alt.Shape),
            tooltip=["what:N", "predictor:N", "n:Q", alt.Tooltip("mrr:Q", format=".4f")],
        )
    )


def _bars(table: pd.DataFrame, num_items: int) -> alt.Chart:
    """Share of all items, stacked: known, kept back, proposed."""
    long = table.melt("property", list(STATES), var_name="state", value_name="items")
    long = long.assign(
        share=long["items"] / max(1, num_items), place=long["state"].map({s: i for i, s in enumerate(STATES)})
    )
    return (
        alt.Chart(long, width="container", height=20 * len(table))
        .mark_bar()
        .encode(
            x=alt.X("share:Q", title="share of all items", axis=alt.Axis(format="%")),
            y=alt.Y("property:N", title=None, sort=table["property"].tolist(), axis=alt.Axis(labelLimit=150)),
            color=_scale("state", STATES, list(STATES)),
            order="place:Q",
            tooltip=["property:N", "state:N", "items:Q", alt.Tooltip("share:Q", format=".1%")],
        )
    )


def _scale(field: str, of: Mapping[str, str], names: Iterable[str], channel: Any = alt.Color) -> Any:
    names = list(names)
    scale = alt.Scale(domain=names, range=[of[name] for name in names])
    return channel(f"{field}:N", scale=scale, legend=alt.Legend(title=None, orient="top"))
