"""The page of a robustness study, Markdown: tables by task, cells won and lost, and our shape beside the paper's.

The paper's figures are those of Zhu et al., ACM MM 2021 (arXiv 2109.00895): classification accuracy, alignment F1, QA
Rank@10, clean and at 100 % of each protocol.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd

from analysis.robustness_figures import SETTINGS, TITLES
from analysis.robustness_grid import CLEAN, PAPER, Kind, Model
from analysis.robustness_results import Results, verdicts

PUBLISHED: dict[str, dict[str, tuple[float, ...]]] = {
    "classify": {
        "K3M": (93.2, 86.9, 89.6, 87.7, 86.4, 88.5, 81.7, 87.2),
        "best with PKG": (92.6, 83.4, 86.4, 84.4, 82.2, 85.9, 78.7, 83.4),
        "ViLBERT": (81.8, 49.0, 73.9, 59.5, 46.4, 73.6, 3.6, 40.8),
    },
    "align": {
        "K3M": (93.2, 86.9, 92.6, 89.1, 86.4, 92.4, 79.7, 83.8),
        "best with PKG": (91.8, 85.3, 91.4, 86.3, 83.4, 90.6, 75.1, 79.7),
        "ViLBERT": (91.4, 83.7, 89.9, 84.4, 80.2, 89.8, 33.3, 68.3),
    },
    "answer": {
        "K3M": (87.2, 76.8, 86.3, 78.9, 76.5, 86.6, 73.7, 75.3),
        "best with PKG": (80.9, 68.9, 79.3, 71.3, 67.4, 80.1, 65.2, 67.3),
        "ViLBERT": (74.6, 38.5, 72.7, 51.2, 39.0, 73.3, 2.1, 27.7),
    },
}
"""The paper's, in percent: clean, then `PAPER`'s protocols at 100 %."""
NOT_RUN = "not run"


def page(results: Results, pictures: Sequence[Path]) -> str:
    """All of it."""
    parts = ["# Robustness\n", _what_was_run(results)]
    for task in results.study.tasks:
        for setting, told in SETTINGS.items():
            rows = results.means[(results.means["task"] == task) & (results.means["setting"] == setting)]
            if (rows["ratio"] > 0).any():
                own = [path for path in pictures if path.name.startswith(f"{task}-{setting}-")]
                parts += [f"## {TITLES[task]}: {told}\n", *map(_picture, own), _figures(results, rows, task)]
    parts += ["## Area under degradation\n", _area(results)]
    if results.study.ours:
        parts += [f"## {results.study.ours} against the others\n", _compared(results)]
    parts += ["## Beside the paper\n", _beside(results)]
    return "\n".join(parts)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _picture(path: Path) -> str:
    return f"![{path.stem}]({path.parent.name}/{path.name})\n"


def _what_was_run(results: Results) -> str:
    study = results.study
    numbers = results.tidy.groupby("task", sort=False)["n"].max().to_dict()
    told = ", ".join(f"{task} {number:,}" for task, number in numbers.items())
    seeds = sorted({cell.seed for cell in study.cells})
    refused = [f"- {model}, {task}: {why}" for (task, model), why in results.refused.items()]
    done = sum(1 for _ in results.done())
    lines = [
        f"{done} of {len(study.cells)} cells are done; seeds {', '.join(map(str, seeds))}; test examples: {told}.",
        "The ratio is of the items of the test examples (train-corrupt: of each part's), exact to one item.",
        *refused,
    ]
    return "\n".join(lines) + "\n"


def _figures(results: Results, rows: pd.DataFrame, task: str) -> str:
    """A row a model: clean, and each protocol at each ratio that was run, the highest alone where these are many."""
    highest = rows.groupby("protocol", sort=False)["ratio"].max()
    columns = [(name, ratio) for name, ratio in highest.items() if ratio > 0]
    value = rows.set_index(["model", "protocol", "ratio"])["value"]
    clean = _clean(results, task)
    lines = [
        [model, clean.get(model, NOT_RUN), *(_shown(value.get((model, *column))) for column in columns)]
        for model in results.study.models
    ]
    return table(["model", CLEAN, *(f"{name} {ratio:.0%}" for name, ratio in columns)], lines)


def _clean(results: Results, task: str) -> dict[str, str]:
    rows = results.means[(results.means["task"] == task) & (results.means["protocol"] == CLEAN)]
    return dict(zip(rows["model"], map(_shown, rows["value"]), strict=True))


def _shown(value: float | None) -> str:
    return NOT_RUN if value is None else f"{value:.3f}".removeprefix("0")


def _area(results: Results) -> str:
    """Means over the protocols; by protocol in area.parquet."""
    if results.area.empty:
        return "No protocol was run at three ratios.\n"
    grouped = results.area.groupby(["task", "setting", "model"], sort=False)[["clean", "area", "lost"]].mean()
    rows = [[*key, *map(_shown, row)] for key, row in zip(grouped.index, grouped.to_numpy(), strict=True)]
    told = "Mean height of the curves over the ratios, and how much lower that is than on clean input.\n\n"
    return told + table(["task", "setting", "model", "clean", "area", "lost"], rows)


def _compared(results: Results) -> str:
    found = verdicts(results.compared)
    rows = [
        [*row[:3], *(str(number) for number in row[3:6]), f"{row[6]:+.3f}"]
        for row in found[["model", "task", "setting", "won", "tied", "lost", "gain"]].itertuples(index=False, name=None)
    ]
    told = (
        "Cells (protocol by ratio, and clean) won, tied and lost: paired bootstrap over groups of examples, Holm's "
        f"correction over all {len(results.compared)} comparisons at 5 %; gain is the mean difference.\n\n"
    )
    return told + table(["against", "task", "setting", "won", "tied", "lost", "gain"], rows)


def _beside(results: Results) -> str:
    told = (
        "Each figure with the share of the clean one that is left at 100 %. The paper's catalogue and sizes are "
        "others: the shape can be compared, the height cannot.\n"
    )
    parts = [told]
    for task in results.study.tasks:
        rows = [
            ["paper", name, *_kept(dict(zip((CLEAN, *PAPER), (v / 100 for v in values), strict=True)))]
            for name, values in PUBLISHED[task].items()
        ]
        for setting in SETTINGS:
            rows += [[setting, name, *_kept(values)] for name, values in _ours(results, task, setting).items()]
        parts += [f"### {TITLES[task]}\n", table(["", "model", CLEAN, *PAPER], rows)]
    return "\n".join(parts)


def _kept(values: dict[str, float]) -> list[str]:
    clean = values.get(CLEAN)
    cells = [_shown(clean)]
    for name in PAPER:
        found = values.get(name)
        share = f" ({found / clean:.0%})" if found is not None and clean else ""
        cells.append(_shown(found) + share)
    return cells


def _ours(results: Results, task: str, setting: str) -> dict[str, dict[str, float]]:
    """Of the rows that the paper has: figures by protocol at 100 %; the best model of a kind is chosen by protocol."""
    means, found = results.means, dict[str, dict[str, float]]()
    own = means[(means["task"] == task) & (means["setting"] == setting) & (means["ratio"] == 1)]
    clean = means[(means["task"] == task) & (means["protocol"] == CLEAN)]
    rows = pd.concat([clean, own], ignore_index=True)
    if own.empty:
        return found
    for name, names in _rows_of(results.study.models.values()).items():
        best = rows[rows["model"].isin(names)].groupby("protocol")["value"].max()
        if len(best):
            found[name] = {str(protocol): float(value) for protocol, value in best.items()}
    return found


def _rows_of(models: Collection[Model]) -> dict[str, list[str]]:
    def of(kind: Kind) -> list[str]:
        return [model.name for model in models if model.kind == kind]

    vilbert = [model.name for model in models if model.model == "vilbert"]
    return {"ours": of("ours"), "best with PKG": of("with PKG"), "ViLBERT": vilbert, "text with PKG": of("text")}
