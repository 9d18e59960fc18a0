"""Seams between LR scenes: where one cell's first scene meets another's, and how the step between them is removed.

Seam lines are those of the lattice of cells. Across them radiometry goes from one scene's to the other's over the
width of a cell. Each cell states a target at its centre, the radiometry of its own first scene; between centres the
targets are interpolated linearly in both directions. A pixel of any scene is brought to the target of its place by the
gains and offsets of the pairs (its scene, first scene of each of the four cells around it). On both sides of a line the
target is the same, so the step that the pair's fit describes is gone; a cell's width away each scene has its own values
again.

Why not one adjustment of all scenes, by least squares over the graph of their overlaps: the graph is that of the scenes
which the search found, so that a gain, and every pixel with it, would depend on how far the region reaches. Here a
pixel depends on its own and the eight neighbouring cells, each chosen by itself, and on pairs of items measured over
their whole overlap. A pair that shares too little to be measured keeps its step.
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
    for row in range(cells.window.row0, cells.window.row1, 64):
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
    place: Window,
    cell: Index,
    cell_px: int,
) -> NDArray[np.float32]:
    """Reflectance (band, y, x) of one scene on pixels `place` of `cell`, brought to the target of each pixel.

    `near` is (3, 3), the first scenes around; a cell has `cell_px` pixels a side, so that LR and HR pixels of one place
    have one target. Sums run in a fixed order. Where no pair with a scene around was measured, values stay as they are.
    """
    measured = {n: fit for n in set(near.ravel().tolist()) if (fit := fits.get((scene, n))) and fit.samples}
    if not measured:
        return values
    down = _shares(np.arange(place.row0, place.row1), cell.row, cell_px)
    right = _shares(np.arange(place.col0, place.col1), cell.col, cell_px)
    same, total = Fit.identity(len(values)), np.zeros(place.shape, np.float32)
    out = np.zeros_like(values)
    for r in range(3):
        for c in range(3):
            other = int(near[r, c])
            if other < 0:
                continue
            weight = down[r][:, None] * right[c][None, :]
            fit = measured.get(other, same)
            total += weight
            for band in range(len(values)):
                out[band] += weight * (values[band] * np.float32(fit.gain[band]) + np.float32(fit.offset[band]))
    return out / total


def _shares(pixels: NDArray[np.int64], cell: int, cell_px: int) -> NDArray[np.float32]:
    """(3, n) weights of the cell before, the cell itself and the one after, for pixels of the cell; their sum is 1."""
    from_centre = ((pixels - cell * cell_px) + 0.5) / cell_px - 0.5
    return np.maximum(0.0, 1.0 - np.abs(from_centre - np.array([[-1.0], [0.0], [1.0]]))).astype(np.float32)
