"""Toroidal noise, taken at a pixel's place, so that the same place looks the same on every date."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from catalogs.sample_region.relief import Array

_TEXTURE_PX = 512


class Textures:
    """Toroidal noise of mean 0 and deviation 1 at several grains, by pixel."""

    def __init__(self, seed: int, shape: tuple[int, int]) -> None:
        rng = np.random.Generator(np.random.Philox(key=[seed, 2]))
        self.shape = shape
        noise = rng.standard_normal((3, _TEXTURE_PX, _TEXTURE_PX)).astype(np.float32)
        self.grain = self._spread(_unit(gaussian_filter(noise[0], 0.7, mode="wrap")))
        self.tufts = self._spread(_unit(gaussian_filter(noise[1], 2.2, mode="wrap")))
        self.patches = self._enlarge(_unit(_octaves(noise[2])), 6)
        rows = rng.standard_normal(8192).astype(np.float32)
        self.rows = np.clip(_unit(gaussian_filter1d(rows, 2.6, mode="wrap")), -2.0, 2.0)

    def _spread(self, texture: Array) -> Array:
        """`texture` again and again over the picture."""
        rows, columns = self.shape
        out = np.empty(self.shape, np.float32)
        for top in range(0, rows, texture.shape[0]):
            for left in range(0, columns, texture.shape[1]):
                here = out[top : top + texture.shape[0], left : left + texture.shape[1]]
                here[:] = texture[: here.shape[0], : here.shape[1]]
        return out

    def _enlarge(self, texture: Array, factor: int) -> Array:
        size = _TEXTURE_PX * factor
        return self._spread(np.asarray(Image.fromarray(texture).resize((size, size), Image.Resampling.BICUBIC)))


def _unit(texture: Array) -> Array:
    return np.asarray((texture - texture.mean()) / texture.std(), np.float32)


def _octaves(noise: Array) -> Array:
    """Grains of 2, 5 and 12 pixels, the coarse ones stronger."""
    total = np.zeros(noise.shape, np.float32)
    for grain in (2.0, 5.0, 12.0):
        total += np.float32(grain**1.85) * gaussian_filter(noise, grain, mode="wrap")
    return total
