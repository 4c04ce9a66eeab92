"""The cells of a catalogue that are completed, and completions.parquet.

A cell is an item's property. It is missing where the item has no triple of the property in any split and the property
applies to the item with a given probability at least (`k3m.applicability`).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from graphstore import Store
from k3m.applicability import THRESHOLD, Applicability
from k3m.candidates import Candidates
from k3m.completion import Probabilities, best_values
from k3m.ranks import Predictor

COMPLETIONS = pa.schema(
    [
        ("item", pa.string()),
        ("property", pa.string()),
        ("value", pa.string()),
        ("rank", pa.int32()),
        ("score", pa.float64()),
        ("split", pa.string()),
        ("confidence", pa.float64()),
        ("applies", pa.float64()),
    ]
)


def cells_of(
    store: Store, triples: pd.DataFrame, splits: Sequence[str], threshold: float = THRESHOLD
) -> dict[str, pd.DataFrame]:
    """The cells (item, property) to complete: of each split, then the missing ones, those with `applies`, the
    probability that the property applies to the item, `threshold` at least."""
    kept_back = {split: triples.loc[triples["split"] == split, ["item", "property"]] for split in splits}
    items = store.items(("category",)).to_pandas()
    missing = Applicability.from_store(store).missing(items, triples, threshold)
    return {split: cells.drop_duplicates() for split, cells in kept_back.items()} | {"missing": missing}


def of_those(cells: Mapping[str, pd.DataFrame], file: Path | None) -> dict[str, pd.DataFrame]:
    """Of the missing cells those that the file names; all without one."""
    if file is None:
        return dict(cells)
    named = pd.read_parquet(file, columns=["item", "property"]).drop_duplicates()
    return {**cells, "missing": cells["missing"].merge(named, on=["item", "property"])}


def completions(
    predictor: Predictor,
    cells: Mapping[str, pd.DataFrame],
    training: pd.DataFrame,
    candidates: Candidates,
    top: int,
    probabilities: Probabilities | None,
) -> Iterator[pd.DataFrame]:
    """completions.parquet property by property, since a large catalogue has millions of rows."""
    known = dict(iter(training.groupby("property")))
    with tqdm(total=sum(map(len, cells.values())), desc="cells", unit="cell") as bar:
        for split, of_split in cells.items():
            for property, of_property in of_split.groupby("property"):
                had = known.get(property, training.iloc[:0])
                best = best_values(predictor, of_property, had, candidates, top, probabilities)
                yield best.assign(split=split).reindex(columns=COMPLETIONS.names)  # NaN for what is not known
                bar.update(len(of_property))


def write_completions(parts: Iterator[pd.DataFrame], path: Path) -> pd.DataFrame:
    """Write all parts; returns the best proposal of each missing cell."""
    best = []
    with pq.ParquetWriter(path, COMPLETIONS) as writer:
        for part in parts:
            writer.write_table(pa.Table.from_pandas(part, COMPLETIONS, preserve_index=False))
            best.append(part[(part["rank"] == 1) & (part["split"] == "missing")])
    return pd.concat(best, ignore_index=True) if best else COMPLETIONS.empty_table().to_pandas()
