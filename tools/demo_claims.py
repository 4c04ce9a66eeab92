"""`python tools/demo_claims.py DEMO STORE`: whether a finished demo (`make demo`) shows what it is made to show.

On the kept-back triples of `test`: K3M is within .01 MRR of the tabular floor, or above it, where the title or the
graph tells the answer, and above it where only the picture does; and without a modality, the group that it tells falls
more than the others. Says what does not hold and exits with 1.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

GROUPS = {"title": "title", "graph": "graph", "image": "picture"}
"""The group of kept-back triples that each modality tells."""
CLOSE = 0.01

Mrr = Mapping[str, float]


def broken(whole: Mrr, tabular: Mrr, without: Mapping[str, Mrr]) -> list[str]:
    """What does not hold, in words. Each argument is MRR by group; `without` that of each modality left out."""
    found = []
    for group in GROUPS.values():
        least = tabular[group] if group == "picture" else tabular[group] - CLOSE
        if whole[group] < least:
            found.append(f"{group}: K3M {whole[group]:.3f}, the tabular floor {tabular[group]:.3f}")
    for modality, own in GROUPS.items():
        fall = {group: whole[group] - without[modality][group] for group in GROUPS.values()}
        if max(fall, key=fall.__getitem__) != own:
            shown = ", ".join(f"{group} {by:.3f}" for group, by in fall.items())
            found.append(f"without the {modality}, not {own} falls most: {shown}")
    return found


def groups(report: Path) -> dict[str, dict[str, Any]]:
    metrics = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    return metrics["link_completion"]["test"]["groups"]


def mrr(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    return {group: float(own["mrr"]) for group, own in figures.items()}


def ablated(demo: Path, store: str, modality: str) -> dict[str, float]:
    """The same run evaluated without a modality, its report beside the demo's."""
    command = [sys.executable, "-m", "analysis.complete", "--run", "run", "--store", store, "--evaluate", "test"]
    report = f"report-without-{modality}"
    options = ["--floors", "majority", "--without", modality, "--no-reasons", "--report", report]
    subprocess.run([*command, *options], cwd=demo, check=True)
    return mrr(groups(demo / report))


def main(demo: Path, store: str) -> int:
    whole = groups(demo / "report")
    without = {modality: ablated(demo, store, modality) for modality in GROUPS}
    for modality, figures in without.items():
        print(f"without {modality:<6}", *(f"{group} {value:.3f}" for group, value in figures.items()))
    tabular = mrr({group: own["floors"]["tabular"] for group, own in whole.items()})
    failures = broken(mrr(whole), tabular, without)
    print(*(f"does not hold: {failure}" for failure in failures), sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
