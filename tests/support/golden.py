"""The authors' numbers and the network that they belong to, whose weights are a function of name and shape."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dsdit.model import DSDiT, DSDiTConfig

GOLDEN = Path(__file__).parents[1] / "data" / "published_depth2.npz"


def golden_numbers() -> dict[str, NDArray]:
    """Arrays by name: `in_*` goes in, `out_*` came out."""
    with np.load(GOLDEN) as file:
        return {name: file[name] for name in file.files}


def golden_network(golden: dict[str, NDArray]) -> DSDiT:
    """The network of these numbers, in evaluation mode, on the CPU."""
    network = DSDiT(DSDiTConfig(depth=2, hidden_size=128, num_heads=2, pos_embed_max_size=12)).eval()
    shapes = json.loads(str(golden["state_dict_shapes"]))
    assert {name: list(value.shape) for name, value in network.state_dict().items()} == shapes
    network.load_state_dict({name: _formula(name, shape) for name, shape in shapes.items()})
    return network.requires_grad_(False)


def _formula(name: str, shape: list[int]) -> torch.Tensor:
    h = zlib.crc32(name.encode())
    i = np.arange(int(np.prod(shape)), dtype=np.float64)
    w = np.sin(0.7390851332151607 * i * (1 + (h % 97) / 97) + (h % 1000)).reshape(shape)
    if name == "pos_embed":
        w = w * 0.3
    elif len(shape) > 1:
        w = w * 1.3 / np.sqrt(np.prod(shape[1:]))
    else:
        w = w * 0.15 + (1.0 if ".ln_" in name else 0.0)
    return torch.tensor(w, dtype=torch.float32)
