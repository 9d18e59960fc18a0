"""Composite of a cell's candidates: each pixel takes the first valid candidate, or the median of the first three.

`first` takes the first candidate that is valid at the pixel. `median` takes, band by band, the median of the first
three overpasses that are valid there; where fewer are, an outlier could not be recognised, and the pixel takes the
first. Scenes of one overpass show the same moment and count once. Candidates come in the plan's order, clear scenes
first, so a cloudy one is read only where clear ones are too few. The item of a median pixel is, of the three, the one
whose bands differ least from the median in sum, the earlier candidate where two are alike: date and reference fits are
then those of a scene that shows nearly this value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from dsdit.bands import BANDS
from dsdit.status import LrState

DEPTH = {"first": 1, "median": 3}
"""Valid candidates that a pixel of each composite uses."""

Picture = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]
"""(reflectance (band, y, x), valid (y, x), cloud (y, x)) of one candidate."""


def compose(
    composite: str,
    shape: tuple[int, int],
    candidates: Iterator[tuple[int, Picture | None]],
    overpasses: Mapping[int, int] | None = None,
    bands: int = len(BANDS),
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.int32]]:
    """Reflectance (band, y, x) with NaN where invalid, `LrState` (y, x) and item numbers (y, x).

    `candidates` yields number and picture, None where it could not be read; no more are read than needed.
    `overpasses` numbers the overpass of each candidate; without it each is its own.
    """
    depth, overpasses = DEPTH[composite], overpasses or {}
    values = np.full((depth, bands, *shape), np.nan, np.float32)
    items = np.full((depth, *shape), -1, np.int32)
    count = np.zeros(shape, np.int64)
    cloudy, unread = np.zeros(shape, bool), False
    for number, picture in candidates:
        if picture is None:
            unread = True
        else:
            new, valid, cloud = picture
            mates = [other for other, of in overpasses.items() if of == overpasses.get(number)]
            counted = np.isin(items, mates).any(0)  # pixels that have a scene of this overpass
            rows, cols = np.nonzero(valid & (count < depth) & ~counted)
            at = count[rows, cols]
            values[at, :, rows, cols] = new[:, rows, cols].T
            items[at, rows, cols] = number
            count[rows, cols] += 1
            cloudy |= cloud
        if (count == depth).all():
            break
    if depth > 1:
        _take_median(values, items, count == depth)
    state = np.where(cloudy, np.uint8(LrState.CLOUDY), np.uint8(LrState.NO_DATA))
    if unread:
        state[:] = LrState.UNREADABLE
    state[count > 0] = LrState.VALID
    return values[0], state, items[0]


def _take_median(values: NDArray[np.float32], items: NDArray[np.int32], where: NDArray[np.bool_]) -> None:
    """Writes the median, and the item nearest to it, into the first layer of `values` and `items`."""
    candidates = values[:, :, where]
    middle = np.sort(candidates, axis=0)[len(candidates) // 2]
    nearest = np.abs(candidates - middle).sum(axis=1).argmin(axis=0)
    values[0][:, where] = middle
    items[0][where] = np.take_along_axis(items[:, where], nearest[None], 0)[0]
