"""Loading a weights folder into a model, and writing one.

Tensors must be exactly those of the network that the configuration describes. They are mapped, and take memory of
their own only where they are converted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch

from dsdit.model.config import DSDiTConfig
from dsdit.model.header import digest, read_config, resolve
from dsdit.model.kinds import kind_of
from dsdit.model.latent_model import LatentModel
from dsdit.model.network import DSDiT
from dsdit.model.tensor_file import Entry, assign_tensors, check_tensors, open_safetensors, write_tensors
from dsdit.model.weights_config import CONFIG_FILE, TENSOR_FILE, WeightsConfig


@dataclass(frozen=True)
class Weights:
    """Loaded weights: a model ready to sample, its configuration and the digest of its files."""

    model: LatentModel
    """The network, in evaluation mode."""
    config: WeightsConfig
    """Contents of `config.json`."""
    digest: str
    """sha256 of their files, the autoencoder's among them, hexadecimal."""


def meta_network(config: DSDiTConfig) -> DSDiT:
    """The network without memory for its tensors; leaves the random state alone."""
    with torch.device("meta"):
        return DSDiT(config)


def load_weights(
    name_or_path: str | Path = "dsdit-tiny",
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Weights:
    """Weights by shipped name or folder, on `device`, computing in `dtype`. Raises WeightsError."""
    folder = resolve(name_or_path)
    config = read_config(folder)
    kind = kind_of(config)
    kind.check_usable(folder, config)
    entries = open_safetensors(folder / TENSOR_FILE)
    network = meta_network(config.network)
    check_tensors(entries, network, folder / TENSOR_FILE)
    assign_tensors(network, entries, device, dtype)
    return Weights(kind.build(network, folder, config, device, dtype), config, digest(folder, config))


def write_folder(folder: Path, entries: Mapping[str, Entry], config: WeightsConfig) -> None:
    """Writes a weights folder, one tensor at a time; both files appear whole, the tensors last."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors, settings = (folder / f"{name}.partial" for name in (TENSOR_FILE, CONFIG_FILE))
    try:
        write_tensors(tensors, entries)
        settings.write_text(json.dumps(asdict(config), indent=2) + "\n", "utf-8")
        tensors.chmod(0o644)
        settings.replace(folder / CONFIG_FILE)
        tensors.replace(folder / TENSOR_FILE)
    finally:
        for path in (tensors, settings):
            path.unlink(missing_ok=True)


def save_weights(
    folder: Path, network: DSDiT | dict[str, torch.Tensor], config: WeightsConfig, dtype: torch.dtype = torch.float16
) -> None:
    """Writes a weights folder; tensors are stored as `dtype`, half of float32's size."""
    tensors = network.state_dict() if isinstance(network, DSDiT) else network
    entries = {
        name: Entry(tuple(value.shape), dtype, partial(value.detach().to, "cpu", dtype))
        for name, value in tensors.items()
    }
    write_folder(folder, entries, config)
