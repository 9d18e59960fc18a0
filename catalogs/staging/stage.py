"""Step `stage`: reads the pixels of one job, once, onto the LR and HR lattices, as reflectance.

Each cell's candidates are tried in the plan's order and composed (catalogs/staging/composite.py). A read error never
counts as no data: the pixel goes to the next candidate, the job is degraded, and where none is left the pixel is
unreadable. Invalid LR pixels are filled from their nearest valid neighbours, so that the network's input has no jump
there. A reference is aligned to the scene of each pixel: the pair's measured shift is corrected as it is read.
"""

from __future__ import annotations

import json
import time

import numpy as np
from numpy.typing import NDArray

from catalogs.choose.overpasses import group_overpasses
from catalogs.item import SceneItem
from catalogs.masks import CLOUD
from catalogs.measure.registration import moves_of, registration_measures
from catalogs.read.scene import STILL, Move, read_scene
from catalogs.staging.composite import DEPTH, Picture, compose
from catalogs.staging.parsed import parse_item, parse_source
from dsdit.errors import ReadError
from dsdit.imaging.fill import carry
from dsdit.lattice.tiling import CELL_LR_PX, FILL_RADIUS_LR_PX
from dsdit.mosaic.lease import Check, unchecked
from dsdit.plan.pair_fits import Fit
from dsdit.plan.plan import Plan
from dsdit.plan.seams import balance, first_scenes
from dsdit.receipts.receipts import Receipt
from dsdit.status import JobState, LrState
from dsdit.steps.scratch import origin
from dsdit.store.arrays import write_shard
from dsdit.window import Index, Window


