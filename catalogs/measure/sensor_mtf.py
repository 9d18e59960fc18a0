"""The MTF of a source's sensor at the LR Nyquist frequency, measured on the windows of a pair of items, or of one item.

It belongs to items and grid, never to a region, and is cached under their digests like fit and shift. No plan follows
it by itself: what it is good for is the number that a source states (`mtf_nyquist`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from catalogs.item import SceneItem
from catalogs.measure.cache import OnError, Pair, Spread, cached_pairs
from catalogs.measure.registration import read_window, registration_windows
from catalogs.read.lattice_offset import lattice_offsets
from catalogs.read.scene import read_scene
from catalogs.source import Source
from dsdit.grid import Grid
from dsdit.imaging.cubic import ON_PIXELS, Offset
from dsdit.imaging.mtf import Method, MtfEstimate, estimate_alone, estimate_by_reference
from dsdit.imaging.spectra import BLOCK_PX, Spectra, joined, measure_spectra
from dsdit.window import Window

ENOUGH_BLOCKS = 18
"""Blocks of 32 LR pixels after which no more windows are read: two windows of 64."""
NOISE = 0.001
"""Standard deviation of LR's noise that is reckoned with, in reflectance: about that of Sentinel-2's 10 m bands."""
_MARGIN_PX = 2


@dataclass(frozen=True)
class MeasuredMtf:
    """What a pair or an item shows of the sensor itself, before LR is read onto a grid; None where it shows nothing."""

    estimate: MtfEstimate | None = None
    offsets_px: tuple[Offset, ...] = ON_PIXELS
    """How far beside its own pixels LR is read onto the grid: `imaging.mtf.after_cubic` gives what is left there."""


def measure_pair_mtf(ref: SceneItem, ref_source: Source, lr: SceneItem, lr_source: Source, grid: Grid) -> MeasuredMtf:
    """Against a reference, from windows at LR and HR. Raises ReadError."""
    spectra: list[Spectra] = []
    offsets_px = ON_PIXELS
    for window in registration_windows(ref, lr, grid):
        both = read_window(ref, ref_source, lr, lr_source, grid, window)
        if both is None:
            continue
        spectra.append(measure_spectra(both.lr, both.ref, grid.scale, both.valid, NOISE, _margin_px(window)))
        offsets_px = both.offsets_px
        if _blocks(spectra) >= ENOUGH_BLOCKS:
            break
    if not _blocks(spectra):
        return MeasuredMtf(None, offsets_px)
    return MeasuredMtf(estimate_by_reference(joined(spectra), offsets_px), offsets_px)


def measure_item_mtf(item: SceneItem, source: Source, lr: SceneItem, lr_source: Source, grid: Grid) -> MeasuredMtf:
    """From the spectrum of `lr` alone; `item` is `lr` too. Raises ReadError."""
    spectra: list[Spectra] = []
    offsets_px = ON_PIXELS
    for window in registration_windows(lr, lr, grid):
        geobox = grid.lr_geobox(window)
        values, valid, mask = read_scene(lr, lr_source, geobox, "cubic")
        spectra.append(measure_spectra(values, None, grid.scale, valid & (mask == 0), NOISE))
        offsets_px = lattice_offsets(lr, lr_source, geobox)
        if _blocks(spectra) >= ENOUGH_BLOCKS:
            break
    if not _blocks(spectra):
        return MeasuredMtf(None, offsets_px)
    return MeasuredMtf(estimate_alone(joined(spectra), offsets_px), offsets_px)


def _margin_px(window: Window) -> int:
    """Along the edges the simulated picture lacks what is outside; a small window has no room for a margin."""
    return _MARGIN_PX if min(window.shape) >= BLOCK_PX + 2 * _MARGIN_PX else 0


def _blocks(spectra: list[Spectra]) -> int:
    return sum(len(each.lr) for each in spectra)


def _measured(record: dict[str, Any]) -> MeasuredMtf:
    """Raises ValueError and others where the record is none."""
    offsets_px = tuple((float(dy), float(dx)) for dy, dx in record["offsets_px"])
    if record["estimate"] is None:
        return MeasuredMtf(None, offsets_px)
    found = MtfEstimate(**record["estimate"])
    numbers = [float(number) for number in (found.value, found.low, found.high, found.n)]
    if not np.isfinite(numbers).all() or found.method not in get_args(Method) or not offsets_px:
        raise ValueError(f"{found}")
    return MeasuredMtf(found, offsets_px)


def cached_pair_mtfs(
    pairs: Iterable[Pair],
    items: Sequence[SceneItem],
    source: Source,
    lr_source: Source,
    grid: Grid,
    folder: str,
    on_error: OnError,
    spread: Spread | None = None,
) -> dict[Pair, MeasuredMtf | None]:
    """`measure_pair_mtf` of every pair (number of an item of `source`, of an LR item), cached below `folder`.

    None, reported and not cached, where a pair cannot be read.
    """
    grid_key, both = [grid.crs, repr(grid.gsd_m), repr(grid.scale)], (source, lr_source)
    return cached_pairs(
        "mtf", grid, grid_key, pairs, items, both, folder, measure_pair_mtf, _measured, on_error, spread
    )


def cached_item_mtfs(
    numbers: Iterable[int],
    items: Sequence[SceneItem],
    lr_source: Source,
    grid: Grid,
    folder: str,
    on_error: OnError,
    spread: Spread | None = None,
) -> dict[int, MeasuredMtf | None]:
    """`measure_item_mtf` of LR items, cached as that of a pair of an item with itself."""
    grid_key, both = [grid.crs, repr(grid.gsd_m), repr(grid.scale), "alone"], (lr_source, lr_source)
    pairs = [(number, number) for number in numbers]
    found = cached_pairs(
        "mtf", grid, grid_key, pairs, items, both, folder, measure_item_mtf, _measured, on_error, spread
    )
    return {number: measured for (number, _), measured in found.items()}
