"""Measures of every (reference, scene) pair that meets in some cell: harmonising fit, and registration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from catalogs.item import SceneItem
from catalogs.measure.cache import Spread
from catalogs.measure.cover_and_fit import cached_fits
from catalogs.measure.registration import cached_registrations, decide
from catalogs.source import Source
from dsdit.errors import ReadError
from dsdit.grid import Grid
from dsdit.plan.candidates import Cells
from dsdit.plan.pair_fits import Fits
from flows.request.settings import References


def measure_pairs(
    choice: References,
    ref_source: Source,
    lr_source: Source,
    items: list[SceneItem],
    cells: Cells,
    grid: Grid,
    folder: str,
    on_error: Callable[[ReadError], None],
    spread: Spread | None = None,
) -> Fits:
    """The fits of all pairs of `cells`, with their registration as the request sets it; cached below `folder`."""
    limit_px = float(choice.max_shift_px or grid.scale)
    fits = cached_fits(cells.pairs(), items, ref_source, lr_source, grid, folder, on_error, spread)
    if choice.registration == "off":
        return Fits.of(fits)
    shifts = cached_registrations(fits, items, ref_source, lr_source, grid, folder, on_error, spread)
    for pair, fit in fits.items():
        registration = decide(shifts[pair], grid, limit_px, choice.registration == "apply")
        fits[pair] = replace(fit, registration=registration)
    return Fits.of(fits)
