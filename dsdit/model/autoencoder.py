"""Codecs between pixels and latents. `dsdit-tiny` works in pixel space: a rearrangement that loses nothing."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class PixelCodec:
    """Pixel unshuffle: factor x factor pixels of each band become channels of one latent pixel."""

    factor: int = 4
    """Image pixels along one side of a latent pixel."""
    bands: int = 3
    """Bands of the image."""

    @property
    def channels(self) -> int:
        """Channels of a latent."""
        return self.bands * self.factor**2

    def encode(self, image: Tensor) -> Tensor:
        """(B, bands, H, W) -> (B, channels, H / factor, W / factor)."""
        return F.pixel_unshuffle(image, self.factor)

    def decode(self, latent: Tensor) -> Tensor:
        """(B, channels, h, w) -> (B, bands, h * factor, w * factor)."""
        return F.pixel_shuffle(latent, self.factor)
