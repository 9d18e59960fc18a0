"""The start of a run: its network, its optimisers, and the `config.json` of its weights."""

from __future__ import annotations

import torch
from torch import Tensor

from dsdit.model.autoencoder import PixelCodec
from dsdit.model.config import DSDiTConfig
from dsdit.model.header import resolve
from dsdit.model.network import DSDiT
from dsdit.model.preconditioning import network_channels
from dsdit.model.tensor_file import Entries, Entry, check_tensors, open_safetensors
from dsdit.model.weights_config import RESIDUAL_SCALE, TENSOR_FILE, SensorDefaults, WeightsConfig
from dsdit.plan.sampler_settings import SamplerDefaults
from dsdit.training.config import TrainingConfig

_BLOCKS = "joint_blocks."


def network_config(config: TrainingConfig) -> DSDiTConfig:
    """Shape of a run's network; the channels follow from the codec."""
    return DSDiTConfig(in_channels=network_channels(PixelCodec()), patch_size=2, **config.network.model_dump())


def build_network(config: TrainingConfig) -> DSDiT:
    """The network of a run, with starting weights drawn from its seed."""
    torch.manual_seed(config.seed)
    return DSDiT(network_config(config))


def grown(entries: Entries, network: DSDiT) -> Entries:
    """`entries`, their blocks spread evenly over those of `network`; the remaining blocks keep its own tensors.

    An untrained block adds nothing to any stream, so the grown network computes the same as before.
    """
    found = {name.split(".")[1] for name in entries if name.startswith(_BLOCKS)}
    old, depth = len(found), len(network.joint_blocks)
    if not 0 < old < depth or found != {str(number) for number in range(old)}:
        return entries
    moved = {str(number): str(round(number * (depth - 1) / max(old - 1, 1))) for number in range(old)}
    new = set(map(str, range(depth))) - set(moved.values())

    def renamed(name: str) -> str:
        if not name.startswith(_BLOCKS):
            return name
        number, dot, rest = name.removeprefix(_BLOCKS).partition(".")
        return f"{_BLOCKS}{moved[number]}{dot}{rest}"

    blank = {
        name: Entry(tuple(value.shape), value.dtype, value.clone)
        for name, value in network.state_dict().items()
        if name.startswith(_BLOCKS) and name.split(".")[1] in new
    }
    return {**{renamed(name): entry for name, entry in entries.items()}, **blank}


def build_start(config: TrainingConfig) -> DSDiT:
    """The network of a run as it begins: `config.start`'s tensors where they are given, grown. Raises WeightsError."""
    network = build_network(config)
    if config.start is not None:
        path = resolve(config.start) / TENSOR_FILE
        entries = grown(open_safetensors(path), network)
        check_tensors(entries, network, path)
        network.load_state_dict({name: entry.read() for name, entry in entries.items()})
    return network


def build_optimizers(network: DSDiT, config: TrainingConfig) -> list[torch.optim.Optimizer]:
    """AdamW for all parameters, or Muon for the matrices of the blocks and AdamW for the rest.

    Muon's step is scaled to AdamW's root mean square, so that one learning rate serves both.
    """
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    for name, parameter in network.named_parameters():
        turned = config.optimizer == "muon" and parameter.ndim == 2 and name.startswith("joint_blocks.")
        (matrices if turned else others).append(parameter)
    rate, decay = config.learning_rate, config.weight_decay
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(others, rate, betas=(0.9, 0.99), weight_decay=decay),
    ]
    if matrices:
        optimizers.append(
            torch.optim.Muon(matrices, lr=rate, weight_decay=decay, momentum=0.95, adjust_lr_fn="match_rms_adamw")
        )
    return optimizers


def weights_config(config: TrainingConfig) -> WeightsConfig:
    """`config.json` of a run's weights folder."""
    return WeightsConfig(
        name=config.name,
        network=network_config(config),
        residual_scale=RESIDUAL_SCALE,
        tile_px=config.crop_px,
        sampler=SamplerDefaults(guidance_scale=config.guidance_scale, guidance_from="no_reference", ensemble=2),
        faithful=SamplerDefaults(ensemble=8),
        sensor=SensorDefaults(scales=tuple(sorted(config.data.scales))),
        licence=config.licence,
        training_data=config.training_data.strip(),
    )
