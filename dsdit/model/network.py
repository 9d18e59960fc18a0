"""DS-DiT, as published: the decoupled-stream diffusion transformer for reference-based super-resolution.

The class and the names of its tensors are those of the paper's release (arXiv 2605.17980), so that published
checkpoints load without a table of renames; `tests/data/published_depth2.npz` holds its numbers.

Axes: B batch, C latent channels, (y, x) latent pixels, N tokens, D hidden.
"""

from __future__ import annotations

import math
from typing import Literal, cast, overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dsdit.model.block import JointBlock, modulate
from dsdit.model.config import TIMESTEP_FREQUENCIES, DSDiTConfig

_MAX_PERIOD = 10_000.0


def position_table(size: int, hidden: int) -> Tensor:
    """2-D sine and cosine table (1, size * size, hidden): first half from x, second from y, as SD3 has it."""
    if torch.get_default_device().type == "meta":
        return torch.empty(1, size * size, hidden)  # torch.arange would load torch's compiler first, for seconds
    omega = 1.0 / _MAX_PERIOD ** (torch.arange(hidden // 4, dtype=torch.float64) / (hidden // 4))
    angle = torch.arange(size, dtype=torch.float64)[:, None] * omega
    axis = torch.cat([angle.sin(), angle.cos()], dim=1)
    along_x = axis[None].expand(size, size, -1)
    along_y = axis[:, None].expand(size, size, -1)
    return torch.cat([along_x, along_y], dim=-1).reshape(1, size * size, hidden).float()


class PatchEmbed(nn.Module):
    """Latent (B, C, y, x) -> tokens (B, N, D), row by row.

    On a GPU as a product of matrices: cuDNN's convolutions round float32 to TF32 by default, such products do not.
    """

    def __init__(self, config: DSDiTConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(config.in_channels, config.hidden_size, config.patch_size, config.patch_size)

    def forward(self, latent: Tensor) -> Tensor:
        return self._product(latent) if latent.is_cuda else cast(Tensor, self.proj(latent)).flatten(2).transpose(1, 2)

    def _product(self, latent: Tensor) -> Tensor:
        patches = F.pixel_unshuffle(latent, self.proj.kernel_size[0]).flatten(2).transpose(1, 2)
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


class TimestepEmbedder(nn.Module):
    """Timestep (B,) in 0..1000 -> conditioning vector (B, D)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(TIMESTEP_FREQUENCIES, hidden), nn.SiLU(), nn.Linear(hidden, hidden))

    def forward(self, timestep: Tensor) -> Tensor:
        half = TIMESTEP_FREQUENCIES // 2
        steps = torch.arange(half, dtype=torch.float32, device=timestep.device)
        angle = timestep.float()[:, None] * torch.exp(-math.log(_MAX_PERIOD) / half * steps)
        wave = torch.cat([angle.cos(), angle.sin()], dim=-1)
        return cast(Tensor, self.mlp(wave.to(cast(nn.Linear, self.mlp[0]).weight.dtype)))


class FinalLayer(nn.Module):
    """Tokens (B, N, D) -> patches (B, N, patch * patch * C)."""

    def __init__(self, config: DSDiTConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.norm_final = nn.LayerNorm(size, elementwise_affine=False, eps=1e-6)
        self.linear = nn.Linear(size, config.patch_size**2 * config.in_channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(size, 2 * size))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(context).chunk(2, dim=-1)
        return cast(Tensor, self.linear(modulate(self.norm_final(x), shift, scale)))


class DSDiT(nn.Module):
    """The network: noisy latent, time, lr and ref latents -> velocity."""

    pos_embed: Tensor

    def __init__(self, config: DSDiTConfig) -> None:
        super().__init__()
        self.config = config
        self.x_embedder = PatchEmbed(config)
        self.lr_embedder = PatchEmbed(config)
        self.ref_embedder = PatchEmbed(config)
        self.t_embedder = TimestepEmbedder(config.hidden_size)
        self.register_buffer("pos_embed", position_table(config.pos_embed_max_size, config.hidden_size))
        self.joint_blocks = nn.ModuleList(
            JointBlock(config.hidden_size, config.num_heads, config.qk_norm) for _ in range(config.depth)
        )
        self.final_layer = FinalLayer(config)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Starting values for training from nothing: adaLN, the last layer, PLW's last gate and projection are zero."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(module.weight.view(module.weight.shape[0], -1))
                nn.init.zeros_(cast(Tensor, module.bias))
        for block in self.joint_blocks:
            joint = cast(JointBlock, block)
            for stream in (joint.x_block, joint.lr_block, joint.ref_block):
                nn.init.zeros_(cast(nn.Linear, stream.adaLN_modulation[1]).weight)
            nn.init.zeros_(cast(nn.Linear, joint.weighting.gate[4]).weight)
            nn.init.zeros_(joint.weighting.zero_proj.weight)
        nn.init.zeros_(cast(nn.Linear, self.final_layer.adaLN_modulation[1]).weight)
        nn.init.zeros_(self.final_layer.linear.weight)

    def _positions(self, rows: int, cols: int) -> Tensor:
        """The table's central rows x cols: (1, N, D)."""
        size = self.config.pos_embed_max_size
        if rows > size or cols > size:
            raise ValueError(
                f"input has {rows} x {cols} tokens, the position table {size} x {size}: use a smaller tile"
            )
        top, left = (size - rows) // 2, (size - cols) // 2
        table = self.pos_embed.view(1, size, size, -1)
        return table[:, top : top + rows, left : left + cols].flatten(1, 2)

    def _check(self, x: Tensor, lr: Tensor, ref: Tensor) -> None:
        if not x.shape == lr.shape == ref.shape:
            raise ValueError(f"x {tuple(x.shape)}, lr {tuple(lr.shape)}, ref {tuple(ref.shape)} differ in shape")
        if (
            x.shape[1] != self.config.in_channels
            or x.shape[-2] % self.config.patch_size
            or (x.shape[-1] % self.config.patch_size)
        ):
            raise ValueError(
                f"x is {tuple(x.shape)}: wanted (B, {self.config.in_channels}, y, x), "
                f"y and x multiples of {self.config.patch_size}"
            )

    @overload
    def forward(
        self,
        x: Tensor,
        timestep: Tensor,
        lr: Tensor,
        ref: Tensor,
        ref_scale: Tensor | float = ...,
        *,
        return_weighting: Literal[False] = ...,
    ) -> Tensor: ...

    @overload
    def forward(
        self,
        x: Tensor,
        timestep: Tensor,
        lr: Tensor,
        ref: Tensor,
        ref_scale: Tensor | float = ...,
        *,
        return_weighting: Literal[True],
    ) -> tuple[Tensor, Tensor]: ...

    def forward(
        self,
        x: Tensor,
        timestep: Tensor,
        lr: Tensor,
        ref: Tensor,
        ref_scale: Tensor | float = 1.0,
        *,
        return_weighting: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """x, lr, ref (B, C, y, x), timestep (B,) = 1000 * sigma -> velocity (B, C, y, x).

        `ref_scale` is a number or (B,). With `return_weighting` also PLW's alpha_ref, averaged over the blocks:
        (B, y / patch, x / patch), 0 is all lr and 1 is all ref.
        """
        self._check(x, lr, ref)
        patch, channels = self.config.patch_size, self.config.in_channels
        rows, cols = x.shape[-2] // patch, x.shape[-1] // patch
        positions = self._positions(rows, cols)
        if isinstance(ref_scale, Tensor):
            ref_scale = ref_scale.to(x.dtype).reshape(-1, 1, 1)
        context = self.t_embedder(timestep)
        streams = (
            self.x_embedder(x) + positions,
            self.lr_embedder(lr) + positions,
            self.ref_embedder(ref) + positions,
        )
        weighting: list[Tensor] = []
        for block in self.joint_blocks:
            streams, alpha_ref = block(streams, context, ref_scale)
            weighting.append(alpha_ref)
        patches = self.final_layer(streams[0], context).view(-1, rows, cols, patch, patch, channels)
        velocity: Tensor = patches.permute(0, 5, 1, 3, 2, 4).reshape(-1, channels, rows * patch, cols * patch)
        if return_weighting:
            return velocity, torch.stack(weighting).mean(0).view(-1, rows, cols)
        return velocity
