"""Fitted weights in a folder: as safetensors, under a name that says what they were fitted on."""

from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


def digest(settings: Any, *tables: pd.DataFrame) -> str:
    """Of a settings dataclass and of all cells of the tables, in their order."""
    content = blake2b(repr(sorted(asdict(settings).items())).encode(), digest_size=8)
    for table in tables:
        content.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
    return content.hexdigest()


def save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, epoch: int) -> None:
    """What a training goes on from; in place whole or not at all."""
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        state |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    copies = {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in state.items()}
    save_file(copies | {"epoch": torch.tensor(epoch)}, partial)
    partial.replace(path)


def load(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> int:
    """Set the weights, and the optimizer's moments where one is given; the epochs that are done."""
    state = load_file(path)
    model.load_state_dict(_under("model.", state))
    if optimizer is not None:
        kept = optimizer.state_dict()
        kept["state"] = {}
        for name, value in _under("optimizer.", state).items():
            index, moment = name.split(".", 1)
            kept["state"].setdefault(int(index), {})[moment] = value
        optimizer.load_state_dict(kept)
    return int(state["epoch"])


def _under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
