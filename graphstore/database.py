"""What the two Cypher databases share: one schema, one ingest, and the queries that both understand.

A subclass gives `_rows` (a Cypher template and parameters to an Arrow table) and the bulk writes. Field names of
items cannot be parameters in Cypher; ingest lets identifiers through only, and they are quoted.
"""

import json
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from graphstore import changes, tables
from graphstore.changes import Changes, Numbered
from graphstore.errors import IngestUnderWay, ReadOnlyStore, SchemaError, StoreError
from graphstore.lists import passing_over
from graphstore.predictions import AppliedReport, completed
from graphstore.store import TRAINING, Counts, Edges, IngestReport, Neighbours
from graphstore.tables import KEY, Ints
from graphstore.written_back import WrittenBackStore

Batch = tuple[list[str], list[Any]]
"""Names of columns, and rows."""
STATE = ("data_version", "ingest")
"""Keys of the metadata that every ingest changes."""
NEIGHBOURS = (
    "MATCH (i:Item)-[h:HAS]->(v:Value) WHERE i.ord IN $ords AND h.split IS NULL "
    "RETURN i.ord AS item, i.first AS first, h.property AS property, coalesce(v.ord, -1) AS value"
)
VALUE_DEGREES = (
    "MATCH (v:Value) WHERE v.ord IN $ords "
    "RETURN v.ord AS ord, COUNT { MATCH (v)<-[h:HAS]-() WHERE h.split IS NULL } AS degree"
)
LISTS = (
    "MATCH (v:Value)<-[h:HAS]-(i:Item) WHERE v.ord IN $ords AND h.split IS NULL "
    "RETURN v.ord AS value, i.ord AS item, h.property AS property"
)
TRIPLES = (
    "MATCH (i:Item)-[h:HAS]->(v:Value) WHERE {of} AND (h.split IN $splits OR ($training AND h.split IS NULL)) "
    "RETURN i.id AS item, v.text AS value, " + ", ".join(f"h.{name} AS {name}" for name in tables.HAS_COLUMNS)
)
# Ladybug looks a long list through for every node; not where relationships follow, which it then reads all of.
EACH_ITEM = "UNWIND $ords AS asked MATCH (i:Item) WHERE i.ord = asked"
COUNTS = "MATCH (i:Item) RETURN count(*) AS items, count(i.title) AS titles, count(i.image) AS images"
KEYS = {"Item": "id", "Value": "text", "Property": "name"}
BASE_FIELDS = dict.fromkeys(("id", *tables.ITEM_FIELDS), "STRING")
SPLITS = "MATCH ()-[h:HAS]->() RETURN h.split AS split, count(*) AS triples"
VALUE_COUNTS = (
    "MATCH (v:Value)<-[h:HAS]-() WHERE h.split IS NULL "
    "RETURN h.property AS property, v.text AS value, count(*) AS triples"
)
PROPERTY_COUNTS = (
    "MATCH (i:Item)-[h:HAS]->() WHERE {of} AND h.split IS NULL "
    "WITH DISTINCT i, h.property AS property RETURN i.category AS category, property, count(*) AS items"
)
DEGREE_COUNTS = (
    "MATCH (i:Item) WHERE {of} OPTIONAL MATCH (i)-[h:HAS]->() WHERE h.split IS NULL "
    "WITH i, count(h.property) AS triples RETURN triples, count(*) AS items"
)
CATEGORY_COUNTS = "MATCH (i:Item) RETURN i.category AS category, count(*) AS items"


