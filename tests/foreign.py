"""Catalogues as graphs of somebody else's: other labels, other names, no ordinals; and the mapping files for them."""

import os
import re
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ladybug
import pandas as pd
import tomli_w

from graphstore.tables import as_arrow
from tests.catalogues import Tables
from tools.neo4j import server

PRODUCT = {"id": "sku", "title": "name", "category": "kind", "image": "photo"}
"""Our fields as theirs; further ones keep their names."""
LADYBUG_TYPES = {"string": "STRING", "double": "DOUBLE", "int64": "INT64", "bool": "BOOL"}
FACTS = (
    "MATCH (p:Product)-[s:STATES]->(f:Fact){where} "
    "RETURN p.sku AS product, f.name AS attribute, f.text AS content, s.feed AS feed, s.part AS part, s.raw AS raw"
)
FACT_COLUMNS = {
    "item": "product",
    "property": "attribute",
    "value": "content",
    "source": "feed",
    "split": "part",
    "original": "raw",
}


def their(name: str) -> str:
    return PRODUCT.get(name, name)


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    return as_arrow("rows", table).to_pylist()


@contextmanager
def plain(location: str) -> Iterator[Callable[..., Any]]:
    """Runs Cypher in a database without a store around it, as its owner would."""
    if "://" in location:
        with server.session(location, os.environ[server.PASSWORD]) as session:
            yield lambda cypher, **parameters: session.run(cypher, parameters).consume()
    else:
        with ladybug.Database(location) as database, ladybug.Connection(database) as connection:
            yield lambda cypher, **parameters: connection.execute(cypher, parameters)


def facts_graph(location: str, tables: Tables) -> str:
    """(:Product)-[:STATES {feed, part, raw}]->(:Fact {name, text}), one Fact a property and value; the location."""
    with plain(location) as run:
        if "://" not in location:
            types = {their(field.name): str(field.type) for field in as_arrow("items", tables.items).schema}
            declared = ", ".join(f"{name} {LADYBUG_TYPES[kind]}" for name, kind in types.items())
            run(f"CREATE NODE TABLE Product({declared}, PRIMARY KEY (sku))")
            run("CREATE NODE TABLE Fact(key STRING PRIMARY KEY, name STRING, text STRING)")
            run("CREATE REL TABLE STATES(FROM Product TO Fact, feed STRING, part STRING, raw STRING)")
        for row in rows_of(tables.items):
            _create_product(run, {their(name): value for name, value in row.items()})
        facts = tables.triples[["property", "value"]].drop_duplicates().reset_index(drop=True)
        facts = facts.assign(key=[f"f{row}" for row in facts.index])
        create = "UNWIND $rows AS row CREATE (:Fact {key: row.key, name: row.property, text: row.value})"
        run(create, rows=rows_of(facts))
        for row in rows_of(tables.triples.merge(facts)):
            _create_statement(run, row)
    return location


def _create_product(run: Callable[..., Any], fields: dict[str, Any]) -> None:
    given = {name: value for name, value in fields.items() if value is not None}
    run(f"CREATE (:Product {{{', '.join(f'{name}: ${name}' for name in given)}}})", **given)


def _create_statement(run: Callable[..., Any], row: dict[str, Any]) -> None:
    given = {FACT_COLUMNS[name]: row[name] for name in ("source", "split", "original") if row.get(name) is not None}
    theirs = ", ".join(f"{name}: ${name}" for name in given)
    cypher = f"MATCH (p:Product), (f:Fact) WHERE p.sku = $item AND f.key = $key CREATE (p)-[:STATES {{{theirs}}}]->(f)"
    run(cypher, item=row["item"], key=row["key"], **given)


def facts_mapping(location: str, tables: Tables, folder: Path, streamed: bool) -> Path:
    """A mapping file for `facts_graph`, with the photographs beside it, named by their keys."""
    _write_photographs(folder, tables)
    fields = {name: their(name) for name in tables.items.columns}
    returned = ", ".join(f"p.{name} AS {name}" for name in fields.values())
    return mapping_file(
        folder / "map.toml",
        location,
        items={"query": f"MATCH (p:Product) RETURN {returned}", "columns": fields},
        triples={"query": FACTS.format(where=" WHERE p.sku IN $items" if streamed else ""), "columns": FACT_COLUMNS},
    )


def _write_photographs(folder: Path, tables: Tables) -> None:
    (folder / "photos").mkdir(exist_ok=True)
    for key, data in tables.images.items():
        (folder / "photos" / key).write_bytes(data)


def mapping_file(path: Path, database: str, **sections: Any) -> Path:
    """A mapping file; photographs lie in photos/ beside it, where the items have some."""
    mapping = {"database": database} | sections
    if "image" in sections["items"]["columns"]:
        mapping.setdefault("images", {"folder": "photos"})
    path.write_text(tomli_w.dumps(mapping), encoding="utf-8")
    return path


def documented_mapping() -> dict[str, Any]:
    """The example of docs/adopt.md."""
    text = (Path(__file__).parents[1] / "docs" / "adopt.md").read_text(encoding="utf-8")
    [example] = re.findall(r"^```toml\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return tomllib.loads(example)


def shop_graph(location: str, tables: Tables) -> str:
    """The shop of docs/adopt.md: brands and colours as nodes, the other facts as properties of the products."""
    with plain(location) as run:
        facts = tables.triples.groupby(["item", "property"])["value"].agg(list).unstack()
        for row in rows_of(tables.items):
            own = facts.loc[row["id"]].dropna().to_dict() if row["id"] in facts.index else {}
            lists = {name: own[name] for name in ("fabric", "tag") if name in own}
            _create_product(run, {their(name): value for name, value in row.items()} | lists)
            if "size" in own:
                run("MATCH (p:Product {sku: $id}) SET p.size = $size", id=row["id"], size=own["size"][0])
            for kind, label, name, values in (
                ("OF_BRAND", "Brand", "label", own.get("brand", [])),
                ("HAS_COLOR", "Color", "name", own.get("colour", [])),
            ):
                cypher = f"MERGE (n:{label} {{{name}: value}}) MERGE (p)-[:{kind}]->(n)"
                run(f"MATCH (p:Product {{sku: $id}}) UNWIND $values AS value {cypher}", id=row["id"], values=values)
    return location


def shop_mapping(location: str, tables: Tables, path: Path, streamed: bool = True, **sections: Any) -> Path:
    """The documented mapping at `path`, the photographs beside it; `sections` replace its own."""
    mapping = documented_mapping() | sections
    if not streamed:
        mapping["triples"]["query"] = mapping["triples"]["query"].replace(" WHERE p.sku IN $items", "")
    _write_photographs(path.parent, tables)
    return mapping_file(path, **(mapping | {"database": location}))
