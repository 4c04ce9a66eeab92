"""How weights move: AdamW's groups, the learning rate, the arithmetic and the device of a step."""

import torch

from k3m.config import Device, OptimConfig, Precision


def lr_at(step: int, steps: int, optim: OptimConfig) -> float:
    """Linear warm-up to the peak, then linear decay to 0 at the last step."""
    warmup = max(1, round(optim.warmup * steps))
    if step < warmup:
        return optim.peak_lr * (step + 1) / warmup
    return optim.peak_lr * (steps - step) / max(1, steps - warmup)


def parameter_groups(model: torch.nn.Module, optim: OptimConfig) -> list[dict[str, object]]:
    """Matrices with weight decay; vectors (biases, norms) without; frozen ones not at all."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in parameters if parameter.dim() >= 2]
    plain = [parameter for parameter in parameters if parameter.dim() < 2]
    assert len(decayed) + len(plain) == len(parameters)
    return [{"params": decayed, "weight_decay": optim.weight_decay}, {"params": plain, "weight_decay": 0.0}]


def uses_bf16(precision: Precision, device: torch.device) -> bool:
    """`auto` is bfloat16 where the processor multiplies in it: twice the speed there, many times slower elsewhere."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def device_of(device: Device, rank: int = 0) -> torch.device:
    """`auto` is a GPU where there is one, each process its own."""
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    return torch.device("cuda", rank % max(torch.cuda.device_count(), 1))
