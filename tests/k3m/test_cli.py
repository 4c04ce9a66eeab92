import sys
import types
from collections.abc import Sequence

import pytest

from graphstore import StoreError
from k3m import cli

COMMANDS = [
    "ingest",
    "map",
    "train",
    "finetune",
    "predict",
    "complete",
    "update",
    "conflicts",
    "stats",
    "review",
    "embed",
    "similar",
    "query",
    "snapshot",
]


def stand_in(monkeypatch: pytest.MonkeyPatch, failure: Exception | None = None) -> list[Sequence[str]]:
    """Replace the module of `k3m train`; the words it was called with."""
    calls: list[Sequence[str]] = []

    def main(words: Sequence[str]) -> None:
        calls.append(words)
        if failure:
            raise failure

    module = types.ModuleType("stand_in")
    module.__dict__["main"] = main
    monkeypatch.setitem(sys.modules, "stand_in", module)
    monkeypatch.setitem(cli.COMMANDS, "train", ("stand_in", ""))
    monkeypatch.delenv("K3M_TRACEBACK", raising=False)
    return calls


def test_help_names_every_command_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == list(COMMANDS)


@pytest.mark.parametrize("words", [[], ["trian"]])
def test_an_unknown_command_is_answered_with_the_known_ones(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert f"expected one of {', '.join(COMMANDS)}" in said
    assert f"(got {words[0] if words else ''!r})" in said


def test_words_reach_the_command_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = stand_in(monkeypatch)
    assert cli.main(["train", "--store", "a b", "--help"]) == 0
    assert calls == [["--store", "a b", "--help"]]


@pytest.mark.parametrize(
    "failure", [StoreError("no store\n  here"), ValueError("no store here"), FileNotFoundError("no store here")]
)
def test_what_the_caller_can_mend_is_one_line(
    failure: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, failure)
    assert cli.main(["train"]) == 2
    assert capsys.readouterr().err == "k3m train: no store here\n"


def test_a_traceback_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, StoreError("no store here"))
    monkeypatch.setenv("K3M_TRACEBACK", "1")
    with pytest.raises(StoreError, match="no store here"):
        cli.main(["train"])


def test_our_own_mistakes_are_not_told_as_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, AssertionError("ours"))
    with pytest.raises(AssertionError, match="ours"):
        cli.main(["train"])


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([name, "--help"])
    assert end.value.code == 0
    assert f"usage: k3m {name} " in capsys.readouterr().out