class DatabaseStore(WrittenBackStore):
    """A store in a database with Cypher."""

    # Asked for with every batch, all of one state of the data; a write through this handle forgets them.
    _cached_state: list[str] | None = None
    _cached_names: list[str] | None = None
    _cached_items: int | None = None
    _cached_fields: dict[str, str] | None = None
    _cached_degrees: tuple[int, NDArray[np.int32]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Who unpickles this asks of the same state: ordinals go to and fro between a worker process and this one.
        return *super().__reduce__(), {"_cached_state": self._cached_state}

    def _forget(self) -> None:
        self._cached_state = self._cached_names = self._cached_items = self._cached_fields = None
        self._cached_degrees = None

    # What is read

    @property
    def data_version(self) -> int:
        return int(self._metadata().get("data_version", 0))

    @property
    def num_items(self) -> int:
        if self._cached_items is None:
            self._state()
            self._cached_items = self._number_of("Item")
        return self._cached_items

    @property
    def num_values(self) -> int:
        """Of those that triples have; a value may stand there for a completion alone."""
        return int(self._rows("MATCH (v:Value) WHERE v.ord IS NOT NULL RETURN count(*) AS n")["n"][0].as_py())

    def _state(self) -> list[str]:
        """What the metadata said when this handle first asked.

        Raises:
            IngestUnderWay: half of an ingest is no catalogue.
        """
        if self._cached_state is None:
            state = self._state_now()
            if "unfinished" in state:
                raise IngestUnderWay(
                    f"{self.location}: an ingest is under way or was cut off; the same ingest again completes it"
                )
            self._cached_state = state
        return self._cached_state

    def catch_up(self) -> None:
        self._forget()

    def _state_now(self) -> list[str]:
        metadata = self._metadata()
        return [metadata[key] for key in STATE if key in metadata]

    def _require_state(self, now: list[str]) -> None:
        """Nobody locks a server: what was read before and after an ingest would mix."""
        if now != self._state():
            raise StoreError(f"{self.location} was changed by another ingest meanwhile: open the store again")

    @contextmanager
    def _of_one_state(self) -> Iterator[None]:
        """What is read in it is of the state that this handle first met, or an error."""
        self._state()
        yield
        self._require_state(self._state_now())

    def _number_of(self, label: str) -> int:
        return int(self._rows(f"MATCH (n:{label}) RETURN count(*) AS n")["n"][0].as_py())

    def counts(self) -> Counts:
        items = self._rows(COUNTS).to_pylist()[0]
        by_split = {row["split"]: row["triples"] for row in self._rows(SPLITS).to_pylist()}
        return Counts(
            **items,
            values=self.num_values,
            properties=self._number_of("Property"),
            triples=sum(by_split.values()),
            training_triples=by_split.pop(None, 0),
            splits=dict(sorted(by_split.items())),
        )

    def _value_texts(self, ords: Ints) -> dict[int, str]:
        query = "UNWIND $ords AS asked MATCH (v:Value) WHERE v.ord = asked RETURN v.ord AS ord, v.text AS text"
        rows = self._rows(query, ords=ords.tolist())
        return dict(zip(rows["ord"].to_pylist(), rows["text"].to_pylist(), strict=True))

    def property_names(self) -> list[str]:
        if self._cached_names is None:
            self._state()
            rows = self._rows("MATCH (p:Property) RETURN p.name AS name ORDER BY p.ord")
            self._cached_names = rows["name"].to_pylist()
        return self._cached_names

    def property_groups(self) -> dict[str, str]:
        rows = self._rows("MATCH (p:Property) WHERE p.`group` IS NOT NULL RETURN p.name AS name, p.`group` AS grp")
        return dict(zip(rows["name"].to_pylist(), rows["grp"].to_pylist(), strict=True))

    def item_fields(self) -> tuple[str, ...]:
        return tuple(name for name in self._fields() if name != "id")

    def triples(self, splits: Collection[str | None] = TRAINING) -> pa.Table:
        with self._of_one_state():
            return super().triples(splits)

    def triples_of(self, items: ArrayLike, splits: Collection[str | None] = TRAINING) -> pa.Table:
        with self._of_one_state():
            return super().triples_of(items, splits)

    def value_counts(self) -> pa.Table:
        with self._of_one_state():
            return tables.summed([self._rows(VALUE_COUNTS)], tables.VALUE_COUNTS)

    def property_counts(self) -> pa.Table:
        with self._of_one_state():
            return super().property_counts()

    def degree_counts(self) -> pa.Table:
        with self._of_one_state():
            return super().degree_counts()

    def category_counts(self) -> pa.Table:
        with self._of_one_state():
            return tables.summed([self._rows(CATEGORY_COUNTS)], tables.CATEGORY_COUNTS)

    def items(self, fields: Sequence[str] = ()) -> pa.Table:
        fields = tuple(dict.fromkeys(fields))
        rows = self._rows(f"MATCH (i:Item) RETURN i.id AS id, i.ord AS ord{self._returned(fields)}")
        return self._typed(rows.sort_by("ord").drop_columns(["ord"]), fields)

    def _triples(self, splits: Collection[str | None]) -> pa.Table:
        rows = self._rows(TRIPLES.format(of="true"), **_named(splits))
        return rows.select(list(tables.TRIPLE_COLUMNS))

    def _triples_of(self, ords: Ints, splits: Collection[str | None]) -> pa.Table:
        of, chosen = _items(ords)
        rows = self._rows(TRIPLES.format(of=of), **_named(splits), **chosen)
        return rows.select(list(tables.TRIPLE_COLUMNS))

    def _property_counts(self, ords: Ints) -> pa.Table:
        of, chosen = _items(ords)
        return self._rows(PROPERTY_COUNTS.format(of=of), **chosen)

    def _degree_counts(self, ords: Ints) -> pa.Table:
        of, chosen = _items(ords)
        return self._rows(DEGREE_COUNTS.format(of=of), **chosen)

    def _item_ords(self, ids: Sequence[str]) -> dict[str, int]:
        query = "UNWIND $ids AS asked MATCH (i:Item {id: asked}) RETURN i.id AS id, i.ord AS ord"
        rows = self._rows(query, ids=list(ids))
        return dict(zip(rows["id"].to_pylist(), rows["ord"].to_pylist(), strict=True))

    def _neighbours(self, ords: Ints) -> Neighbours:
        edges = self._edges(ords)
        item, first, value = (np.asarray(edges[name], dtype=np.int64) for name in ("item", "first", "value"))
        prop = self._property_ords(edges["property"])
        if (value < 0).any():
            raise self._not_numbered("a value has no ordinal")
        order = np.lexsort((value, prop, item))
        item, first, prop, value = item[order], first[order], prop[order], value[order]
        indptr = np.searchsorted(item, np.append(ords, ords[-1] + 1 if len(ords) else 0))
        position = np.arange(len(item)) - np.searchsorted(item, item)
        return Neighbours(indptr, prop, value, first + position)

    def _value_degrees(self, ords: Ints, most: int) -> Ints:
        """Hubs are in every batch and slow to count: four bytes a value keep what was counted."""
        if self._cached_degrees is None or self._cached_degrees[0] != most:
            self._cached_degrees = most, np.full(self.num_values, -1, dtype=np.int32)
        counted = self._cached_degrees[1]
        there = ords[(ords >= 0) & (ords < len(counted))]
        new = there[counted[there] < 0]
        if len(new):
            rows = self._degrees(new, most)
            counted[rows["ord"]] = np.minimum(rows["degree"], most)
        degree = np.full(len(ords), -1)
        degree[np.searchsorted(ords, there)] = counted[there]
        return degree

    def _degrees(self, ords: Ints, most: int) -> dict[str, Any]:
        """Columns ord and degree (where it is above `most`, any number above) of those values that are there."""
        return self._rows(VALUE_DEGREES, ords=ords.tolist()).to_pydict()

    def _value_edges(self, values: Ints, positions: Ints, without: Edges) -> Edges:
        """The lists come whole and the places are chosen here: the way of a database in this process."""
        distinct, of = np.unique(values, return_inverse=True)
        codes, width = self._codes(distinct)
        first = np.searchsorted(codes, np.arange(len(distinct) + 1) * width)
        number = len(self.property_names())
        lacking = of[without.row] * width + without.item * number + without.property
        whole = passing_over(positions, without.row, np.searchsorted(codes, lacking) - first[of[without.row]])
        row, column = np.nonzero(positions >= 0)
        place = first[of[row]] + whole[row, column]
        there = place < first[of[row] + 1]
        item, prop, edge_id = (np.full(len(row), -1) for _ in range(3))
        item[there], prop[there] = np.divmod(codes[place[there]] % width, number)
        edge_id[there] = self._edge_ids(item[there], prop[there], values[row[there]])
        return Edges(row, item, prop, values[row], edge_id)

    def _codes(self, values: Ints) -> tuple[Ints, int]:
        """The training triples of ascending, distinct values as one ascending list of numbers, (place of the value in
        `values`) * width + (item) * (number of properties) + (property); and the width."""
        rows = self._rows(LISTS, ords=values.tolist()).to_pydict()
        value, item = (np.asarray(rows[name], dtype=np.int64) for name in ("value", "item"))
        number = len(self.property_names())
        width = self.num_items * number
        codes = np.searchsorted(values, value) * width + item * number + self._property_ords(rows["property"])
        return np.sort(codes), width

    def _edge_ids(self, item: Ints, prop: Ints, value: Ints) -> Ints:
        """Of these training triples."""
        distinct, row = np.unique(item, return_inverse=True)
        found = self._neighbours(distinct)
        owner = np.repeat(np.arange(len(distinct)), np.diff(found.indptr))
        height, width = len(self.property_names()), int(found.value.max(initial=0)) + 1
        there = (owner * height + found.property) * width + found.value
        return found.edge_id[np.searchsorted(there, (row * height + prop) * width + value)]

    def _property_ords(self, names: list[str]) -> Ints:
        try:
            return tables.positions(
                pa.chunked_array([names], pa.string()), pa.array(self.property_names(), pa.string())
            )
        except ValueError as error:
            raise self._not_numbered(str(error)) from error

    def _refused_write(self) -> ReadOnlyStore:
        return ReadOnlyStore(f"{self.location} was opened to read: writing needs graphstore.open(location, 'w')")

    def _not_numbered(self, reason: str) -> StoreError:
        return StoreError(
            f"{self.location} has triples that this handle has no ordinals of ({reason}): if a query wrote them, "
            "ingest again (empty tables will do); then open the store again"
        )

    def _edges(self, ords: Ints) -> dict[str, Any]:
        """Columns item, first, property (names) and value of the training triples of these items, in any order."""
        return self._rows(NEIGHBOURS, ords=ords.tolist()).to_pydict()

    def _item_features(self, ords: Ints, fields: Sequence[str]) -> dict[str, NDArray[np.object_]]:
        of, chosen = _items(ords)
        match = f"MATCH (i:Item) WHERE {of}" if "first" in chosen else EACH_ITEM
        rows = self._rows(f"{match} RETURN i.ord AS ord{self._returned(fields)}", **chosen).sort_by("ord")
        return {name: tables.objects(rows[f"field_{name}"]) for name in fields}

    def _returned(self, fields: Sequence[str]) -> str:
        unknown = [name for name in fields if name not in self._fields()]
        if unknown:
            raise SchemaError(
                f"{self.location}: no item has the field {', '.join(unknown)} (fields: {', '.join(self._fields())})"
            )
        return "".join(f", i.`{name}` AS `field_{name}`" for name in fields)

    def _typed(self, rows: pa.Table, fields: Sequence[str]) -> pa.Table:
        """Columns `field_x` as x, of the field's own type whatever the rows held."""
        kinds = self._fields()
        columns = {name: rows[f"field_{name}"].cast(changes.TYPES[kinds[name]]) for name in fields}
        return pa.table({"id": rows["id"].cast(pa.string())} | columns)

    def _fields(self) -> dict[str, str]:
        """Names and types of the items' columns, id first."""
        if self._cached_fields is None:
            named = self._metadata().get("item_fields")
            self._cached_fields = json.loads(named) if named else BASE_FIELDS
        return self._cached_fields or BASE_FIELDS

    def _metadata(self) -> dict[str, str]:
        rows = self._rows("MATCH (m:Metadata) RETURN m.key AS key, m.value AS value")
        return dict(zip(rows["key"].to_pylist(), rows["value"].to_pylist(), strict=True))

    # What is written

    def _ingest(self, items: pa.Table, triples: pa.Table, properties: pa.Table | None, prune: bool) -> IngestReport:
        known = self._fields()
        items = changes.checked_types(items, known)
        fields = known | changes.kinds(items)
        self._declare({name: kind for name, kind in fields.items() if name not in known})
        old_items, old_triples = self._old_items(items, known), self._triples((None, *self.counts().splits))
        triples = changes.completed(triples, old_triples, KEY)
        item_changes = changes.difference(items, old_items, ("id",), prune)
        triple_changes = changes.triple_difference(triples, old_triples, prune)
        if len(applied := completed(old_triples)):
            triple_changes = changes.sparing(triple_changes, applied, item_changes.gone)
        graph = Numbered.of(
            changes.merged(old_items.select(["id"]), item_changes, ("id",))["id"].combine_chunks(),
            changes.merged(old_triples, triple_changes, KEY),
            self._groups(properties, prune),
        )
        version = self._write(item_changes, triple_changes, graph, fields, prune)
        return IngestReport(
            len(item_changes.new),
            len(item_changes.changed),
            item_changes.unchanged,
            len(triple_changes.new),
            len(triple_changes.changed),
            triple_changes.unchanged,
            version,
            len(item_changes.gone),
            len(triple_changes.gone),
        )

    def _apply_reviews(self) -> AppliedReport:
        self._state()  # of an ingest that was cut off, what is left is not marked as whole
        settled, old = self._settled(), self._triples((None, *self.counts().splits))
        found = changes.difference(settled.accepted, old, KEY)
        gone = completed(old).join(settled.rejected, list(KEY), join_type="left semi")
        new = tables.with_columns(found.new, tables.TRIPLE_COLUMNS).select(list(tables.TRIPLE_COLUMNS))
        triples = Changes(tables.triple_table(new), new.slice(0, 0), tables.sorted_triples(gone), 0)
        items, ids = changes.nothing(("id",)), self.items()["id"].combine_chunks()
        graph = Numbered.of(ids, changes.merged(old, triples, KEY), self.property_groups())
        version = self._write(items, triples, graph, self._fields(), prune=False)
        there = len(settled.accepted) - len(new)
        return AppliedReport(len(new), there, len(gone), settled.contradicted, version)

    def _old_items(self, items: pa.Table, known: dict[str, str]) -> pa.Table:
        """The items that are there, in the columns of `items`."""
        there = self.items([name for name in items.column_names if name != "id" and name in known])
        for name in items.column_names:
            if name not in there.column_names:
                there = there.append_column(name, pa.nulls(len(there), items.schema.field(name).type))
        return there

    def _groups(self, properties: pa.Table | None, prune: bool) -> dict[str, str]:
        """By property, after the ingest."""
        if properties is None:
            return self.property_groups()
        given = dict(zip(properties["name"].to_pylist(), properties["group"].to_pylist(), strict=True))
        return given if prune else self.property_groups() | given

    def _write(self, items: Changes, triples: Changes, graph: Numbered, fields: dict[str, str], prune: bool) -> int:
        """What goes, nodes, relationships, then the version: the same ingest again completes one that was cut off, and
        the mark that this left makes it a new version."""
        nodes = self._node_changes(graph, prune)
        version, unfinished = self.data_version, self._metadata().get("ingest") == "unfinished"
        if not (unfinished or items or triples or any(nodes.values())):
            return version
        self._set_metadata({"ingest": "unfinished"})
        self._remove_triples(triples.gone)
        for label, key in KEYS.items():
            self._remove_nodes(label, key, nodes[label].gone)
        self._add_nodes("Item", "id", items.new.join(nodes["Item"].new, ["id"], join_type="inner"))
        self._update_nodes("Item", "id", items.changed)
        self._update_nodes("Item", "id", nodes["Item"].changed)
        for label, key in (("Value", "text"), ("Property", "name")):
            self._add_nodes(label, key, nodes[label].new)
            self._update_nodes(label, key, nodes[label].changed)
        values = graph.values["text"].combine_chunks()
        self._add_triples(triples.new, values)
        self._update_triples(triples.changed, values)
        self._require_triples(graph.num_triples)
        self._set_metadata({"item_fields": json.dumps(fields), "data_version": str(version + 1), "ingest": "finished"})
        self._forget()
        return version + 1

    def _node_changes(self, graph: Numbered, prune: bool) -> dict[str, Changes]:
        """By label. A query may have deleted all triples of a value or a property since the last ingest: the value
        stays without an ordinal, since completions may hang on it, the property goes."""
        there = self._numbers("Value", "text", ("ord",))
        values = graph.values if prune else changes.with_idle(graph.values, there, "text")
        return {
            "Item": changes.difference(graph.items, self._numbers("Item", "id", ("ord", "first")), ("id",), prune),
            "Value": changes.difference(values, there, ("text",), prune),
            "Property": changes.difference(graph.properties, self._properties(), ("name",), prune=True),
        }

    def _require_triples(self, expected: int) -> None:
        """Nobody keeps other writers off a server."""
        there = sum(self._rows(SPLITS)["triples"].to_pylist())
        if there != expected:
            raise StoreError(
                f"{self.location} holds {there} triples after an ingest that should leave {expected}: something else "
                "wrote to it meanwhile; the same ingest again completes it"
            )

    def _set_metadata(self, values: dict[str, str]) -> None:
        given = pa.table({"key": list(values), "value": list(values.values())})
        there = self._rows("MATCH (m:Metadata) RETURN m.key AS key, m.value AS value")
        found = changes.difference(given, _strings(there), ("key",))
        self._add_nodes("Metadata", "key", found.new)
        self._update_nodes("Metadata", "key", found.changed)

    def _numbers(self, label: str, key: str, columns: Sequence[str]) -> pa.Table:
        returned = ", ".join(f"n.{column} AS {column}" for column in columns)
        rows = self._rows(f"MATCH (n:{label}) RETURN n.{key} AS {key}, {returned}")
        return pa.table(
            {key: rows[key].cast(pa.string())} | {column: rows[column].cast(pa.int64()) for column in columns}
        )

    def _properties(self) -> pa.Table:
        rows = self._rows(
            "MATCH (p:Property) RETURN p.name AS name, p.ord AS ord, p.items AS items, p.values AS values, "
            "p.`group` AS grp"
        ).rename_columns(["name", "ord", "items", "values", "group"])
        schema = [
            ("name", pa.string()),
            ("ord", pa.int64()),
            ("items", pa.int64()),
            ("values", pa.int64()),
            ("group", pa.string()),
        ]
        return rows.cast(pa.schema(schema))

    @abstractmethod
    def batches(self, cypher: str, parameters: Mapping[str, Any], whole: bool = False) -> Iterator[Batch]:
        """Rows of somebody's query, some thousand at a time, one (perhaps empty) batch at least; errors as `query`'s.
        With `whole` in one piece, which is faster, and for which a server that went away is asked again."""

    # Hooks

    @abstractmethod
    def _declare(self, fields: dict[str, str]) -> None:
        """Make room for new item fields of these types."""

    @abstractmethod
    def _update_nodes(self, label: str, key: str, rows: pa.Table) -> None:
        """Set the columns of `rows` on the nodes with these keys."""

    @abstractmethod
    def _remove_nodes(self, label: str, key: str, rows: pa.Table) -> None:
        """The nodes with these keys, and every relationship of theirs."""

    @abstractmethod
    def _add_triples(self, rows: pa.Table, values: pa.Array) -> None:
        """Of rows sorted by item. `values`: the texts by ordinal, which the nodes carry by now."""

    @abstractmethod
    def _update_triples(self, rows: pa.Table, values: pa.Array) -> None:
        """Set the columns that are no key; rows and values as above."""

    @abstractmethod
    def _remove_triples(self, rows: pa.Table) -> None:
        """Of keys sorted by item."""


def _items(ords: Ints) -> tuple[str, dict[str, Any]]:
    """A condition on i for the items with these ascending ordinals, and its parameters. Consecutive ones are a range:
    Ladybug would look a long list through for every item."""
    if len(ords) and ords[-1] - ords[0] == len(ords) - 1:
        return "i.ord >= $first AND i.ord <= $last", {"first": int(ords[0]), "last": int(ords[-1])}
    return "i.ord IN $ords", {"ords": ords.tolist()}


def _named(splits: Collection[str | None]) -> dict[str, Any]:
    return {"splits": [name for name in splits if name is not None] or [""], "training": None in splits}


def _strings(rows: pa.Table) -> pa.Table:
    return rows.cast(pa.schema([(name, pa.string()) for name in rows.column_names]))
