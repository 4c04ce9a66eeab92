"""Whether a run's objectives are well: curves of the losses and of their gradients, and warnings that name the cause.

Reads the lines of metrics.jsonl: `lpm`, `mlm`, `mom` are losses, `gradient_X` the norm of an objective's weighted
gradient, `alone_text` and `alone_image` the share of dimensions in which IFFM took the feature of the modality alone,
`mom_floor` what the mean of the visible tokens would score (frozen towers only).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd

OBJECTIVES = ("lpm", "mlm", "mom")
FALLEN = 0.98
"""An objective whose last fifth is above this share of its first has not fallen."""
DROWNED = 30.0
"""Times the gradient of another objective."""
STUCK = 0.02
"""A gate that takes one side in all but this share of the dimensions."""
FEWEST = 20
"""Lines of a kind from which anything can be said."""
Line = Mapping[str, float]


def warnings_of(lines: Sequence[Line]) -> list[str]:
    """What is wrong, a sentence each; empty where nothing is, or where the run is too short to say."""
    found = [*_standing(lines), *_drowning(lines), *_stuck(lines), *_below_floor(lines)]
    return [warning for warning in found if warning]


def _values(lines: Sequence[Line], name: str) -> np.ndarray:
    return np.array([line[name] for line in lines if name in line])


def _standing(lines: Sequence[Line]) -> list[str]:
    found = []
    for name in OBJECTIVES:
        values = _values(lines, name)
        fifth = len(values) // 5
        if len(values) < FEWEST or not values.any():
            continue
        before, after = values[:fifth].mean(), values[-fifth:].mean()
        if after > FALLEN * before:
            found.append(
                f"{name} does not fall ({before:.3g} over the first fifth of the run, {after:.3g} over the last): its "
                f"weight (loss.{name}) or the learning rate (optim.peak_lr) is too small, or nothing in the input tells"
            )
    return found


def _drowning(lines: Sequence[Line]) -> list[str]:
    medians = {name: _values(lines, f"gradient_{name}") for name in OBJECTIVES}
    norms = {name: float(np.median(values)) for name, values in medians.items() if len(values) >= 5 and values.any()}
    if len(norms) < 2:
        return []
    loud, quiet = max(norms, key=norms.__getitem__), min(norms, key=norms.__getitem__)
    if norms[loud] <= DROWNED * norms[quiet]:
        return []
    return [
        f"{loud} drowns {quiet}: its gradient is {norms[loud] / norms[quiet]:.0f} times as large (median); lower "
        f"loss.{loud} or raise loss.{quiet}"
    ]


def _stuck(lines: Sequence[Line]) -> list[str]:
    found = []
    for modality in ("text", "image"):
        values = _values(lines, f"alone_{modality}")
        late = values[-max(1, len(values) // 4) :]
        if len(values) < 5 or STUCK < late.mean() < 1 - STUCK:
            continue
        side = "alone" if late.mean() > 0.5 else "informed by the other modality"
        found.append(
            f"the gates of {modality} are stuck: {late.mean():.1%} of the dimensions take the feature alone, so that "
            f"IFFM always gives the one {side}; model.fusion = mean or soft would say whether the choice matters"
        )
    return found


def _below_floor(lines: Sequence[Line]) -> list[str]:
    both = [line for line in lines if "mom_floor" in line and "mom" in line]
    late = both[-max(1, len(both) // 5) :]
    if len(both) < FEWEST or np.mean([line["mom"] - line["mom_floor"] for line in late]) < 0:
        return []
    return ["mom is no better than the mean of the visible tokens: it teaches the image stream nothing"]


def write_picture(lines: Sequence[Line], path: Path) -> None:
    """Losses, gradients, gates and validation over the steps, one above the other, as SVG or PNG by the file's
    suffix."""
    panels = {
        "loss, relative to its first value": {name: _relative(lines, name) for name in OBJECTIVES},
        "norm of the weighted gradient": {name: _series(lines, f"gradient_{name}") for name in OBJECTIVES},
        "share of IFFM's choices that are alone": {of: _series(lines, f"alone_{of}") for of in ("text", "image")},
        "validation MRR": {"valid": _series(lines, "valid_mrr")},
    }
    charts = [_panel(title, series) for title, series in panels.items() if any(len(part) for part in series.values())]
    alt.vconcat(*charts).configure_view(strokeWidth=0).resolve_scale(x="shared", color="independent").save(path)


def _series(lines: Sequence[Line], name: str) -> pd.DataFrame:
    return pd.DataFrame([(line["step"], line[name]) for line in lines if name in line], columns=["step", "value"])


def _relative(lines: Sequence[Line], name: str) -> pd.DataFrame:
    series = _series(lines, name)
    return series.assign(value=series["value"] / max(series["value"].head(1).sum(), 1e-12))


def _panel(title: str, series: Mapping[str, pd.DataFrame]) -> alt.Chart:
    frame = pd.concat([part.assign(what=name) for name, part in series.items()], ignore_index=True)
    scale = alt.Scale(type="log") if "gradient" in title else alt.Scale(zero=False)
    return (
        alt.Chart(frame, title=alt.Title(title, anchor="start"), width=640, height=160)
        .mark_line(strokeWidth=1.5)
        .encode(
            x=alt.X("step:Q", title="step"),
            y=alt.Y("value:Q", title=None, scale=scale),
            color=alt.Color("what:N", title=None, scale=alt.Scale(range=["#0072B2", "#D55E00", "#009E73"])),
        )
    )
