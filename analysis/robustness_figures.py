"""The figures of a robustness study, as PNG and SVG: a curve a model over the ratio, protocol by protocol, and bars at
the highest ratio, as the paper has them for alignment.

Colours are Okabe and Ito's, which the colour-blind tell apart; models differ in the shape of their points as well, and
those without the graph are dashed.
"""

from pathlib import Path
from typing import TypeVar

import altair as alt
import pandas as pd

from analysis.robustness_grid import CLEAN, Kind
from analysis.robustness_results import Results

COLOURS = ["#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C564B", "#7F7F7F", "#B8A800"]
SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left"]
DASHES: dict[Kind, list[int]] = {"without PKG": [5, 4], "text": [2, 2]}
TITLES = {
    "classify": "Item classification, accuracy",
    "align": "Product alignment, macro F1",
    "answer": "Question answering, Rank@10",
}
SETTINGS = {"train-clean": "trained clean, tested corrupt", "train-corrupt": "trained and tested corrupt"}
AnyChart = TypeVar("AnyChart", alt.ConcatChart, alt.Chart)
PER_ROW = 4
LABEL = 72
"""Width of a group of bars at least, for its name."""
PIXELS = 2.0
"""Of a PNG, a unit of the picture."""


def write(results: Results, folder: Path) -> list[Path]:
    """Of every task and setting that has what to show; the PNGs."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for (task, setting), rows in results.means.groupby(["task", "setting"], sort=False):
        rows = rows[rows["protocol"] != CLEAN]
        charts = {"curves": curves(rows, results), "bars": bars(rows, results)}
        for kind, chart in charts.items():
            if chart is None:
                continue
            png = folder / f"{task}-{setting}-{kind}.png"
            titled = chart.properties(title=_title(f"{TITLES[str(task)]}: {SETTINGS[str(setting)]}"))
            titled.save(png, scale_factor=PIXELS)
            titled.save(png.with_suffix(".svg"))
            written.append(png)
    return written


def curves(rows: pd.DataFrame, results: Results) -> alt.ConcatChart | None:
    """A panel a protocol, all of one height; None where no protocol has three ratios."""
    number = rows.groupby("protocol", sort=False)["ratio"].nunique()
    protocols = list(number.index[number >= 3])
    if not protocols:
        return None
    scale = alt.Scale(domain=_range(rows["value"]), nice=True, zero=False)
    panels = [
        alt.Chart(rows[rows["protocol"] == protocol], title=protocol, width=190, height=170)
        .mark_line(point=alt.OverlayMarkDef(size=38), strokeWidth=1.8)
        .encode(
            x=alt.X(
                "ratio:Q", title="share of items", axis=alt.Axis(format="%", values=sorted(rows["ratio"].unique()))
            ),
            y=alt.Y("value:Q", title=None, scale=scale, axis=alt.Axis(format=".2f", tickCount=5)),
            color=_colour(results),
            shape=_shape(results),
            strokeDash=_dash(results),
        )
        for protocol in protocols
    ]
    return _plain(alt.concat(*panels, columns=PER_ROW))


def bars(rows: pd.DataFrame, results: Results) -> alt.Chart | None:
    """A group a protocol at its highest ratio, the clean figure first; None without a protocol."""
    if rows.empty:
        return None
    highest = rows[rows["ratio"] == rows.groupby("protocol")["ratio"].transform("max")]
    clean = rows[rows["ratio"] == 0].drop_duplicates(["model"]).assign(protocol=CLEAN)
    shown = pd.concat([clean, highest[highest["ratio"] > 0]], ignore_index=True)
    names = shown["protocol"] + [f" {ratio:.0%}" if ratio else "" for ratio in shown["ratio"]]
    shown = shown.assign(name=names)
    order = list(dict.fromkeys(shown["name"]))
    models = shown["model"].nunique()
    chart = alt.Chart(shown, width=len(order) * max(LABEL, 14 * models), height=260).mark_bar()
    chart = chart.encode(
        x=alt.X("name:N", title=None, sort=order, axis=alt.Axis(labelAngle=0)),
        xOffset=alt.XOffset("model:N", sort=list(results.study.models)),
        y=alt.Y("value:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format=".1f")),
        color=_colour(results),
    )
    return _plain(chart)


def _range(values: pd.Series) -> list[float]:
    """All of the figures and a little more."""
    return [max(0.0, float(values.min()) - 0.02), min(1.0, float(values.max()) + 0.02)]


def _colour(results: Results) -> alt.Color:
    return alt.Color("model:N", title=None, scale=_scale(results, COLOURS), sort=list(results.study.models))


def _shape(results: Results) -> alt.Shape:
    return alt.Shape("model:N", title=None, scale=_scale(results, SHAPES), sort=list(results.study.models))


def _dash(results: Results) -> alt.StrokeDash:
    dashes = [DASHES.get(results.study.models[name].kind, [1, 0]) for name in _run(results)]
    return alt.StrokeDash("model:N", title=None, scale=alt.Scale(domain=_run(results), range=dashes))


def _run(results: Results) -> list[str]:
    """Models that have figures; what one looks like does not hang on which others have."""
    return [name for name in results.study.models if name in set(results.tidy["model"])]


def _scale(results: Results, values: list[str]) -> alt.Scale:
    every, names = list(results.study.models), _run(results)
    return alt.Scale(domain=names, range=[values[every.index(name) % len(values)] for name in names])


def _title(text: str) -> alt.TitleParams:
    return alt.Title(text, anchor="start", offset=14, fontSize=15)


def _plain(chart: AnyChart) -> AnyChart:
    drawn: AnyChart = chart.configure_view(stroke=None).configure_axis(labelFontSize=11, titleFontSize=11)
    drawn = drawn.configure_legend(labelFontSize=12, symbolSize=80, symbolStrokeWidth=2, orient="right")
    return drawn
