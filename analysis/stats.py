"""`k3m stats STORE [--picture FILE]`: how large a catalogue is, how complete, and how its triples are spread.

Coverage and spread are those of training triples, which is what a model can learn from; kept-back ones are counted by
split. The store counts; nothing here is as long as the catalogue but the list of distinct property-value pairs.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import altair as alt
import numpy as np
import pandas as pd
import tyro
from tyro.conf import Positional, arg

import graphstore
from graphstore import Counts, Store

PROPERTIES_CHARTED = 25
SINGLE_BINS = 15
"""Up to here, bars of a distribution are of one number each; where there are larger ones, of powers of two."""
KNOWN, OTHER = "#0072b2", "#b3b3b3"  # Okabe-Ito's blue, and a grey that no colour blindness takes for it
WIDTH = 300
_BARS = ["what", "number", "kind"]


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Print how large a catalogue is, how complete, and how its triples are spread."""

    store: Annotated[Positional[str], arg(metavar="STORE")]
    """A Ladybug file, a snapshot folder, a mapping (MAP.toml) of another graph, or neo4j://user@host:port/database
    (password: K3M_NEO4J_PASSWORD)."""
    picture: Path | None = None
    """A file for the same as one picture, .svg or .png."""

    def __post_init__(self) -> None:
        if self.picture is not None and self.picture.suffix not in (".svg", ".png"):
            raise ValueError(f"--picture takes a file that ends in .svg or .png (got {self.picture})")


@dataclass(frozen=True, kw_only=True)
class Stats:
    """What a store holds."""

    location: str
    counts: Counts
    uncategorised: int
    """Items without a category."""
    properties: pd.DataFrame
    """property, items that have it, coverage (their share of all items) and distinct values; most covered first."""
    degrees: pd.DataFrame
    """size, number: how many items have so many triples."""
    sharing: pd.DataFrame
    """size, number: how many values, each of one property, so many items have."""


def stats(store: Store) -> Stats:
    """Counted by the store."""
    counts, categories, pairs = store.counts(), store.category_counts().to_pandas(), store.value_counts().to_pandas()
    return Stats(
        location=store.location,
        counts=counts,
        uncategorised=int(categories.loc[categories["category"].isna(), "items"].sum()),
        properties=_properties(store, pairs, counts.items),
        degrees=_distribution(store.degree_counts().to_pandas().set_index("triples")["items"]),
        sharing=_distribution(pairs["triples"].value_counts()),
    )


def _properties(store: Store, pairs: pd.DataFrame, num_items: int) -> pd.DataFrame:
    cells = store.property_counts().to_pandas()
    found = pd.DataFrame(
        {"items": cells.groupby("property")["items"].sum(), "values": pairs.groupby("property").size()},
        index=pd.Index(store.property_names(), name="property", dtype=object),
    )
    found = found.fillna(0).astype(np.int64).reset_index()
    found.insert(2, "coverage", found["items"] / max(1, num_items))
    return found.sort_values(["items", "property"], ascending=[False, True], ignore_index=True)


def _distribution(number_by_size: pd.Series) -> pd.DataFrame:
    return number_by_size.sort_index().rename("number").rename_axis("size").reset_index().astype(np.int64)


# On the terminal


def text(found: Stats) -> str:
    """Two tables and two lines between them."""
    counts, items = found.counts, found.counts.items
    without = {"title": items - counts.titles, "image": items - counts.images, "category": found.uncategorised}
    lines = [
        ("items", f"{items:,}"),
        *((f"  without {name}", f"{number:,}{_share(number, items)}") for name, number in without.items()),
        ("triples", f"{counts.triples:,}"),
        *((f"  {name}", f"{number:,}{_share(number, counts.triples)}") for name, number in splits(counts).items()),
        ("properties", f"{counts.properties:,}"),
        ("values", f"{counts.values:,}"),
        ("triples per item", summary(found.degrees)),
        ("items per value", summary(found.sharing)),
    ]
    shown = found.properties.assign(coverage=found.properties["coverage"].map("{:.1%}".format))
    formats = {"items": "{:,}".format, "values": "{:,}".format}
    rows = shown.to_string(index=False, formatters=formats) if len(shown) else ""
    return "\n".join([found.location, *(f"{name:<20}{value}" for name, value in lines), "", rows])


def splits(counts: Counts) -> dict[str, int]:
    """Triples by split, training first."""
    return {"training": counts.training_triples} | {f"kept back: {name}": n for name, n in counts.splits.items()}


def summary(distribution: pd.DataFrame) -> str:
    size, number = distribution["size"].to_numpy(), distribution["number"].to_numpy()
    if not number.sum():
        return "none"
    median = size[np.searchsorted(np.cumsum(number), number.sum() / 2)]
    return f"median {median:,}, mean {np.average(size, weights=number):,.1f}, largest {size.max():,}"


def _share(part: int, whole: int) -> str:
    return f"  ({part / whole:.1%})" if part and whole else ""


# As a picture


