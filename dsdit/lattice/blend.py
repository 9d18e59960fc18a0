"""Blending of tiles: weights that fall off in the overlaps, and the weighted mean.

A tile's weight is separable, falls linearly to its edge over the overlap and never reaches zero; sums are normalised.
Tiles are added in the order of their global index, so that a pixel's sum is the same whatever is computed around it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from dsdit.window import Window


def feather(tile_px: int, overlap_px: int) -> NDArray[np.float32]:
    """(tile_px,) weights: (k + 1/2) / overlap over the first overlap, 1 in between, and mirrored over the last."""
    ramp = (np.arange(overlap_px, dtype=np.float32) + np.float32(0.5)) / np.float32(overlap_px)
    weight = np.ones(tile_px, np.float32)
    weight[:overlap_px] = ramp
    weight[tile_px - overlap_px :] = np.minimum(weight[tile_px - overlap_px :], ramp[::-1])
    return weight


def blend(
    window: Window,
    tiles: Iterable[tuple[Window, NDArray[np.float32]]],
    weight: NDArray[np.float32],
    channels: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weighted mean of `tiles`, given in the order of their index, on `window`.

    Returns (channels, y, x) and the sum of weights (y, x); where that sum is 0 the mean is 0 too.
    """
    total = np.zeros((channels, *window.shape), np.float32)
    weights = np.zeros(window.shape, np.float32)
    plane = weight[:, None] * weight[None, :]
    for tile, values in tiles:
        part = tile.intersect(window)
        if part.empty:
            continue
        inside, outside = part.within(tile), part.within(window)
        total[(slice(None), *outside)] += values[(slice(None), *inside)] * plane[inside]
        weights[outside] += plane[inside]
    np.divide(total, weights, out=total, where=weights > 0)
    return total, weights
