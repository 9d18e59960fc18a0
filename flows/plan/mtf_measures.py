"""The MTF of the LR source, measured on a few pairs of a plan, or on a few scenes where no reference shows it.

It is reported and changes nothing: a plan follows the MTF that the source states.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from catalogs.item import SceneItem
from catalogs.measure.cache import Spread
from catalogs.measure.sensor_mtf import MeasuredMtf, cached_item_mtfs, cached_pair_mtfs
from dsdit.errors import ReadError
from dsdit.imaging.cubic import ON_PIXELS
from dsdit.imaging.mtf import after_cubic, middle_of
from dsdit.plan.candidates import Cells, pair_of
from dsdit.store.objects import join
from flows.plan.mtf_notes import mtf_text
from flows.plan.prepared import Prepared

MEASURED_PAIRS = 3
"""Pairs, or scenes, of a plan on which the MTF is measured, evenly spread over their table."""


def sensor_notes(
    prepared: Prepared,
    items: list[SceneItem],
    cells: Cells,
    on_error: Callable[[ReadError], None],
    spread: Spread | None = None,
) -> list[str]:
    """Lines on stated and measured MTF, and on what reading LR beside its own pixels costs."""
    source, grid = prepared.lr_source, prepared.region.grid
    folder = join(prepared.request.output, "measures")
    found: list[MeasuredMtf | None] = []
    if prepared.request.ref is not None and prepared.ref_source is not None:
        pairs = [pair_of(key) for key in _some(cells.pairs())]
        measured = cached_pair_mtfs(pairs, items, prepared.ref_source, source, grid, folder, on_error, spread)
        found += measured.values()
    if not any(each is not None and each.estimate is not None for each in found):
        scenes = _some(np.unique(cells.lr[cells.lr >= 0]))
        found += cached_item_mtfs(scenes, items, source, grid, folder, on_error, spread).values()
    known = [each for each in found if each is not None]
    estimate = middle_of([each.estimate for each in known if each.estimate is not None])
    lines = [f"sensor: {source.name} {mtf_text(source.mtf_nyquist, estimate)}"]
    beside = sorted({each.offsets_px for each in known} - {ON_PIXELS})
    if beside:
        left = after_cubic(source.mtf_nyquist, beside[0])
        lines.append(
            f"sensor: the grid is beside the pixels of {source.name}: read onto it, an MTF of "
            f"{source.mtf_nyquist:.3f} acts like {left:.3f}"
        )
    return lines


def _some(numbers: NDArray[np.integer]) -> list[int]:
    if not len(numbers):
        return []
    chosen = np.linspace(0, len(numbers) - 1, MEASURED_PAIRS).round()
    return [int(numbers[k]) for k in dict.fromkeys(int(k) for k in chosen)]