def picture(found: Stats) -> alt.HConcatChart:
    """Coverage on the left; what is missing, the splits and the two distributions on the right."""
    items = found.counts.items
    right = alt.vconcat(
        _bars(_fields(found), "Items", items),
        _bars(_splits(found.counts), "Triples", found.counts.triples),
        _columns(binned(found.degrees), "Triples per item", "items"),
        _columns(binned(found.sharing), "Items per value (of one property)", "values"),
        spacing=24,
    )
    shown = found.properties.head(PROPERTIES_CHARTED)
    more = (
        "" if len(shown) == len(found.properties) else f", the {len(shown)} most covered of {len(found.properties):,}"
    )
    coverage = shown.rename(columns={"property": "what", "items": "number"})[["what", "number"]].assign(kind="known")
    left = _bars(coverage, f"Items that have a property{more}", items)
    joined = alt.hconcat(left, right, spacing=48, title=_heading(found))
    return joined.configure_axis(labelFontSize=12, titleFontSize=12).configure_view(stroke=None)


def _heading(found: Stats) -> alt.TitleParams:
    counts, location = found.counts, found.location
    parts = {"items": counts.items, "triples": counts.triples, "properties": counts.properties, "values": counts.values}
    held = ", ".join(f"{number:,} {name}" for name, number in parts.items())
    return alt.Title(
        location if graphstore.is_server(location) else Path(location).name,
        subtitle=f"{held}; coverage and distributions of training triples",
        anchor="start",
        offset=16,
    )


def _fields(found: Stats) -> pd.DataFrame:
    counts = found.counts
    there = {"title": counts.titles, "image": counts.images, "category": counts.items - found.uncategorised}
    return pd.DataFrame([(f"with {name}", number, "known") for name, number in there.items()], columns=_BARS)


def _splits(counts: Counts) -> pd.DataFrame:
    """Training in one colour, what is kept back in the other."""
    kinds = ["known", *("other" for _ in counts.splits)]
    rows = zip(splits(counts).keys(), splits(counts).values(), kinds, strict=True)
    return pd.DataFrame(list(rows), columns=_BARS)


def _bars(rows: pd.DataFrame, title: str, whole: int) -> alt.LayerChart:
    """A bar a row, with its share of the whole behind it."""
    rows = rows.assign(share=rows["number"] / max(1, whole))
    rows = rows.assign(label=[f"{row.share:.1%}  ({row.number:,})" for row in rows.itertuples()])
    base = alt.Chart(rows, width=WIDTH, height=alt.Step(22), title=_title(title))
    base = base.encode(
        x=alt.X("share:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", tickCount=5)),
        y=alt.Y("what:N", title=None, sort=rows["what"].tolist(), axis=alt.Axis(labelLimit=180)),
    )
    colour = alt.Color("kind:N", scale=alt.Scale(domain=["known", "other"], range=[KNOWN, OTHER]), legend=None)
    # The label stands in the bar where the bar is long, so that it never leaves the picture.
    inside, outside = "datum.share > 0.6", "datum.share <= 0.6"
    within = base.mark_text(align="right", dx=-5, color="white").transform_filter(inside)
    behind = base.mark_text(align="left", dx=5).transform_filter(outside)
    return base.mark_bar().encode(color=colour) + within.encode(text="label:N") + behind.encode(text="label:N")


def _columns(bins: pd.DataFrame, title: str, of: str) -> alt.LayerChart:
    angle = -40 if bins["size"].str.contains("–").any() else 0
    base = alt.Chart(bins, width=WIDTH, height=130, title=_title(title)).encode(
        x=alt.X("size:N", title=None, sort=bins["size"].tolist(), axis=alt.Axis(labelAngle=angle)),
        y=alt.Y("number:Q", title=of, axis=alt.Axis(format=",d", tickCount=4)),
    )
    numbers = base.mark_text(dy=-6, fontSize=9).encode(text=alt.Text("number:Q", format=".3~s"))
    return base.mark_bar(color=KNOWN) + numbers


def _title(text: str) -> alt.TitleParams:
    return alt.Title(text, anchor="start", frame="group")


def binned(distribution: pd.DataFrame) -> pd.DataFrame:
    """size (as a label) and number: bars of ascending sizes, those between the first and the last of none, too."""
    sizes = distribution["size"].to_numpy()
    if not len(sizes):
        return pd.DataFrame({"size": pd.Series(dtype=str), "number": pd.Series(dtype=np.int64)})
    largest = int(sizes.max())
    powers = [0, *(2**power for power in range(largest.bit_length() + 1))]
    last = list(range(largest + 1)) if largest <= SINGLE_BINS else powers
    place = np.searchsorted(last, sizes)
    number = np.bincount(place, distribution["number"]).astype(np.int64)
    shown = range(place.min(), place.max() + 1)
    return pd.DataFrame({"size": [_label(last, bar) for bar in shown], "number": number[shown]})


def _label(last: Sequence[int], bar: int) -> str:
    """The sizes of a bar that ends with `last[bar]`."""
    first = last[bar - 1] + 1 if bar else 0
    return f"{first:,}" if first == last[bar] else f"{first:,}–{last[bar]:,}"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module."""
    arguments = tyro.cli(Arguments, args=argv, prog="k3m stats")
    with graphstore.open(arguments.store) as store:
        found = stats(store)
    print(text(found))
    if arguments.picture is not None:
        picture(found).save(arguments.picture, scale_factor=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
