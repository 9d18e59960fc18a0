"""How `dsdit-tiny` uses DS-DiT: what its three streams hold and how its output becomes a velocity.

LR determines the low band, so the network draws only what LR does not resolve. With R the picture restored from LR
(`sensor.restored_lr`) and all pictures in the scaled range:

    x0  = (HR - R) * 16                      lapped and rearranged by PixelCodec; about unit variance
    lr  = R                                  and one channel log2(scale / 8)
    ref = (Ref - R) * 16, 0 where missing    and one channel: share of valid reference pixels in the cell
    x   = (1-s)/V z, V = s^2 + (1-s)^2       the best linear guess at x0
    x0_hat = (1-s)/V z + s/sqrt(V) (out + K RefHB)
    velocity = (z - x0_hat) / s

RefHB is the reference's high band, K a small kernel for each latent pixel, drawn by the network in extra output
channels and interpolated to every pixel (kernel prediction; Bako et al. 2017): it takes the reference's detail
unchanged, moves it by a fraction of a pixel, softens it, or leaves it out. Its centre is a sigmoid; all of it is
multiplied by ref_scale. The streams' other extra channels are zeros. At s = 1 the x stream is zero, so one step from
pure noise does not depend on the noise: it is the network's estimate of the posterior mean. The kernel is outside
DSDiT, whose state dict is the published one.

Axes: B batch, C latent channels, (H, W) pixels, (h, w) latent pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dsdit.model.autoencoder import PixelCodec
from dsdit.model.latent_model import Conditions, Denoised, LatentModel, Pixels
from dsdit.model.network import DSDiT
from dsdit.model.weights_config import KERNEL_PX, RESIDUAL_SCALE

NATIVE_SCALE = 8
"""Scale at which the lr stream's extra channel is zero."""


def network_channels(codec: PixelCodec, kernel_px: int = KERNEL_PX) -> int:
    """Channels of the network: a latent's, and one for each tap of the kernel."""
    return codec.channels + kernel_px**2


class TinyModel(LatentModel):
    """A DSDiT of 3 * 4^2 + 5^2 channels with the streams, output and codec above."""

    def __init__(
        self,
        network: DSDiT,
        codec: PixelCodec | None = None,
        residual_scale: float = RESIDUAL_SCALE,
        kernel_px: int = KERNEL_PX,
    ) -> None:
        self.codec: PixelCodec = codec or PixelCodec()
        self.network = network
        self.residual_scale = residual_scale
        self.kernel_px = kernel_px
        wanted = network_channels(self.codec, kernel_px)
        if network.config.in_channels != wanted:
            raise ValueError(f"network has {network.config.in_channels} channels, its codec needs {wanted}")

    def conditions(
        self, restored: Pixels, ref: Pixels, ref_valid: Pixels, ref_high_band: Pixels, scale: int
    ) -> Conditions:
        """R, matched reference and its high band (B, 3, H, W) scaled, `ref_valid` (B, H, W) bool -> Conditions.

        Values of the reference where it is not valid are not used; they may be NaN.
        """
        base = self._pixels(restored)
        valid = torch.as_tensor(ref_valid).to(self.device).bool()[:, None]
        zero = base.new_zeros(())
        share = torch.nn.functional.avg_pool2d(valid.to(self.dtype), self.codec.factor)
        lr = self.codec.encode(base)
        difference = torch.where(valid, self._pixels(ref) - base, zero) * self.residual_scale
        high_band = torch.where(valid, self._pixels(ref_high_band), zero) * self.residual_scale
        return Conditions(
            lr=self._stream(lr, torch.full_like(lr[:, :1], math.log2(scale / NATIVE_SCALE))),
            ref=self._stream(self.codec.encode_detail(difference), share),
            ref_high_band=high_band,
        )

    def _stream(self, latent: Tensor, *extra: Tensor) -> Tensor:
        """A latent, its extra channels, and zeros up to the network's channels."""
        together = torch.cat([latent, *extra], dim=1)
        missing = self.network.config.in_channels - together.shape[1]
        return torch.nn.functional.pad(together, (0, 0, 0, 0, 0, missing))

    def _taken(self, taps: Tensor, high_band: Tensor) -> Tensor:
        """Kernels (B, taps, h, w) applied to the high band (B, bands, H, W), summed in a fixed order -> latent."""
        side, reach = self.kernel_px, self.kernel_px // 2
        spread = torch.nn.functional.interpolate(taps, scale_factor=self.codec.factor, mode="bilinear")
        padded = torch.nn.functional.pad(high_band.to(taps.dtype), (reach,) * 4)
        height, width = high_band.shape[-2:]
        total = torch.zeros_like(padded[..., :height, :width])
        for k, tap in enumerate(spread.split(1, dim=1)):
            row, col = divmod(k, side)
            total = total + tap * padded[..., row : row + height, col : col + width]
        return self.codec.encode_detail(total)

    def start(self, conditions: Conditions) -> Tensor:
        """(B, C, h, w) of R: the start of truncated sampling."""
        return torch.zeros_like(conditions.lr[:, : self.codec.channels])

    def encode(self, hr: Pixels, restored: Pixels) -> Tensor:
        """HR and R (B, 3, H, W) scaled -> the clean latent x0 (B, C, h, w); for training."""
        return self.codec.encode_detail((self._pixels(hr) - self._pixels(restored)) * self.residual_scale)

    def decode(self, latent: Tensor, restored: Pixels) -> Tensor:
        """Latent (B, C, h, w) and R (B, 3, H, W) scaled -> SR (B, 3, H, W) scaled."""
        return self._pixels(restored) + self.codec.decode_detail(latent) / self.residual_scale

    def denoise(
        self, z: Tensor, sigma: Tensor | float, conditions: Conditions, ref_scale: Tensor | float = 1.0
    ) -> Denoised:
        """z (B, C, h, w) at `sigma` (number or (B,), in 0..1) -> estimate of x0, in one network pass."""
        timestep = torch.as_tensor(sigma, dtype=torch.float32, device=z.device).expand(z.shape[0])
        s = timestep[:, None, None, None]
        variance = s**2 + (1 - s) ** 2
        guess = ((1 - s) / variance * z).to(z.dtype)
        out, weighting = self.network(
            self._stream(guess),
            1000.0 * timestep,
            conditions.lr,
            conditions.ref,
            ref_scale,
            return_weighting=True,
        )
        scale = torch.as_tensor(ref_scale, dtype=torch.float32, device=z.device).reshape(-1, 1, 1, 1)
        channels, middle = self.codec.channels, self.kernel_px**2 // 2
        taps = out[:, channels:].float()
        gate = taps[:, middle : middle + 1].sigmoid() * scale
        kernel = torch.cat([taps[:, :middle] * scale, gate, taps[:, middle + 1 :] * scale], dim=1)
        drawn = out[:, :channels].float() + self._taken(kernel, conditions.ref_high_band)
        x0 = guess + s / variance.sqrt() * drawn
        share = conditions.ref[:, channels]
        return Denoised(x0.to(z.dtype), (gate[:, 0] * share).to(z.dtype), weighting)
