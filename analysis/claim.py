"""A folder of results belongs to what it was begun with: the same command goes on in it, another one is refused."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def claim(path: Path, asked: Mapping[str, Any]) -> None:
    """Write into the file `path` what its folder belongs to; what it holds already, and is not asked for, stays.

    Args:
        asked: by name, as JSON can have it.

    Raises:
        ValueError: where the folder was begun with others, naming these.
    """
    wanted = json.loads(json.dumps(asked))  # a tuple is a list there
    own = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    differing = sorted(name for name in wanted if name in own and own[name] != wanted[name])
    if differing:
        raise ValueError(f"{path.parent} was begun with another {', '.join(differing)}: name another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(own | wanted, indent=2), encoding="utf-8")
