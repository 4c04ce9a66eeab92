"""A store read through another: a subclass changes what is answered, and the store behind stays as it is. Read-only."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from graphstore.errors import ReadOnlyStore
from graphstore.read_only import ReadOnly
from graphstore.store import Counts, Edges, Neighbours, Store
from graphstore.tables import Ints


class StoreView(ReadOnly):
    """`source`, unchanged. A subclass overrides the hooks (`_neighbours`, `_item_features`, ...) and `__reduce__` where
    it is made of more than a source; where it changes the photographs, `images` too."""

    def __init__(self, source: Store) -> None:
        super().__init__(source.location)
        self.source, self.images, self.live = source, source.images, source.live
        self.split_manifest = source.split_manifest

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.source,)

    def close(self) -> None:
        """The source is not this one's to close."""

    def changed(self) -> bool:
        return self.source.changed()

    def catch_up(self) -> None:
        self.source.catch_up()

    @property
    def data_version(self) -> int:
        return self.source.data_version

    def counts(self) -> Counts:
        return self.source.counts()

    def property_names(self) -> list[str]:
        return self.source.property_names()

    def property_groups(self) -> dict[str, str]:
        return self.source.property_groups()

    def item_fields(self) -> tuple[str, ...]:
        return self.source.item_fields()

    def items(self, fields: Sequence[str] = ()) -> pa.Table:
        return self.source.items(fields)

    def _item_ords(self, ids: Sequence[str]) -> dict[str, int]:
        return self.source._item_ords(ids)

    def _item_digests(self, ords: Ints) -> NDArray[np.uint64]:
        return self.source._item_digests(ords)

    def _neighbours(self, ords: Ints) -> Neighbours:
        return self.source._neighbours(ords)

    def _value_degrees(self, ords: Ints, most: int) -> Ints:
        return self.source._value_degrees(ords, most)

    def _value_edges(self, values: Ints, positions: Ints, without: Edges) -> Edges:
        return self.source._value_edges(values, positions, without)

    def _item_features(self, ords: Ints, fields: Sequence[str]) -> dict[str, NDArray[np.object_]]:
        return self.source._item_features(ords, fields)

    def _value_texts(self, ords: Ints) -> dict[int, str]:
        return self.source._value_texts(ords)

    def _triples(self, splits: Collection[str | None]) -> pa.Table:
        return self.source._triples(splits)

    def _triples_of(self, ords: Ints, splits: Collection[str | None]) -> pa.Table:
        return self.source._triples_of(ords, splits)

    def _rejections(self) -> pa.Table:
        return self.source._rejections()

    def _similar(self, item: str, k: int) -> pd.DataFrame:
        return self.source._similar(item, k)

    def _query(self, cypher: str, parameters: Mapping[str, Any]) -> pd.DataFrame:
        return self.source._query(cypher, parameters)

    def _refuse_write(self) -> NoReturn:
        raise ReadOnlyStore(f"{self.location} is read through a view: write to the store itself")
