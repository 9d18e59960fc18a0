"""The file from which a run is resumed: safetensors, which run no code when loaded, replaced atomically."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from dsdit.errors import WeightsError

CHECKPOINT_FILE = "resume.safetensors"


@dataclass(frozen=True)
class State:
    """The state of a run after one step."""

    network: dict[str, Tensor]
    """Tensors of the network by name."""
    average: dict[str, Tensor]
    """Their running average."""
    optimizers: list[dict[int, dict[str, Any]]]
    """For each optimiser: parameter number -> its state tensors by name."""
    step: int
    """Steps done."""
    minutes: float
    """Minutes spent in training."""


def write_checkpoint(path: Path, state: State) -> None:
    """Writes `state`; the previous file stays until the new one is complete."""
    tensors = {f"network.{k}": v for k, v in state.network.items()}
    tensors |= {f"average.{k}": v for k, v in state.average.items()}
    for number, kept in enumerate(state.optimizers):
        for index, values in kept.items():
            tensors |= {f"optimizer{number}.{index}.{k}": torch.as_tensor(v) for k, v in values.items()}
    partial = path.with_suffix(".partial")
    metadata = {"step": str(state.step), "minutes": repr(state.minutes), "optimizers": str(len(state.optimizers))}
    save_file({k: v.contiguous() for k, v in tensors.items()}, partial, metadata)
    partial.replace(path)


def read_checkpoint(path: Path, device: torch.device) -> State:
    """What `write_checkpoint` wrote, on `device`. Raises WeightsError where the file is no checkpoint."""
    try:
        tensors = load_file(path, str(device))
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        step, minutes, count = int(metadata["step"]), float(metadata["minutes"]), int(metadata.get("optimizers", 1))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise WeightsError(f"{path} is not a checkpoint of training ({error}): give another --out") from error
    parts: dict[str, dict[Any, Any]] = defaultdict(dict)
    for name, value in tensors.items():
        part, key = name.split(".", 1)
        if part.startswith("optimizer"):
            index, key = key.split(".", 1)
            parts[part].setdefault(int(index), {})[key] = value
        else:
            parts[part][key] = value
    optimizers = [parts[f"optimizer{number}"] for number in range(count)]
    return State(parts["network"], parts["average"], optimizers, step, minutes)
