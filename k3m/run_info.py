"""run.json: what a run was trained on, and with what."""

import json
from pathlib import Path
from typing import Any

NAME = "run.json"


def read_info(directory: Path) -> dict[str, Any]:
    return json.loads((directory / NAME).read_text(encoding="utf-8"))


def write_info(directory: Path, info: dict[str, Any]) -> None:
    (directory / NAME).write_text(json.dumps(info, indent=2, ensure_ascii=False), encoding="utf-8")
