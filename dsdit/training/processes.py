"""One training process or several: rank, device, and collective operations.

Several are started by torchrun, one a GPU (NCCL) or a core (gloo); each draws batches of its own, and gradients are
averaged, so that all of them hold the same weights at every step.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, distributed
from torch.nn.utils import parameters_to_vector, vector_to_parameters


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16. A processor before AVX-512 only imitates it, ten times slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "NO AVX", "AVX2")


@dataclass(frozen=True)
class Processes:
    """This process and the group that it trains in."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def leads(self) -> bool:
        """Whether this one writes files and log lines."""
        return self.rank == 0

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replaces each gradient by its mean over the processes."""
        if self.count == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        together = parameters_to_vector(gradients)
        distributed.all_reduce(together)
        vector_to_parameters(together / self.count, gradients)

    def agree(self, value: float) -> float:
        """The leader's value, for all."""
        if self.count == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.broadcast(shared, 0)
        return float(shared)

    def wait(self) -> None:
        """Waits until all processes call it."""
        self.agree(0.0)

    def mean(self, value: Tensor) -> float:
        """Mean of a scalar over the processes."""
        value = value.detach()
        if self.count > 1:
            value = value.clone()
            distributed.all_reduce(value)
        return float(value) / self.count

    def leave(self) -> None:
        """Leaves the process group."""
        if self.count > 1:
            distributed.destroy_process_group()


def join_processes() -> Processes:
    """The process group from torchrun's environment; a single process without it. Uses a GPU where there is one."""
    count, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if count > 1:
        distributed.init_process_group("nccl" if cuda else "gloo")
    return Processes(rank, count, device)
