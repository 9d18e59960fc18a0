"""Codecs between pixels and latents. `dsdit-tiny` works in pixel space: a rotation that loses nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


def _rotate_across_borders(image: Tensor, axis: int, block: int, sign: float) -> Tensor:
    """Turns the pairs of pixels that mirror each other in a border between blocks, by 45 degrees next to it.

    Further off the angle falls to nothing: pair i by pi/4 (1 - (2i + 1) / block), the sine window of a lapped
    transform (Malvar 1992). The outer edges of `image` are left alone.
    """
    half = block // 2
    count = image.shape[axis] // block - 1
    if count < 1:
        return image
    inner = image.narrow(axis, half, count * block).movedim(axis, -1).unflatten(-1, (count, block))
    before, after = inner[..., :half].flip(-1), inner[..., half:]
    angle = math.pi / 4 * (1 - (2 * torch.arange(half, dtype=torch.float64) + 1) / block)
    cos, sin = (f(angle).to(image) for f in (torch.cos, torch.sin))
    turned = torch.cat([(cos * before + sign * sin * after).flip(-1), cos * after - sign * sin * before], -1)
    middle = turned.flatten(-2).movedim(-1, axis)
    end = half + count * block
    return torch.cat([image.narrow(axis, 0, half), middle, image.narrow(axis, end, image.shape[axis] - end)], axis)


@dataclass(frozen=True)
class PixelCodec:
    """Pixel unshuffle: factor x factor pixels of each band become channels of one latent pixel.

    Detail (pictures of mean near zero) is lapped before: blocks of `lap_px` share their border pixels by a rotation,
    so that what is drawn in one block fades into the next instead of ending at a line. Both maps are orthogonal:
    squared errors are the same in latents and in pixels.
    """

    factor: int = 4
    """Image pixels along one side of a latent pixel."""
    lap_px: int = 8
    """Side of the lapped blocks; 0 laps nothing."""
    bands: int = 3
    """Bands of the image."""

    @property
    def channels(self) -> int:
        """Channels of a latent."""
        return self.bands * self.factor**2

    def _lap(self, image: Tensor, sign: float) -> Tensor:
        if self.lap_px == 0:
            return image
        for axis in (-2, -1):
            image = _rotate_across_borders(image, axis, self.lap_px, sign)
        return image

    def encode(self, image: Tensor) -> Tensor:
        """(B, bands, H, W) -> (B, channels, H / factor, W / factor), not lapped."""
        return F.pixel_unshuffle(image, self.factor)

    def encode_detail(self, detail: Tensor) -> Tensor:
        """(B, bands, H, W) -> (B, channels, H / factor, W / factor), lapped."""
        return F.pixel_unshuffle(self._lap(detail, 1.0), self.factor)

    def decode_detail(self, latent: Tensor) -> Tensor:
        """(B, channels, h, w) -> (B, bands, h * factor, w * factor); undoes `encode_detail`."""
        return self._lap(F.pixel_shuffle(latent, self.factor), -1.0)
