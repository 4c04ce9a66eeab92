"""The report's charts, as Vega-Lite specifications. Colours are told apart by the colour-blind and never the only
sign."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import altair as alt
import pandas as pd

from analysis.answers import OURS

SHOWN = "K3M"
"""Our name for readers."""
FONT = "system-ui, 'Noto Sans', 'PingFang SC', 'Microsoft YaHei', 'Noto Sans CJK SC', 'WenQuanYi Micro Hei', sans-serif"
STATES = {"known": "#0072b2", "kept back": "#767676", "proposed": "#e69f00"}
WHEN = {"before": "#767676", "after": "#d55e00"}
_OTHERS = ("#767676", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#8a6d00", "#1a1a1a")  # Okabe-Ito
_SHAPES = ("circle", "square", "triangle-up", "cross", "triangle-down", "triangle-right", "triangle-left")


Chart: TypeAlias = alt.Chart | alt.LayerChart | alt.FacetChart


def label(predictor: str) -> str:
    """A predictor's name for readers."""
    return SHOWN if predictor == OURS else predictor


def specification(chart: Chart) -> dict[str, Any]:
    """With letters that can be read."""
    return (
        chart.configure(font=FONT)
        .configure_axis(labelFontSize=12, titleFontSize=12, labelSeparation=6)
        .configure_legend(labelFontSize=12)
        .to_dict()
    )


def dots(table: pd.DataFrame, names: Sequence[str]) -> alt.Chart:
    """MRR on a line for each `what` (columns what, predictor, n, mrr); predictors differ in shape as well as in
    colour."""
    return (
        alt.Chart(table, width="container", height=24 * max(2, table["what"].nunique()))
        .mark_point(size=90, strokeWidth=2.5)  # outlines, so that equal figures do not hide each other
        .encode(
            x=alt.X("mrr:Q", title="MRR", scale=alt.Scale(zero=False, nice=True)),
            y=alt.Y(
                "what:N", title=None, sort=table["what"].unique().tolist(), axis=alt.Axis(grid=True, labelLimit=150)
            ),
            color=_scale("predictor", _of(names, "#d55e00", _OTHERS)),
            shape=_scale("predictor", _of(names, "diamond", _SHAPES), alt.Shape),
            tooltip=["what:N", "predictor:N", "n:Q", alt.Tooltip("mrr:Q", format=".4f")],
        )
    )


def bars(table: pd.DataFrame, num_items: int) -> alt.Chart:
    """Share of all items, stacked: known, kept back, proposed."""
    long = table.melt("property", list(STATES), var_name="state", value_name="items")
    long = long.assign(
        share=long["items"] / max(1, num_items), place=long["state"].map({s: i for i, s in enumerate(STATES)})
    )
    return (
        alt.Chart(long, width="container", height=20 * max(2, len(table)))
        .mark_bar()
        .encode(
            x=alt.X("share:Q", title="share of all items", axis=alt.Axis(format="%")),
            y=alt.Y("property:N", title=None, sort=table["property"].tolist(), axis=alt.Axis(labelLimit=150)),
            color=_scale("state", STATES),
            order="place:Q",
            tooltip=["property:N", "state:N", "items:Q", alt.Tooltip("share:Q", format=".1%")],
        )
    )


def reliability(points: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Precision against confidence (columns when, confidence, precision, n); on the diagonal a confidence keeps its
    word."""
    ends = pd.DataFrame({"confidence": [0, 1], "precision": [0, 1]})
    axes = {
        "x": alt.X("confidence:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%")),
        "y": alt.Y("precision:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%")),
    }
    diagonal = alt.Chart(ends).mark_line(color="#767676", strokeDash=[4, 4], strokeWidth=1).encode(**axes)
    shown = points.assign(when=pd.Categorical(points["when"], list(WHEN), ordered=True)).sort_values(
        ["when", "confidence"]
    )
    measured = (
        alt.Chart(shown.astype({"when": object}))
        .mark_line(point={"size": 60, "filled": False, "fill": "white"})
        .encode(
            **axes,
            color=_scale("when", WHEN),
            strokeDash=_scale("when", {"before": [2, 2], "after": [1, 0]}, alt.StrokeDash),
            tooltip=[
                "when:N",
                alt.Tooltip("confidence:Q", format=".1%"),
                alt.Tooltip("precision:Q", format=".1%"),
                "n:Q",
            ],
        )
    )
    return alt.layer(diagonal, measured, width="container", height=240)


def selective(curve: pd.DataFrame, standing: pd.DataFrame, start: int) -> alt.LayerChart | alt.FacetChart:
    """Precision at each coverage (columns split, coverage, precision, confidence), with a ring where the parameter
    `step` stands (columns step, split, coverage, precision)."""
    splits = curve["split"].unique().tolist()
    colours = dict(zip(splits, ("#d55e00", "#0072b2", "#009e73", "#cc79a7"), strict=False))
    least = math.floor(10 * curve["precision"].min()) / 10  # fixed: Vega warns of a layer without a point
    dashes: dict[str, Any] = dict(zip(splits, ([1, 0], [6, 3], [2, 2], [8, 2, 2, 2]), strict=False))
    axes = {
        "x": alt.X(
            "coverage:Q", title="coverage: facts answered", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%")
        ),
        "y": alt.Y("precision:Q", title="precision", scale=alt.Scale(domain=[least, 1]), axis=alt.Axis(format="%")),
        "color": _scale("split", colours),
    }
    lines = (
        alt.Chart(curve)
        .mark_line()
        .encode(
            **axes,
            strokeDash=_scale("split", dashes, alt.StrokeDash),
            tooltip=[
                "split:N",
                alt.Tooltip("coverage:Q", format=".1%"),
                alt.Tooltip("precision:Q", format=".1%"),
                alt.Tooltip("confidence:Q", format=".3f"),
            ],
        )
    )
    step = alt.param(name="step", value=start)
    rings = (
        alt.Chart(standing)
        .mark_point(size=160, strokeWidth=3)
        .encode(**axes)
        .transform_filter(alt.datum.step == step)
        .add_params(step)
    )
    return alt.layer(lines, rings, width="container", height=260)


def _of(names: Sequence[str], ours: Any, others: Sequence[Any]) -> dict[str, Any]:
    """A sign for each predictor."""
    rest = [name for name in names if name != SHOWN]
    signs = {name: others[place % len(others)] for place, name in enumerate(rest)}
    return {name: ours if name == SHOWN else signs[name] for name in names}


def _scale(field: str, of: Mapping[str, Any], channel: Any = alt.Color) -> Any:
    names: Iterable[str] = list(of)
    scale = alt.Scale(domain=list(names), range=[of[name] for name in names])
    return channel(f"{field}:N", scale=scale, legend=alt.Legend(title=None, orient="top"))
