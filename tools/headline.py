"""`python tools/headline.py REPORT`: the headline figures of a link-completion report, and where it lies."""

import json
import sys
from pathlib import Path
from typing import Any

FLOORS = ("majority", "tabular", "visual")


def rows(metrics: dict[str, Any]) -> list[tuple[str, ...]]:
    """A header; a row a split; below a split with groups a row for each: MRR and Hits@1 of K3M, MRR of the floors."""
    table: list[tuple[str, ...]] = [("", "n", "MRR", "Hits@1", *FLOORS)]
    for split, figures in metrics["link_completion"].items():
        table.append(row(split, figures))
        table.extend(row(f"  {name}", group) for name, group in figures.get("groups", {}).items())
    return table


def row(name: str, figures: dict[str, Any]) -> tuple[str, ...]:
    floors = (figures["floors"].get(floor) for floor in FLOORS)
    own = (name, str(figures["n"]), f"{figures['mrr']:.3f}", f"{figures['hits_at_1']:.3f}")
    return (*own, *(f"{floor['mrr']:.3f}" if floor else "-" for floor in floors))


def main(report: Path) -> None:
    metrics = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    print("\nLink completion (K3M, then the MRR of the floors)")
    for first, *others in rows(metrics):
        print(f"{first:<10}" + "".join(f"{cell:>10}" for cell in others))
    print(f"\nReport: {(report / 'index.html').resolve()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
