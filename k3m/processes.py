"""The processes of one training: alone, or as many as `torchrun` started, which share every batch between them."""

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Processes:
    """This process is number `rank` of `world`; everything here waits for the others."""

    rank: int = 0
    world: int = 1

    @classmethod
    def started(cls, device: torch.device) -> "Processes":
        """Joins those that torchrun started; alone without it."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def first(self) -> bool:
        """Whether it is the one that writes."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all are here."""
        if self.world > 1:
            dist.barrier()

    def sum(self, values: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Over all processes."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def from_first(self, value: float) -> float:
        """What the first process has."""
        held = [value]
        if self.world > 1:
            dist.broadcast_object_list(held, src=0)
        return held[0]
