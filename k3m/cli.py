"""The console command: `k3m NAME ...` is `python -m MODULE ...`, its errors told in one line.

A command's module is imported when it is asked for, so that `k3m --help` waits for no library, and so that nothing but
this module depends on `loaders` and `analysis`. `k3m update` is made of other commands, which it is given here.
K3M_TRACEBACK=1 shows where an error came from.
"""

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial

COMMANDS = {
    "ingest": ("loaders.ingest", "read a catalogue's files into a store"),
    "map": ("loaders.map", "propose which column of a table is what, for k3m ingest table"),
    "train": ("k3m.train", "pretrain K3M on a store"),
    "finetune": ("k3m.finetune", "tune a model for classification, alignment or question answering"),
    "predict": ("k3m.predict", "what a tuned model says of new items"),
    "complete": ("analysis.complete", "rank values for missing and kept-back facts, write the report"),
    "update": ("k3m.update", "take changed files in, train on, complete what is new, say what is different"),
    "conflicts": ("analysis.conflicts", "find facts that a model which never trained on them finds improbable"),
    "stats": ("analysis.stats", "say how large and how complete a store is, as a table and a picture"),
    "review": ("k3m.review", "accept or reject what was proposed"),
    "embed": ("k3m.embed", "write one vector an item into a store"),
    "similar": ("k3m.similar", "print the items most like an item"),
    "query": ("k3m.query", "print what a Cypher query answers"),
    "snapshot": ("k3m.snapshot", "write a store's training data as files that need no database"),
}
HELP = "usage: k3m COMMAND ...   (k3m COMMAND --help says more)\n\n" + "\n".join(
    f"  {name:<10}{line}" for name, (_, line) in COMMANDS.items()
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit status, 2 for what the caller can mend."""
    name, *words = (sys.argv[1:] if argv is None else argv) or [""]
    if name in ("-h", "--help"):
        print(HELP)
        return 0
    if name not in COMMANDS:
        print(f"k3m: expected one of {', '.join(COMMANDS)} (got {name!r}); see k3m --help", file=sys.stderr)
        return 2
    return run(name, words)


def command(name: str) -> Callable[[Sequence[str]], int | None]:
    """What runs a command with its words."""
    main = importlib.import_module(COMMANDS[name][0]).main
    return partial(main, command=command) if name == "update" else main


def run(name: str, words: Sequence[str]) -> int:
    main = command(name)
    from graphstore import StoreError  # not above: it brings the databases with it

    try:
        return main(words) or 0
    except (StoreError, ValueError, OSError) as error:
        if os.environ.get("K3M_TRACEBACK") == "1":
            raise
        print(f"k3m {name}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