class Reader:
    """Reads candidates of one job and collects read errors."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.sources = {name: parse_source(json.dumps(record)) for name, record in plan.sources.items()}
        self.errors: dict[int, str] = {}
        self.read: set[int] = set()
        self.pairs: set[tuple[int, int]] = set()

    def item(self, number: int) -> SceneItem:
        """An item of the plan by its number."""
        return parse_item(str(self.plan.items.records[number]))

    def bands(
        self, number: int, window: Window, lr: bool, move_m: Move = STILL
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]] | None:
        """(reflectance, valid, cloud) on the LR or HR lattice; None after a read error, which goes into `errors`.

        A moved image is resampled cubically even where the file shares the lattice: half a pixel costs 8% of the
        energy above LR's band limit, bilinear 21%.
        """
        item, grid = self.item(number), self.plan.region.grid
        source = self.sources[item.source]
        geobox = grid.lr_geobox(window) if lr else grid.hr_geobox(window)
        try:
            resampling = "cubic" if lr or move_m != STILL else "bilinear"
            values, valid, mask = read_scene(item, source, geobox, resampling, move_m, self.plan.bands)
        except ReadError as error:
            self.errors[number] = str(error)
            return None
        self.read.add(number)
        return values, valid & (mask == 0), (mask == CLOUD)


def stage(plan: Plan, job: Index, scratch: str, check: Check = unchecked) -> Receipt:
    """Reads and writes the LR and reference pixels of `job`; returns its receipt, which the caller writes."""
    started = time.monotonic()
    reader = Reader(plan)
    lattice, first = plan.lattice, origin(plan)
    window = lattice.shard_window(job)
    lr_window = window.coarsen(lattice.scale)
    margin = lr_window.expand(FILL_RADIUS_LR_PX)
    lr, state, lr_item = read_scenes(plan, reader, margin)
    filled = carry(lr, state == LrState.VALID, FILL_RADIUS_LR_PX)
    inside = (..., *lr_window.within(margin))
    lr_item = np.ascontiguousarray(lr_item[inside])
    ref, ref_item = read_references(plan, reader, window, lr_item)
    check()
    for name, values in (
        ("lr", filled[inside]),
        ("lr_state", state[inside]),
        ("lr_item", plan.item_numbers[lr_item]),
        ("ref", ref),
        ("ref_item", plan.item_numbers[ref_item]),
    ):
        write_shard(scratch, name, first, job, values)
    return Receipt(
        step="stage",
        job=job,
        state=JobState.DEGRADED if reader.errors else JobState.DONE,
        digest=plan.stage_digest(job),
        seconds=time.monotonic() - started,
        sources=tuple(sorted(reader.item(n).id for n in reader.read)),
        errors=tuple(reader.errors[n] for n in sorted(reader.errors)),
        measures=registration_measures(plan.fits, reader.pairs),
    )


def read_scenes(
    plan: Plan, reader: Reader, window: Window
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.int32]]:
    """LR reflectance (band, y, x) with NaN where invalid, `LrState` (y, x) and item numbers (y, x) on an LR window."""
    values = np.full((len(plan.bands), *window.shape), np.nan, np.float32)
    state = np.full(window.shape, LrState.NO_DATA, np.uint8)
    item = np.full(window.shape, -1, np.int32)
    hr = window.refine(plan.lattice.scale)
    for cell in plan.lattice.cells_touching(hr).indices():
        part = plan.lattice.cell_window(cell).coarsen(plan.lattice.scale).intersect(window)
        numbers = plan.cells[cell].lr if cell in plan.cells else ()
        inside = part.within(window)
        pictures = (
            (number, _balanced(plan, reader.bands(number, part, lr=True), number, cell, part)) for number in numbers
        )
        alone = DEPTH[plan.composite] == 1
        overpasses = (
            {} if alone else dict(zip(numbers, group_overpasses([reader.item(n) for n in numbers]), strict=True))
        )
        values[(slice(None), *inside)], state[inside], item[inside] = compose(
            plan.composite, part.shape, pictures, overpasses, len(plan.bands)
        )
    return values, state, item


def _balanced(plan: Plan, picture: Picture | None, number: int, cell: Index, part: Window) -> Picture | None:
    """A scene on LR pixels `part` of a cell, without its step at seams; unchanged where the plan corrects none."""
    if picture is None or not len(plan.seams):
        return picture
    values, valid, cloud = picture
    return balance(values, number, _near(plan, cell), plan.seams, part, cell, CELL_LR_PX), valid, cloud


def _near(plan: Plan, cell: Index) -> NDArray[np.int32]:
    """(3, 3) first scenes of a cell and of its neighbours."""
    near: NDArray[np.int32] = first_scenes(plan.cells, Window(*cell, cell.row + 1, cell.col + 1))[0, 0]
    return near


def _by_scene(
    plan: Plan,
    values: NDArray[np.float32],
    scenes: tuple[int, ...],
    scene: NDArray[np.int32],
    cell: Index,
    part: Window,
) -> NDArray[np.float32]:
    """A harmonised reference on HR pixels `part` of a cell, with the same correction as the scene of each pixel."""
    near = _near(plan, cell)
    out = balance(values, scenes[0], near, plan.seams, part, cell, plan.lattice.cell_px)
    for number in scenes[1:]:
        where = scene == number
        if where.any():
            out = np.where(where, balance(values, number, near, plan.seams, part, cell, plan.lattice.cell_px), out)
    return out


def read_references(
    plan: Plan, reader: Reader, window: Window, lr_item: NDArray[np.int32]
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """(reflectance (band, y, x) harmonised to each pixel's scene, NaN where uncovered; item numbers (y, x))."""
    scale, bands = plan.lattice.scale, len(plan.bands)
    values = np.full((bands, *window.shape), np.nan, np.float32)
    item = np.full(window.shape, -1, np.int32)
    scene = np.repeat(np.repeat(lr_item, scale, 0), scale, 1)
    for cell in plan.lattice.cells_touching(window).indices():
        choice = plan.cells.get(cell)
        if choice is None or not choice.lr:
            continue
        part = plan.lattice.cell_window(cell).intersect(window)
        inside = part.within(window)
        cell_item, cell_scene = item[inside], scene[inside]
        cell_values = values[(slice(None), *inside)]
        for number in choice.ref:
            if (cell_item >= 0).all():
                break
            for move_m, where in moves_of(plan.fits, number, choice.lr, cell_scene):
                if not (where & (cell_item < 0)).any():
                    continue
                got = reader.bands(number, part, lr=False, move_m=move_m)
                if got is None:
                    break
                new, valid, _ = got
                take = valid & where & (cell_item < 0)
                if take.any():
                    harmonised = _harmonised(plan, number, choice.lr, new, cell_scene)
                    if len(plan.seams):
                        harmonised = _by_scene(plan, harmonised, choice.lr, cell_scene, cell, part)
                    cell_values[:, take] = harmonised[:, take]
                    cell_item[take] = number
                    reader.pairs.update((number, int(n)) for n in np.unique(cell_scene[take]))
    return values, item


def _harmonised(
    plan: Plan, ref: int, scenes: tuple[int, ...], values: NDArray[np.float32], scene: NDArray[np.int32]
) -> NDArray[np.float32]:
    """gain * ref + offset of the pair (reference, scene of the pixel); pixels without a scene take the cell's first."""
    out = np.empty_like(values)
    for number in scenes:
        where = (scene == number) if number != scenes[0] else ((scene == number) | (scene < 0))
        fit = plan.fits.get((ref, number), Fit.identity(len(plan.bands)))
        for band in range(values.shape[0]):
            fitted = values[band][where] * np.float32(fit.gain[band]) + np.float32(fit.offset[band])
            out[band][where] = fitted
    other = (scene >= 0) & ~np.isin(scene, scenes)
    out[:, other] = values[:, other]
    return out
