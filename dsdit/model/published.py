"""How the published DS-DiT is used: three streams of latents of the SD3 autoencoder, velocity as it comes.

With R the picture restored from LR and all pictures in the scaled range:

    x0  = latent of HR
    lr  = latent of R, which takes the place of the paper's bicubic LR
    ref = latent of the reference, where it is not valid of R
    velocity = network(z, 1000 sigma, lr, ref, ref_scale)

The interface is that of `preconditioning.TinyModel`, so that sampler and evaluation run either.

Axes: B batch, C latent channels, (H, W) pixels, (h, w) latent pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from dsdit.model.autoencoder_files import check_channels
from dsdit.model.latent_model import Codec, Conditions, Denoised, LatentModel, Pixels
from dsdit.model.network import DSDiT


class Autoencoder(Codec, Protocol):
    """Pictures (B, 3, H, W) in [-1, 1] to normalised latents and back."""

    def encode(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, h, w)."""

    def decode(self, latent: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, 3, H, W)."""


@dataclass(frozen=True)
class PublishedConditions(Conditions):
    """Latents of R and of the reference; no high band is added to the network's output."""

    def without_reference(self) -> PublishedConditions:
        """The same tiles as if no reference had been found: the ref stream is R too."""
        return replace(self, ref=self.lr)


class PublishedModel(LatentModel):
    """A DSDiT of as many channels as its autoencoder has."""

    def __init__(self, network: DSDiT, codec: Autoencoder) -> None:
        self.network = network
        self.codec: Autoencoder = codec
        check_channels(network.config.in_channels, codec.channels)

    def conditions(
        self, restored: Pixels, ref: Pixels, ref_valid: Pixels, ref_high_band: Pixels, scale: int
    ) -> PublishedConditions:
        """R and matched reference (B, 3, H, W) scaled, `ref_valid` (B, H, W) bool -> latents.

        Values of the reference where it is not valid are not used; they may be NaN. The high band and the scale
        are not needed: R is on the HR grid.
        """
        base = self._pixels(restored)
        valid = torch.as_tensor(ref_valid).to(self.device).bool()[:, None]
        lr = self.codec.encode(base)
        ref_latent = self.codec.encode(torch.where(valid, self._pixels(ref), base))
        return PublishedConditions(lr=lr, ref=ref_latent, ref_high_band=torch.zeros_like(lr))

    def start(self, conditions: Conditions) -> Tensor:
        """(B, C, h, w) of R: the start of truncated sampling."""
        return conditions.lr

    def encode(self, hr: Pixels, restored: Pixels) -> Tensor:
        """HR (B, 3, H, W) scaled -> the clean latent x0 (B, C, h, w); R is not used."""
        return self.codec.encode(self._pixels(hr))

    def decode(self, latent: Tensor, restored: Pixels) -> Tensor:
        """Latent (B, C, h, w) -> SR (B, 3, H, W) scaled; R is not used."""
        return self.codec.decode(latent)

    def denoise(
        self, z: Tensor, sigma: Tensor | float, conditions: Conditions, ref_scale: Tensor | float = 1.0
    ) -> Denoised:
        """z (B, C, h, w) at `sigma` (number or (B,), in 0..1) -> x0 = z - sigma velocity; the gate is zero."""
        timestep = torch.as_tensor(sigma, dtype=torch.float32, device=z.device).expand(z.shape[0])
        velocity, weighting = self.network(
            z, 1000.0 * timestep, conditions.lr, conditions.ref, ref_scale, return_weighting=True
        )
        s = timestep[:, None, None, None]
        return Denoised((z - s * velocity).to(z.dtype), torch.zeros_like(z[:, 0]), weighting)
