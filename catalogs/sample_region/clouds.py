"""Clouds with soft edges and their shadows, as functions of the position.

A cloud is a heap of discs; its cover falls to exactly 0 outside, so that what is clear is truly clear.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalogs.sample_region.relief import Array, Sun


@dataclass(frozen=True)
class CloudField:
    """The clouds of one scene, in landscape metres."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    radius_m: NDArray[np.float64]
    height_m: float
    """Height of the clouds, which displaces their shadows."""

    @staticmethod
    def heaped(places: list[tuple[float, float, float]], height_m: float, rng: np.random.Generator) -> CloudField:
        """`places` are (x, y, radius) of whole clouds; each becomes a heap of discs, longer to the east."""
        discs = []
        for x, y, radius in places:
            turn, off = rng.uniform(0, 2 * np.pi, 26), np.sqrt(rng.uniform(0, 1, 26))
            size = radius * rng.uniform(0.3, 0.75, 26) * (1.1 - 0.55 * off)
            discs.append(
                np.stack([x + 0.95 * radius * off * np.cos(turn), y + 0.6 * radius * off * np.sin(turn), size])
            )
        table = np.concatenate(discs, axis=1) if discs else np.zeros((3, 0))
        return CloudField(table[0], table[1], table[2], height_m)

    def cover(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> Array:
        """Cover 0..1 at each place."""
        x, y = np.asarray(x, np.float32), np.asarray(y, np.float32)
        x = x + 9 * np.sin(y / 37) + 3 * np.sin(y / 13 + x / 29)
        y = y + 9 * np.sin(x / 41) + 3 * np.sin(x / 15 - y / 31)
        clear = np.ones(np.shape(x), np.float32)
        for cx, cy, radius in np.stack([self.x, self.y, self.radius_m], 1).astype(np.float32):
            near = np.clip(1 - np.hypot(x - cx, y - cy) / radius, 0, 1)
            clear *= 1 - np.float32(0.62) * near * near * (3 - 2 * near)
        cover: Array = np.clip((1 - clear) / np.float32(0.8), 0, 1)
        return cover

    def shadow(self, x: NDArray[np.float64], y: NDArray[np.float64], sun: Sun) -> Array:
        """Shadow 0..1 at each place: the cover of the cloud between it and the sun."""
        sx, sy, sz = sun.vector
        return self.cover(x + self.height_m * sx / sz, y + self.height_m * sy / sz)
