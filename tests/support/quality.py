"""Artefacts that a mosaic must not show: seams on the lattice of tiles, blocks on the lattice of LR pixels.

Both are ratios of mean absolute differences between neighbouring pixels, across lines of the one kind and of the other.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dsdit.lattice.tiling import Lattice
from dsdit.window import Window

_Lines = Callable[[NDArray[np.int64]], NDArray[np.bool_]]


def line_gradients(picture: NDArray[np.float32], axis: int) -> NDArray[np.float64]:
    """(n - 1,) mean |difference| across the line between pixels k and k + 1 along `axis` (-2 or -1), NaN left out."""
    steps = np.abs(np.diff(picture.astype(np.float64), axis=axis))
    other = tuple(k for k in range(steps.ndim) if k != steps.ndim + axis)
    return np.nanmean(steps, axis=other)


def seam_ratio(picture: NDArray[np.float32], window: Window, lattice: Lattice) -> float:
    """Gradient across lines where a tile begins or ends, over that of others of their phase.

    `picture` (band, y, x) covers `window`. Both kinds of line are borders of LR pixels; only tiles distinguish them.
    """
    return _ratio(picture, window, lambda line: line % lattice.scale == 0, lambda line: _on_tiles(line, lattice))


def block_ratio(picture: NDArray[np.float32], window: Window, scale: int) -> float:
    """Gradient across borders of LR pixels, over that inside LR pixels."""
    return _ratio(picture, window, lambda line: np.ones_like(line, bool), lambda line: line % scale == 0)


def _on_tiles(line: NDArray[np.int64], lattice: Lattice) -> NDArray[np.bool_]:
    return (line % lattice.stride_px == 0) | ((line - lattice.overlap_px) % lattice.stride_px == 0)


def _ratio(picture: NDArray[np.float32], window: Window, among: _Lines, on: _Lines) -> float:
    chosen, others = [], []
    for axis, first in ((-2, window.row0), (-1, window.col0)):
        gradients = line_gradients(picture, axis)
        line = first + 1 + np.arange(len(gradients))
        here = among(line)
        chosen.append(gradients[here & on(line)])
        others.append(gradients[here & ~on(line)])
    return float(np.nanmean(np.concatenate(chosen)) / np.nanmean(np.concatenate(others)))
