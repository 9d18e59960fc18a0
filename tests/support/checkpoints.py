"""Files as others publish them, with random tensors: DS-DiT's state dict, SD3-medium, and SD3's autoencoder."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from dsdit.model import DSDiT, DSDiTConfig

SMALL = DSDiTConfig(depth=2, hidden_size=128, num_heads=2, pos_embed_max_size=12)
"""Depth, width and table of the published numbers."""


def state_dict(config: DSDiTConfig = SMALL, dtype: torch.dtype = torch.float32, seed: int = 0) -> dict[str, Tensor]:
    """Every tensor of a DS-DiT, its norms and biases too, drawn with an rms that keeps activations near 1."""
    with torch.device("meta"):
        network = DSDiT(config)
    generator = torch.Generator().manual_seed(seed)
    return {name: _drawn(tuple(value.shape), generator, dtype) for name, value in network.state_dict().items()}


def _drawn(shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    fan = 1 if len(shape) < 2 else int(torch.tensor(shape[1:]).prod()) if len(shape) != 3 else 1
    return (torch.randn(shape, generator=generator) / fan**0.5).to(dtype)


def sd3_state_dict(config: DSDiTConfig = SMALL, dtype: torch.dtype = torch.float16, seed: int = 1) -> dict[str, Tensor]:
    """The names of an SD3-medium file: network with text, a piece of the autoencoder and of a text encoder."""
    size = config.hidden_size
    tensors: dict[str, Tensor] = {}
    for name, value in state_dict(config, dtype, seed).items():
        if re.search(r"(lr|ref)_(embedder|block)|weighting", name):
            continue
        tensors["model.diffusion_model." + name] = value
        if ".x_block." in name:
            tensors["model.diffusion_model." + name.replace("x_block", "context_block")] = value.clone()
    tensors["model.diffusion_model.y_embedder.mlp.0.weight"] = torch.zeros(size, 2048, dtype=dtype)
    tensors["model.diffusion_model.y_embedder.mlp.0.bias"] = torch.zeros(size, dtype=dtype)
    tensors["model.diffusion_model.context_embedder.weight"] = torch.zeros(size, 4096, dtype=dtype)
    tensors["first_stage_model.encoder.conv_in.weight"] = torch.zeros(128, 3, 3, 3, dtype=dtype)
    tensors["text_encoders.clip_l.logit_scale"] = torch.zeros((), dtype=dtype)
    return tensors


def first_stage(vae: Any) -> dict[str, Tensor]:
    """The tensors of diffusers' AutoencoderKL under the names that an SD3 file has for them."""
    last = len(vae.config.block_out_channels) - 1
    renames = [
        (r"\bup_blocks\.(\d+)", lambda m: f"up.{last - int(m[1])}"),
        (r"\bdown_blocks\.", "down."),
        (r"\bmid_block\.resnets\.(\d+)", lambda m: f"mid.block_{int(m[1]) + 1}"),
        (r"\bmid_block\.attentions\.0", "mid.attn_1"),
        (r"\bresnets\.", "block."),
        (r"\b(down|up)samplers\.0", r"\1sample"),
        (r"\bconv_shortcut", "nin_shortcut"),
        (r"\bconv_norm_out", "norm_out"),
        (r"\bgroup_norm", "norm"),
        (r"\bto_([qkv])\b", r"\1"),
        (r"\bto_out\.0", "proj_out"),
    ]
    tensors: dict[str, Tensor] = {}
    for name, value in vae.state_dict().items():
        attention = ".attentions.0.to_" in name and name.endswith("weight")
        for pattern, text in renames:
            name = re.sub(pattern, text, name)
        tensors["first_stage_model." + name] = (value[..., None, None] if attention else value).contiguous()
    return tensors
