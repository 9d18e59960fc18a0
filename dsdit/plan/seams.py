"""Seams between LR scenes: where one cell's first scene meets another's, and how the step between them is removed.

Seams run along the lattice of cells. The radiometry of a cell's first scene is the target at the cell's centre; between
centres targets are interpolated bilinearly. A pixel of any scene is brought to the target at its position by the gains
and offsets of the pairs (its scene, first scene of each of the four cells around it). On both sides of a seam the
target is the same, so the step that the pair's fit describes is gone; a cell's width away each scene has its own values
again.

One adjustment of all scenes, by least squares over the graph of their overlaps, is not used: that graph depends on the
scenes that the search found, so that gains, and all pixels with them, would depend on how far the region reaches. A
pixel here depends on its own and the eight neighbouring cells, each chosen separately, and on pairs measured over
their whole overlap. The step of a pair that shares too little to be measured is left.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from dsdit.plan.candidates import Cells, pair_keys
from dsdit.plan.pair_fits import Fit, Fits
from dsdit.window import Index, Window


def first_scenes(cells: Cells, window: Window) -> NDArray[np.int32]:
    """(row, col, 3, 3) first scene of each cell of a window and of its eight neighbours, -1 where there is none."""
    lr, _ = cells.part(window.expand(1))
    return sliding_window_view(lr[..., 0], (3, 3))


def seam_pairs(cells: Cells) -> NDArray[np.int64]:
    """Sorted keys of the pairs (scene, other scene) that balancing needs; see `pair_keys`."""
    found = [np.empty(0, np.int64)]
    for row in range(cells.window.row0, cells.window.row1, 64):  # a band of rows at a time bounds memory
        band = Window(row, cells.window.col0, min(row + 64, cells.window.row1), cells.window.col1)
        lr, _ = cells.part(band)
        near = first_scenes(cells, band).reshape(*band.shape, 9)
        for k in range(cells.lr.shape[2]):
            scene = np.broadcast_to(lr[..., k, None], near.shape)
            keys = pair_keys(scene, near)
            found.append(np.unique(keys[(keys >= 0) & (scene != near)]))
    return np.unique(np.concatenate(found))


def balance(
    values: NDArray[np.float32],
    scene: int,
    near: NDArray[np.int32],
    fits: Fits,
    window: Window,
    cell: Index,
    cell_px: int,
) -> NDArray[np.float32]:
    """Reflectance (band, y, x) of one scene on the pixels `window` of `cell`, brought to the target of each pixel.

    `near` is (3, 3), the first scenes around; a cell has `cell_px` pixels a side, so that LR and HR pixels of one
    position have one target. Sums run in a fixed order. Values are returned unchanged where no pair of the scene with
    one around was measured.
    """
    measured = {n: fit for n in set(near.ravel().tolist()) if (fit := fits.get((scene, n))) and fit.samples}
    if not measured:
        return values
    down = _shares(np.arange(window.row0, window.row1), cell.row, cell_px)
    right = _shares(np.arange(window.col0, window.col1), cell.col, cell_px)
    same, total = Fit.identity(len(values)), np.zeros(window.shape, np.float32)
    out = np.zeros_like(values)
    for r in range(3):
        for c in range(3):
            other = int(near[r, c])
            if other < 0:
                continue
            weight = down[r][:, None] * right[c][None, :]
            # An unmeasured pair takes part with gain 1 and offset 0.
            fit = measured.get(other, same)
            total += weight
            for band in range(len(values)):
                out[band] += weight * (values[band] * np.float32(fit.gain[band]) + np.float32(fit.offset[band]))
    return out / total


def _shares(pixels: NDArray[np.int64], cell: int, cell_px: int) -> NDArray[np.float32]:
    """(3, n) weights of the cell before, the cell itself and the one after, for pixels of the cell; their sum is 1."""
    # Distance from the centre in cells, -1/2 to 1/2: a hat function around each of the three centres.
    from_centre = ((pixels - cell * cell_px) + 0.5) / cell_px - 0.5
    share: NDArray[np.float64] = np.maximum(0.0, 1.0 - np.abs(from_centre - np.array([[-1.0], [0.0], [1.0]])))
    return share.astype(np.float32)
