import re
import tomllib
from pathlib import Path

import pandas as pd
import pytest

import graphstore
from loaders import ingest, normalise
from loaders.catalogue import Catalogue, CatalogueError, RowCounts
from loaders.normalise import Rule, normalised


def _catalogue(*triples: tuple[str, str, str, str | None]) -> Catalogue:
    frame = pd.DataFrame(triples, columns=["item", "property", "value", "split"], dtype=object).assign(source="shop")
    items = pd.DataFrame({"id": ["a", "b"]})
    return Catalogue(items, frame, frame[:0], RowCounts(0, 0, 0, 0, 0, 0), brings_splits=True)


def _rules(text: str, folder: Path = Path()) -> tuple[Rule, ...]:
    return normalise.rules_of(tomllib.loads(text), folder)


@pytest.mark.parametrize(
    ("rule", "value", "expected"),
    [
        ("white_space = true", "  Navy \t Blue\u3000", "Navy Blue"),
        ("white_space = true", " \n", " \n"),  # nothing would be left of it
        ('case = "lower"', "Navy ÉCRU", "navy écru"),
        ('case = "upper"', "xl", "XL"),
        ('case = "title"', "navy blue", "Navy Blue"),
        ('unit = "cm"\nfactors = {cm = 1, mm = 0.1, in = 2.54, inch = 2.54}', "12in", "30.48 cm"),
        ('unit = "cm"\nfactors = {in = 2.54}', "1.1 in", "2.794 cm"),  # not 2.7940000000000005
        ('unit = "cm"\nfactors = {cm = 1, mm = 0.1, in = 2.54, inch = 2.54}', "12.50 inch", "31.75 cm"),
        ('unit = "cm"\nfactors = {cm = 1, mm = 0.1}', "100 mm", "10 cm"),
        ('unit = "cm"\nfactors = {cm = 1, mm = 0.1}', "1234567.5cm", "1234567.5 cm"),
        ('unit = "cm"\nfactors = {cm = 1, mm = 0.1}', "1000000cm", "1000000 cm"),
        ('unit = "cm"\nfactors = {cm = 1, mm = 0.1}', "10 x 20 cm", "10 x 20 cm"),
        ('unit = "cm"\nfactors = {cm = 1, mm = 0.1}', "10 km", "10 km"),
        ('unit = "cm"\nfactors = {"m.m" = 1}', "10 mxm", "10 mxm"),
        ('synonyms = {grey = "gray"}', "grey", "gray"),
        ('synonyms = {grey = "gray"}', "dark grey", "dark grey"),
        ('white_space = true\ncase = "lower"\nsynonyms = {"light grey" = "gray"}', " Light  Grey", "gray"),
    ],
)
def test_a_rule(rule: str, value: str, expected: str) -> None:
    catalogue = normalised(_catalogue(("a", "p", value, None)), _rules(f"[[rules]]\n{rule}"))
    assert catalogue.triples["value"].tolist() == [expected]
    assert catalogue.triples["original"].tolist() == [None if value == expected else value]
    assert catalogue.merged == 0


def test_rules_apply_one_after_the_other_to_their_properties() -> None:
    rules = _rules('[[rules]]\ncase="lower"\n[[rules]]\nproperties=["colour"]\nsynonyms={grey="gray"}')
    catalogue = normalised(_catalogue(("a", "colour", "GREY", None), ("a", "name", "GREY", None)), rules)
    assert catalogue.triples[["value", "original"]].values.tolist() == [["gray", "GREY"], ["grey", "GREY"]]


def test_values_that_become_one_are_one_triple() -> None:
    triples = [
        ("a", "colour", "RED", "test"),
        ("a", "colour", "Red", None),
        ("b", "colour", "red", None),
        ("a", "colour", "rEd", None),
        ("b", "colour", "Red", "valid"),
        ("a", "trim", "Red", "test"),
    ]
    catalogue = normalised(_catalogue(*triples), _rules('[[rules]]\ncase="lower"'))
    assert catalogue.triples[["item", "property", "value", "split", "original"]].values.tolist() == [
        ["a", "colour", "red", None, "Red"],  # known to training, and so no question of test
        ["b", "colour", "red", None, None],
        ["a", "trim", "red", "test", "Red"],
    ]
    assert catalogue.merged == 3


