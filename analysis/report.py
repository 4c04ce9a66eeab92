"""The completion report: one HTML file that opens without a network and reads on a telephone.

Everything from the catalogue is text to it: Jinja2 escapes what stands in the markup, the rest travels as JSON. The
JavaScript (Vega, DataTables) is read from the installed packages when a report is written. What was not computed leaves
a line that says how to get it. A catalogue without photographs, splits or missing cells gives a shorter report.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import itables
import jinja2
import numpy as np
import pandas as pd
import vl_convert

from analysis import previous, report_charts, report_pictures, report_tables
from analysis.answers import OURS
from analysis.previous import Previous
from analysis.report_charts import STATES, label
from analysis.report_levels import SURE, curve_of, splits_of, start_of, steps_of
from analysis.selective import LIKELY
from graphstore import Store
from k3m.ranks import link_metrics

PROPERTIES_CHARTED = 25
SUSPICIOUS = 0.5
"""So much more probable is another value of a fact that looks wrong."""


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
    conflicts: pd.DataFrame | None = None
    """Stored facts that a model finds less probable than another value, the most suspect first: item, property, value,
    probability, suggested, suspicion (the difference of the two's probabilities)."""
    reasons: pd.DataFrame | None = None
    """Of the proposals that are shown (`report_tables.shown`), as `analysis.reasons.reasons` gives them."""
    previous: Previous | None = None
    """What the last report said."""


def write(findings: Findings, store: Store, path: Path) -> None:
    """Write the page to `path`."""
    predictors = predictors_of(findings)
    shown = report_tables.shown(findings.best)
    changed = None if findings.previous is None else previous.changes(findings.previous.best, findings.best)
    cold = report_tables.cold_items(store.items()["id"].to_pylist(), findings.triples)
    covered = coverage(findings)
    tables = tables_of(findings, shown, covered, changed, cold, predictors, store.num_items)
    shown_items = report_pictures.items_of(tables, findings.reasons)
    items, pictures, left_out = report_pictures.titles_and_pictures(store, shown_items)
    steps = steps_of(findings.best, findings.selective)
    charts = charts_of(findings, covered, predictors, store.num_items, steps)
    splits = splits_of(findings.selective)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("analysis"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("report.html").render(
        name=findings.metrics["run"]["name"],
        facts=findings.facts,
        glance=glance(findings, store.num_items, len(cold)),
        headline=headline(findings.metrics["link_completion"], predictors),
        intervals=headline_intervals(findings.evaluation),
        num_missing=len(findings.best),
        num_items=store.num_items,
        charted=min(PROPERTIES_CHARTED, len(tables["coverage-table"]["rows"])),
        shown=len(shown),
        properties=sorted(shown["property"].unique()),
        pictures_left_out=left_out,
        steps=steps,
        start=start_of(steps),
        measured=splits,
        num_conflicts=0 if findings.conflicts is None else len(findings.conflicts),
        num_suspicious=0 if findings.conflicts is None else suspicious(findings.conflicts),
        conflicts_shown=len(tables["conflicts"]["rows"]) if "conflicts" in tables else 0,
        num_cold=len(cold),
        cold_shown=len(tables["cold"]["rows"]) if "cold" in tables else 0,
        previous=None if findings.previous is None else findings.previous.metrics.get("run", {}).get("name", "unknown"),
        changes=_counted(changed, tables),
        tables=tables,
        charts=charts,
        reliability={
            f"chart-reliability-{place}": split for place, split in enumerate(splits_of(findings.reliability))
        },
        data={"tables": tables, "charts": charts, "steps": steps, "items": items, "pictures": pictures},
        reasons=report_tables.packed_reasons(shown, findings.reasons),
        vega=_vega(),
        datatables=Path(itables.options.dt_bundle).read_text(encoding="utf-8"),
        datatables_css=Path(itables.options.dt_bundle).with_suffix(".css").read_text(encoding="utf-8"),
        css=_own("report.css"),
        js=_own("report.js"),
        versions={name: version(name) for name in ("k3m", "altair", "itables")},
    )
    path.write_text(page, encoding="utf-8")


def _own(name: str) -> str:
    return files("analysis").joinpath("templates", name).read_text(encoding="utf-8")


@functools.cache  # bundling takes a second
def _vega() -> str:
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


def predictors_of(findings: Findings) -> list[str]:
    """K3M, then the floors that were measured beside it."""
    floors = [floor for figures in findings.metrics["link_completion"].values() for floor in figures["floors"]]
    return list(dict.fromkeys([OURS, *floors]))


def tables_of(
    findings: Findings,
    shown: pd.DataFrame,
    covered: pd.DataFrame,
    changed: pd.DataFrame | None,
    cold: Sequence[str],
    predictors: Sequence[str],
    num_items: int,
) -> dict[str, report_tables.Table]:
    """By the id of the element that shows them; what there is nothing for is left out."""
    names, evaluation = [label(name) for name in predictors], findings.evaluation
    found: dict[str, report_tables.Table | None] = {
        "coverage-table": report_tables.coverage(covered, max(1, num_items)),
        "proposals": report_tables.proposals(shown, findings.reasons) if len(shown) else None,
        "cold": report_tables.cold(cold, findings.triples, findings.best) if cold else None,
        "parts": None if evaluation is None else report_tables.parts(evaluation),
    }
    if len(findings.ranks):
        rows = quality(findings.ranks, predictors)
        found["quality"] = report_tables.quality(rows, names, property_intervals(evaluation))
    if findings.conflicts is not None:
        found["conflicts"] = report_tables.conflicts(findings.conflicts)
    if findings.calibration is not None and len(findings.calibration):
        found["calibrated"] = report_tables.calibrated(findings.calibration)
    if findings.thresholds is not None and len(findings.thresholds):
        found["thresholds"] = report_tables.thresholds(findings.thresholds, findings.best)
    if findings.previous is not None and changed is not None:
        found["then"] = report_tables.then_and_now(findings.previous.metrics, findings.metrics)
        found["changes"] = report_tables.changes(changed)
    return {
        name: table for name, table in found.items() if table is not None and (table["rows"] or name == "conflicts")
    }


def _counted(changed: pd.DataFrame | None, tables: Mapping[str, report_tables.Table]) -> dict[str, int]:
    counts = {} if changed is None else changed["what"].value_counts().to_dict()
    listed = len(tables["changes"]["rows"]) if "changes" in tables else 0
    return {what: int(counts.get(what, 0)) for what in ("new", "gone", "changed", "same")} | {"listed": listed}


def glance(findings: Findings, num_items: int, num_cold: int) -> dict[str, str]:
    """The figures at the page's head, by their names; at a precision are those that --write would write."""
    found = {"items": f"{num_items:,}", "missing facts with a proposal": f"{len(findings.best):,}"}
    if findings.thresholds is not None and "confidence" in findings.best:
        asked = findings.thresholds[np.isclose(findings.thresholds["precision"], SURE)]
        least = findings.best["property"].map(asked.drop_duplicates("property").set_index("property")["confidence"])
        sure = findings.best["confidence"] >= least  # a NaN is not reached
        number = int((sure & (findings.best.get("applies", 1.0) >= LIKELY)).sum())
        found[f"of them at {SURE:.0%} precision"] = f"{number:,}"
    for split, figures in findings.metrics["link_completion"].items():
        found[f"Hits@1 on {split}"] = f"{figures['hits_at_1']:.3f}"
    if findings.calibration is not None:
        ours = findings.calibration[findings.calibration["predictor"] == OURS]
        found |= {f"calibration error on {row['split']}": f"{row['ece']:.3f}" for row in ours.to_dict("records")}
    if findings.conflicts is not None:
        found["facts that look wrong"] = f"{suspicious(findings.conflicts):,}"
    return found | ({"cold items": f"{num_cold:,}"} if num_cold else {})


def suspicious(conflicts: pd.DataFrame) -> int:
    """How many for which another value is far more probable."""
    return int((conflicts["suspicion"] > SUSPICIOUS).sum())


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
    metrics = {label(predictor): own.get(predictor) for predictor in predictors}
    floors = {floor: own["mrr"] for floor, own in figures["floors"].items()}
    best = max(floors, key=lambda floor: floors[floor], default=None)
    ahead = None if best is None else {"floor": label(best), "by": figures["mrr"] - floors[best]}
    return {"name": name, "n": figures["n"], "metrics": metrics, "ahead": ahead}


def headline_intervals(evaluation: pd.DataFrame | None) -> dict[tuple[str, str, str], str]:
    """By split, predictor and metric."""
    if evaluation is None:
        return {}
    return {
        (row["split"], label(row["predictor"]), metric): interval
        for row in evaluation[evaluation["by"] == "all"].to_dict("records")
        for metric in ("mrr", "hits_at_1")
        if (interval := _interval(row, metric))
    }


def property_intervals(evaluation: pd.DataFrame | None) -> dict[tuple[str, ...], str]:
    """Of K3M's Hits@1, by split and property."""
    if evaluation is None:
        return {}
    chosen = evaluation[(evaluation["by"] == "property") & (evaluation["predictor"] == OURS)]
    return {
        (row["split"], row["name"]): interval
        for row in chosen.to_dict("records")
        if (interval := _interval(row, "hits_at_1"))
    }


def _interval(row: Mapping[Any, Any], metric: str) -> str:
    low, high = row[f"{metric}_low"], row[f"{metric}_high"]
    return "" if np.isnan(low) else f"{low:.3f}–{high:.3f}"


def quality(ranks: pd.DataFrame, predictors: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each split and property: n, and each predictor's MRR and Hits@1 (None where it cannot answer); the most
    frequent first."""
    rows = []
    for (split, property), of_property in ranks.groupby(["split", "property"], sort=False):
        own = {
            label(name): link_metrics(of_property[name].to_numpy(), of_property["property"].to_numpy())
            if of_property[name].notna().all()
            else None
            for name in predictors
        }
        rows.append({"split": split, "property": property, "n": len(of_property), "metrics": own})
    return sorted(rows, key=lambda row: (-row["n"], row["property"]))


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
    table = table[["property", *STATES]]
    return table.sort_values(["proposed", "known", "property"], ascending=[False, False, True], ignore_index=True)


def _cells_without(cells: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """The cells (item, property), each once, that `others` has not."""
    cells = cells[["item", "property"]].drop_duplicates()
    held = pd.MultiIndex.from_frame(others[["item", "property"]])
    return cells[~pd.MultiIndex.from_frame(cells).isin(held)]


def charts_of(
    findings: Findings,
    covered: pd.DataFrame,
    predictors: Sequence[str],
    num_items: int,
    steps: Sequence[Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """Vega-Lite specifications by the id of the element that shows them."""
    names = [label(name) for name in predictors]
    found: dict[str, report_charts.Chart]
    found = {"chart-coverage": report_charts.bars(covered.head(PROPERTIES_CHARTED), num_items)}
    if len(findings.ranks):
        figures = _figures(findings.metrics["link_completion"], predictors)
        found["chart-splits"] = report_charts.dots(figures, names)
        found["chart-properties"] = report_charts.dots(_by_property(findings.ranks, predictors), names)
    if steps and (splits := splits_of(findings.selective)):
        curve = pd.concat([curve_of(findings.selective, split) for split in splits])
        standing = pd.DataFrame(
            [
                {"step": place, "split": split} | dict(measured)
                for place, step in enumerate(steps)
                for split, measured in zip(splits, step["measured"], strict=True)
            ]
        ).dropna()
        found["chart-selective"] = report_charts.selective(curve, standing, start_of(steps))
    for place, split in enumerate(splits_of(findings.reliability)):
        found[f"chart-reliability-{place}"] = report_charts.reliability(curve_of(findings.reliability, split))
    return {name: report_charts.specification(chart) for name, chart in found.items()}


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
        .rename(columns=label)
        .rename_axis("what")
        .reset_index()
    )
    table = means.melt("what", var_name="predictor", value_name="mrr").dropna(ignore_index=True)
    return table.assign(n=table["what"].map(frequent))
