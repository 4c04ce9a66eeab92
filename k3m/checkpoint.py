"""Checkpoints: one safetensors file with weights, the optimiser's moments and the loop's variables; written beside,
then renamed, so that a stop in the middle leaves the last whole one. Nothing is unpickled."""

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

WEIGHTS = "weights.safetensors"
"""A run's, in its folder."""
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class CheckpointError(ValueError):
    """A checkpoint does not fit the model it is loaded into."""


def fingerprint(run: Path) -> str:
    """Of a run's weights: of two runs by one name, which one it was."""
    with (run / WEIGHTS).open("rb") as file:
        return f"k3m-{hashlib.file_digest(file, 'sha256').hexdigest()[:12]}"


def save_weights(model: nn.Module, path: Path) -> None:
    _write(_weights(model), {}, path)


def load_weights(model: nn.Module, path: Path) -> None:
    """Every tensor of the model from the file, and no other.

    Raises:
        CheckpointError: naming the tensors that are missing, unexpected or of another shape.
    """
    _fill(model, load_file(path), path)


def save_checkpoint(model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, object], path: Path) -> None:
    """`state` is anything JSON holds: step, best score, ..."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    moments = {
        f"optimizer.{moment}.{names[parameter]}": entry[moment]
        for parameter, entry in optimizer.state.items()
        for moment in _MOMENTS
    }
    weights = {f"model.{name}": tensor for name, tensor in _weights(model).items()}
    _write(weights | moments, {"state": json.dumps(state)}, path)


def load_checkpoint(model: nn.Module, optimizer: torch.optim.Optimizer, path: Path) -> dict[str, object]:
    """Fill model and optimiser; returns what `save_checkpoint` was given as `state`."""
    tensors = load_file(path)
    _fill(
        model,
        {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")},
        path,
    )
    for name, parameter in model.named_parameters():
        entry = {
            moment: tensors[f"optimizer.{moment}.{name}"]
            for moment in _MOMENTS
            if f"optimizer.{moment}.{name}" in tensors
        }
        if entry:
            optimizer.state[parameter] = entry
    with safe_open(path, "pt") as file:
        state: dict[str, object] = json.loads(file.metadata()["state"])
    return state


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """Named tensors, each once: the MLM head shares the token embedding."""
    kept = model.state_dict().keys()
    buffers = {name: buffer for name, buffer in model.named_buffers() if name in kept}
    return {name: parameter.detach() for name, parameter in model.named_parameters()} | buffers


def _fill(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    own = _weights(model)
    wrong = (
        [f"{name} is missing" for name in sorted(own.keys() - tensors.keys())]
        + [f"{name} is none of the model's" for name in sorted(tensors.keys() - own.keys())]
        + [
            f"{name} is {_shape(tensors[name])}, not {_shape(own[name])}"
            for name in sorted(own.keys() & tensors.keys())
            if own[name].shape != tensors[name].shape
        ]
    )
    if wrong:
        raise CheckpointError(f"{path} does not fit the model: {len(wrong)} tensors differ: {', '.join(wrong)}")
    for name, tensor in own.items():
        tensor.copy_(tensors[name])


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"


def _write(tensors: dict[str, Tensor], metadata: dict[str, str], path: Path) -> None:
    partial = path.with_suffix(".partial")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, metadata)
    os.replace(partial, path)
