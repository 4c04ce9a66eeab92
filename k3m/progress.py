"""Which steps of a longer work are done, in a file of its folder: the same work again goes on behind them."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "progress.json"


class Progress:
    """Of the work in `folder`."""

    def __init__(self, folder: Path, asked: dict[str, str], done: list[str]) -> None:
        self.folder, self.asked, self.done = folder, asked, done

    @classmethod
    def of(cls, folder: Path, asked: dict[str, str]) -> "Progress":
        """Begun here, or as far as it has come.

        Args:
            asked: what says that it is the same work.

        Raises:
            ValueError: the folder's is another work.
        """
        path = folder / NAME
        if not path.exists():
            return cls(folder, asked, [])
        held = json.loads(path.read_text(encoding="utf-8"))
        for name, value in asked.items():
            if held["asked"].get(name) != value:
                raise ValueError(
                    f"{folder} was begun with {name} {held['asked'].get(name)!r} (got {value!r}): name another folder"
                )
        return cls(folder, asked, held["done"])

    @contextmanager
    def step(self, name: str, how: str = "") -> Iterator[bool]:
        """Whether the step is still to be done; it is, once what is in the block has ended well.

        Args:
            how: by which of its options the step is done; what was done by others is done again.
        """
        entry = f"{name} {how}".rstrip()
        due = entry not in self.done
        yield due
        if due:
            self.done = [held for held in self.done if held.split(" ")[0] != name] + [entry]
            self.folder.mkdir(parents=True, exist_ok=True)
            partial = (self.folder / NAME).with_suffix(".partial")
            partial.write_text(json.dumps({"asked": self.asked, "done": self.done}, indent=2), encoding="utf-8")
            os.replace(partial, self.folder / NAME)