def test_without_rules_nothing_changes() -> None:
    given = _catalogue(("a", "colour", " RED ", None), ("b", "colour", "red", "test"))
    catalogue = normalised(given, ())
    pd.testing.assert_frame_equal(catalogue.triples.drop(columns="original"), given.triples)
    assert catalogue.triples["original"].tolist() == [None, None]
    assert catalogue.merged == 0


def test_synonyms_from_a_table(tmp_path: Path) -> None:
    (tmp_path / "colours.csv").write_text('from,to\ngrey,gray\n"silver, dark",gray\ngrey,gray\n')
    (tmp_path / "rules.toml").write_text('[[rules]]\nsynonyms="colours.csv"\n')
    (rule,) = normalise.load(tmp_path / "rules.toml")
    assert rule.synonyms == {"grey": "gray", "silver, dark": "gray"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "rules.toml: rules: rules must be named"),
        ("[rules]\n", r"rules.toml: rules: rules: expected a list \(got {}\)"),
        ("[[rules]]\ncolour=1", "rules: rules: unknown colour .known: properties, white_space, case"),
        ('[[rules]]\ncase="small"', r"rules: case: expected lower, upper, title \(got 'small'\)"),
        ('[[rules]]\nunit="cm"', "rules: unit and factors go together"),
        ('[[rules]]\nunit="cm"\nfactors={mm="tenth"}', r"factors: mm: expected a number \(got 'tenth'\)"),
        ('[[rules]]\nsynonyms="gone.csv"', "gone.csv is missing"),
        ('[[rules]]\nsynonyms="twice.csv"', "twice.csv: 3: synonym 'a' stands in the catalogue already"),
        ('[[rules]]\nsynonyms="other.csv"', r"other.csv has no column 'from', 'to' \(columns: a, b\)"),
        ('[[rules]]\nsynonyms="empty.csv"', "synonyms: a: expected text"),
    ],
)
def test_rules_that_are_none(text: str, message: str, tmp_path: Path) -> None:
    for name, content in {"twice": "from,to\na,b\na,c\n", "other": "a,b\n", "empty": "from,to\na,\n"}.items():
        (tmp_path / f"{name}.csv").write_text(content)
    (tmp_path / "rules.toml").write_text(text)
    with pytest.raises(CatalogueError, match=message):
        normalise.load(tmp_path / "rules.toml")


def test_the_command_keeps_the_original_and_counts_what_it_merged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.tsv").write_text(
        "1\tLamp\t\tcolour#:#RED#;#colour#:#Red#;#size#:#S\tlamps\n2\tHat\t\tcolour#:#red\thats\n"
    )
    (tmp_path / "rules.toml").write_text('[[rules]]\nproperties="colour"\ncase="lower"\n')
    location = str(tmp_path / "store.lbdb")
    words = ["taobao", str(tmp_path / "t.tsv"), "--store", location]
    for _ in range(2):
        ingest.main([*words, "--normalise", str(tmp_path / "rules.toml")])
    printed = capsys.readouterr().out
    assert re.findall(r"(normalised|merged by normalising|triples|data version) +(\d+)\n", printed)[-4:] == [
        ("triples", "3"),
        ("normalised", "1"),
        ("merged by normalising", "1"),
        ("data version", "1"),
    ]
    with graphstore.open(location) as store:
        rows = store.query(
            "MATCH (i:Item)-[h:HAS]->(v:Value) RETURN i.id AS id, v.text AS value, h.original AS original "
            "ORDER BY id, value"
        )
        assert rows.astype(object).where(rows.notna(), None).values.tolist() == [
            ["1", "S", None],
            ["1", "red", "RED"],
            ["2", "red", None],
        ]
