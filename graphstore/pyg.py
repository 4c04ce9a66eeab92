"""A PyG `FeatureStore` and `GraphStore` over any `Store`, so that PyG's loaders take (StoreFeatures, StoreGraph) as
their data.

Texts and image bytes are numpy arrays of objects, None where missing: encoding them is the model's work. Indices are
the store's ordinals; an unknown one is an error (never a shorter answer), and the order asked for is the order given.
Read-only.
"""

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import EdgeAttr, FeatureStore, GraphStore, TensorAttr
from torch_geometric.data.graph_store import EdgeLayout

from graphstore.errors import ReadOnlyStore
from graphstore.store import Store
from graphstore.tables import Ints

HAS = ("item", "has", "value")
REVERSE = ("value", "rev_has", "item")


class StoreFeatures(FeatureStore):
    """("item", field) for the fields named, where "image" gives the image's bytes, and ("value", "text")."""

    def __init__(self, store: Store, fields: Sequence[str] = ("title", "image")) -> None:
        super().__init__()
        self.store, self.fields = store, tuple(fields)

    def get_all_tensor_attrs(self) -> list[TensorAttr]:
        return [*(TensorAttr("item", field) for field in self.fields), TensorAttr("value", "text")]

    def _multi_get_tensor(self, attrs: list[TensorAttr]) -> list[NDArray[np.object_]]:
        """All item fields of one index come by one query."""
        items = [attr for attr in attrs if attr.group_name == "item"]
        same = all(attr.index is items[0].index for attr in items)
        if not items or not same:
            return [self._get_tensor(attr) for attr in attrs]
        columns = self._item_columns(items[0], [attr.attr_name for attr in items])
        return [columns[attr.attr_name] if attr.group_name == "item" else self._get_tensor(attr) for attr in attrs]

    def _get_tensor(self, attr: TensorAttr) -> NDArray[np.object_]:
        if attr.group_name == "item":
            return self._item_columns(attr, [attr.attr_name])[attr.attr_name]
        if (attr.group_name, attr.attr_name) == ("value", "text"):
            return self.store.value_texts(self._ordinals(attr))
        raise KeyError(f"no feature {attr.group_name}.{attr.attr_name} (item fields and value.text)")

    def _item_columns(self, attr: TensorAttr, names: list[str]) -> dict[str, NDArray[np.object_]]:
        columns = self.store.item_features(self._ordinals(attr), names)
        if "image" in columns:
            keys = columns["image"]
            columns["image"] = np.empty(len(keys), dtype=object)
            columns["image"][:] = [None if key is None else self.store.images.get(key) for key in keys]
        return columns

    def _ordinals(self, attr: TensorAttr) -> Ints:
        """An index of PyG's: a tensor of ordinals, a slice, or None for all."""
        if attr.index is None or isinstance(attr.index, slice):
            return np.arange(*self._get_tensor_size(attr))[attr.index or slice(None)]
        index = np.asarray(attr.index)
        if len(index) and not np.issubdtype(index.dtype, np.integer):
            raise TypeError(
                f"{attr.group_name}.{attr.attr_name} is asked for by ordinals (got an index of {index.dtype})"
            )
        return index.astype(np.int64)

    def _get_tensor_size(self, attr: TensorAttr) -> tuple[int, ...]:
        return (self.store.num_items if attr.group_name == "item" else self.store.num_values,)

    def _put_tensor(self, tensor: Any, attr: TensorAttr) -> NoReturn:
        raise ReadOnlyStore("features are changed by an ingest")

    def _remove_tensor(self, attr: TensorAttr) -> NoReturn:
        raise ReadOnlyStore("features are changed by an ingest")


class StoreGraph(GraphStore):
    """The training triples as edges ("item", "has", "value") and reversed, ordered by edge id."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store

    def get_all_edge_attrs(self) -> list[EdgeAttr]:
        size = (self.store.num_items, self.store.num_values)
        return [
            EdgeAttr(HAS, EdgeLayout.COO, is_sorted=False, size=size),
            EdgeAttr(REVERSE, EdgeLayout.COO, is_sorted=False, size=size[::-1]),
        ]

    def _get_edge_index(self, edge_attr: EdgeAttr) -> tuple[Tensor, Tensor] | None:
        """(row, col) of COO, (row pointer, col) of CSR, (row, column pointer) of CSC."""
        if edge_attr.edge_type not in (HAS, REVERSE):
            return None
        reverse, layout = edge_attr.edge_type == REVERSE, edge_attr.layout
        if reverse and layout != EdgeLayout.COO:
            layout = EdgeLayout.CSC if layout == EdgeLayout.CSR else EdgeLayout.CSR
        first, second = self._edge_index(layout)
        return (second, first) if reverse else (first, second)

    def _edge_index(self, layout: EdgeLayout) -> tuple[Tensor, Tensor]:
        """Of HAS; reversed, the rows are the columns and CSR is CSC."""
        found = self.store.neighbours(np.arange(self.store.num_items))
        item = np.repeat(np.arange(len(found.indptr) - 1), np.diff(found.indptr))
        if layout == EdgeLayout.COO:
            return torch.from_numpy(item), torch.from_numpy(found.value)
        if layout == EdgeLayout.CSR:
            return torch.from_numpy(found.indptr), torch.from_numpy(found.value)
        by_value = np.argsort(found.value, kind="stable")
        pointer = np.searchsorted(found.value[by_value], np.arange(self.store.num_values + 1))
        return torch.from_numpy(item[by_value]), torch.from_numpy(pointer)

    def _put_edge_index(self, edge_index: Any, edge_attr: EdgeAttr) -> NoReturn:
        raise ReadOnlyStore("edges are changed by an ingest")

    def _remove_edge_index(self, edge_attr: EdgeAttr) -> NoReturn:
        raise ReadOnlyStore("edges are changed by an ingest")
