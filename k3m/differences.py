"""What an update made different: proposals that are new, gone or of another value, and metrics before and after.

The proposals before are those of RUN's report, or, where RUN was itself made by an update, those that were left after
it. NEWRUN/update keeps those that are left now, each with the run that proposed it.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from graphstore import Store
from k3m.catalogue_state import CELL, CatalogueState
from k3m.metrics import Metrics

NAME = "differences.json"
PROPOSALS = "proposals.parquet"
_COLUMNS = [*CELL, "value", "score", "run"]
_SHOWN = ("mrr", "hits_at_1", "macro_mrr")
"""Of metrics.json."""


def write(
    run: Path, out: Path, report: Path, before: CatalogueState, after: CatalogueState, store: Store
) -> dict[str, Any]:
    """Compare, write NEWRUN/update/differences.json, differences.parquet and proposals.parquet; the first as it is.

    Args:
        run, out: the run before, and the one that the update made. report: the folder of the former's report.
        store: with what `after` describes.
    """
    folder = out / "update"
    old, own = proposals_of(run, report), best_of(out / "complete", out.resolve().name)
    now = left(old, own, without_value(store, old[CELL], after.items.index))
    now.to_parquet(folder / PROPOSALS, index=False)
    rows = compared(old, now)
    rows[rows["kind"] != "same"].to_parquet(folder / "differences.parquet", index=False)
    kinds = rows["kind"].value_counts()
    found = {
        "from": run.resolve().name,
        "run": out.resolve().name,
        "data_version": {"before": before.data_version, "after": after.data_version},
        "items": {
            "new": len(after.new(before)),
            "changed": len(after.changed(before)),
            "removed": len(before.new(after)),
        },
        "missing": {"before": len(before.missing), "after": len(after.missing), "completed": len(own)},
        "completions": {kind: int(kinds.get(kind, 0)) for kind in ("new", "gone", "changed", "same")},
        "metrics": _metrics(report, out),
    }
    (folder / NAME).write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return found


def proposals_of(run: Path, report: Path) -> pd.DataFrame:
    """item, property, value, score and run: what was proposed before; nothing where there is no report."""
    made_by_update = (run / "update" / PROPOSALS).exists()
    return _kept(run) if made_by_update else best_of(report, run.resolve().name)


def outdated(run: Path, out: Path, report: Path) -> pd.DataFrame:
    """item, property, value and run of the proposals before that are not there any more after the update."""
    columns = [*CELL, "value", "run"]
    before, now = (pd.MultiIndex.from_frame(rows[columns]) for rows in (proposals_of(run, report), _kept(out)))
    return before.difference(now, sort=False).to_frame(index=False, name=columns)


def _kept(run: Path) -> pd.DataFrame:
    return pd.read_parquet(run / "update" / PROPOSALS)


def best_of(report: Path, run: str) -> pd.DataFrame:
    """The best value of each missing cell in a report's folder."""
    path = report / "completions.parquet"
    if not path.exists():
        return pd.DataFrame(columns=_COLUMNS)
    rows = pd.read_parquet(path, columns=[*CELL, "value", "rank", "score", "split"])
    best = rows[(rows["rank"] == 1) & (rows["split"] == "missing")]
    return best.assign(run=run)[_COLUMNS].reset_index(drop=True)


def without_value(store: Store, cells: pd.DataFrame, items: pd.Index) -> pd.DataFrame:
    """Of the cells (item, property) those of `items`, which the store has, that have no value in any split; they need
    not be asked any more: what somebody was shown stays until it is answered."""
    there = cells[cells["item"].isin(items)]
    ords = store.item_ords(sorted(set(there["item"])))
    had = store.triples_of(ords, (None, *store.counts().splits)).select(CELL).to_pandas()
    return there[~pd.MultiIndex.from_frame(there).isin(pd.MultiIndex.from_frame(had))]


def left(old: pd.DataFrame, own: pd.DataFrame, unanswered: pd.DataFrame) -> pd.DataFrame:
    """The proposals now: `own`, and of `old` those of cells that are still without a value (`unanswered`) and that
    `own` does not answer."""
    cells = pd.MultiIndex.from_frame(old[CELL])
    stays = cells.isin(pd.MultiIndex.from_frame(unanswered[CELL])) & ~cells.isin(pd.MultiIndex.from_frame(own[CELL]))
    parts = [part for part in (old[stays], own) if len(part)]
    found = pd.concat(parts) if parts else own
    return found.sort_values(CELL, ignore_index=True)


def compared(old: pd.DataFrame, now: pd.DataFrame) -> pd.DataFrame:
    """item, property, before, after and kind (new, gone, changed, same), a row a cell; a missing value is None."""
    sides = (rows[[*CELL, "value"]].rename(columns={"value": name}) for rows, name in ((old, "before"), (now, "after")))
    rows = next(sides).merge(next(sides), on=CELL, how="outer").astype(object)
    kind = pd.Series("changed", index=rows.index).mask(rows["before"] == rows["after"], "same")
    kind = kind.mask(rows["before"].isna(), "new").mask(rows["after"].isna(), "gone")
    return rows.where(rows.notna(), None).assign(kind=kind)


def _metrics(report: Path, out: Path) -> dict[str, Any]:
    """By split and name, before and after. Of `valid`, both on the data as they are now: RUN's weights, and those that
    were kept; of the others as the reports have them."""
    validated = Metrics(out).validated()
    found: dict[str, Any] = {}
    if validated:
        best = max(line["valid_mrr"] for line in validated)
        first = validated[0]  # RUN's weights, but where the run followed an ingest
        found["valid"] = {"mrr": {"before": None if first["step"] else first["valid_mrr"], "after": best}}
    before, after = (_link_completion(folder) for folder in (report, out / "complete"))
    for split in after:
        sides = {"before": before.get(split, {}), "after": after[split]}
        found[split] = {name: {side: held.get(name) for side, held in sides.items()} for name in _SHOWN}
    return found


def _link_completion(folder: Path) -> dict[str, Any]:
    path = folder / "metrics.json"
    return json.loads(path.read_text(encoding="utf-8"))["link_completion"] if path.exists() else {}


def table(found: dict[str, Any]) -> str:
    """The same for people."""
    lines = [f"{'':<26}{'before':>12}{'after':>12}"]
    lines += [_line(name, **found[part]) for name, part in (("data version", "data_version"), ("missing", "missing"))]
    for split, figures in found["metrics"].items():
        lines += [_line(f"{split}: {name}", **sides) for name, sides in figures.items()]
    lines.append("")
    counts = {f"items {name}": number for name, number in found["items"].items()}
    counts |= {"completed by this run": found["missing"]["completed"]}
    counts |= {f"proposals {name}": number for name, number in found["completions"].items()}
    return "\n".join(lines + [f"{name:<26}{number:>12,}" for name, number in counts.items()])


def _line(name: str, before: float | None, after: float | None, **_: Any) -> str:
    return f"{name:<26}{_figure(before):>12}{_figure(after):>12}"


def _figure(number: float | None) -> str:
    return "-" if number is None else f"{number:.4f}" if isinstance(number, float) else f"{number:,}"
