"""What every model offers to sampling and evaluation: conditions of a batch, one denoising pass, its codec.

Axes: B batch, C latent channels, (H, W) pixels, (h, w) latent pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor

from dsdit.model.network import DSDiT

Pixels = Tensor | NDArray[Any]
"""A picture; arrays are moved to the model's device and type."""


class Codec(Protocol):
    """What a model needs of its codec."""

    @property
    def factor(self) -> int:
        """Image pixels along one side of a latent pixel."""

    @property
    def channels(self) -> int:
        """Channels of a latent."""


@dataclass(frozen=True)
class Conditions:
    """What one batch of tiles is conditioned on."""

    lr: Tensor
    """(B, C + extra, h, w): R, the scale channel, zeros."""
    ref: Tensor
    """(B, C + extra, h, w): (Ref - R) * 16, the share of valid reference pixels, zeros."""
    ref_high_band: Tensor
    """(B, bands, H, W): the reference's high band times 16, zero where the reference is not valid."""

    def without_reference(self) -> Conditions:
        """The same tiles as if no reference had been found."""
        return replace(self, ref=torch.zeros_like(self.ref), ref_high_band=torch.zeros_like(self.ref_high_band))


@dataclass(frozen=True)
class Denoised:
    """What one network pass estimates of the clean latent."""

    x0: Tensor
    """(B, C, h, w)."""
    gate: Tensor
    """(B, h, w): the kernel's centre, the share of the reference's high band that was used unchanged, 0..1."""
    weighting: Tensor
    """(B, h / patch, w / patch): PLW's alpha_ref, averaged over the blocks."""


class LatentModel(Protocol):
    """A network and the codec of its latents. `sampling` and `evaluation` know models by these members alone."""

    network: DSDiT
    codec: Codec

    @property
    def device(self) -> torch.device:
        """Where the network's tensors are."""
        return self.network.pos_embed.device

    @property
    def dtype(self) -> torch.dtype:
        """What the network computes in."""
        return self.network.pos_embed.dtype

    @property
    def channels(self) -> int:
        """Channels of a latent, hence of the noise."""
        return self.codec.channels

    @property
    def token_px(self) -> int:
        """Image pixels along one side of a token."""
        return self.codec.factor * self.network.config.patch_size

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(H, W) pixels -> (C, h, w) of the latent and its noise."""
        if height % self.token_px or width % self.token_px:
            raise ValueError(f"tile {height} x {width} px is not a multiple of {self.token_px} px, a token's side")
        return self.channels, height // self.codec.factor, width // self.codec.factor

    def _pixels(self, values: Pixels) -> Tensor:
        return torch.as_tensor(values).to(device=self.device, dtype=self.dtype)

    def conditions(
        self, restored: Pixels, ref: Pixels, ref_valid: Pixels, ref_high_band: Pixels, scale: int
    ) -> Conditions:
        """R, matched reference and its high band (B, 3, H, W) scaled, `ref_valid` (B, H, W) bool -> Conditions.

        Values of the reference where it is not valid are not used; they may be NaN.
        """

    def start(self, conditions: Conditions) -> Tensor:
        """(B, C, h, w) of R: from where truncated sampling begins."""

    def encode(self, hr: Pixels, restored: Pixels) -> Tensor:
        """HR and R (B, 3, H, W) scaled -> the clean latent x0 (B, C, h, w); for training."""

    def decode(self, latent: Tensor, restored: Pixels) -> Tensor:
        """Latent (B, C, h, w) and R (B, 3, H, W) scaled -> SR (B, 3, H, W) scaled."""

    def denoise(
        self, z: Tensor, sigma: Tensor | float, conditions: Conditions, ref_scale: Tensor | float = 1.0
    ) -> Denoised:
        """z (B, C, h, w) at `sigma` (number or (B,), in 0..1) -> estimate of x0, in one network pass."""
