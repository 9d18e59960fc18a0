"""What G1, G2 and G3 demand, as functions that raise AssertionError.

The tests of the guarantees call them on the product as it is; the tests in `mutants` call the same ones on a product
with a fault in it, and want to see them fail.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

import catalogs.staging.stage
import dsdit.steps.mosaic
import dsdit.steps.sample
from dsdit.model.latent_model import Conditions, Denoised
from dsdit.model.network import DSDiT
from dsdit.model.preconditioning import TinyModel
from dsdit.mosaic.mosaic_arrays import LR_ARRAYS
from dsdit.mosaic.template import mosaic_window
from dsdit.plan.plan import Plan
from dsdit.receipts.receipts import list_receipts, read_receipt
from dsdit.sampling.sampler import open_sampler
from dsdit.status import PixelStatus, TileState
from dsdit.steps.sample import check_tiles
from dsdit.store.arrays import forget_arrays, read_window
from dsdit.store.objects import join
from dsdit.window import Index, Window
from flows.run.run_step import receipts_of
from tests.support.running import Ran, run_here

Record = dict[str, Any]
SAMPLED = (PixelStatus.DONE, PixelStatus.NO_REFERENCE)


# One place, one answer


def layers(ran: Ran, window: Window, lr_window: Window) -> dict[str, NDArray[Any]]:
    """Every array of level 0 and of group `lr`; numbers of items as their ids, which mean the same in every plan."""
    scale = ran.plan.lattice.scale
    first = mosaic_window(ran.plan).coarsen(scale)
    found = {name: ran.pixels(window, name) for name in ("sr", "status")}
    forget_arrays()
    for spec in LR_ARRAYS:
        found[spec.name] = read_window(join(ran.places.mosaic, spec.group), spec.name, first, lr_window)
    ids = np.array([json.loads(name)["id"] for name in ran.plan.item_names] + [""])
    for name in ("lr_item", "ref_item"):
        found[name] = ids[found[name]]
    return found


def whole_lr_pixels(window: Window, scale: int) -> Window:
    """LR pixels wholly in a window of HR pixels."""
    return Window(-(-window.row0 // scale), -(-window.col0 // scale), window.row1 // scale, window.col1 // scale)


def check_same_answer(one: Ran, other: Ran) -> int:
    """Every layer of two runs is equal, bit for bit, on the pixels of both regions; returns how many were sampled.

    An LR pixel that a region's outline cuts belongs to that outline, and is compared between equal regions only.
    """
    scale = one.plan.lattice.scale
    window = one.plan.region.window.intersect(other.plan.region.window)
    equal = one.plan.region.window == other.plan.region.window
    lr_window = window.coarsen(scale) if equal else whole_lr_pixels(window, scale)
    assert not window.empty and not lr_window.empty, f"the regions share {window}"
    ours, theirs = layers(one, window, lr_window), layers(other, window, lr_window)
    for name, values in ours.items():
        if values.tobytes() != theirs[name].tobytes():
            differ = values != theirs[name]
            raise AssertionError(f"{name}: {differ.sum()} of {differ.size} values differ on {window}")
    sampled = int(np.isin(ours["status"], SAMPLED).sum())
    assert sampled > window.shape[0] * window.shape[1] // 4, f"{sampled} pixels sampled: too few for a test"
    return sampled


@contextmanager
def _dry_sampling() -> Iterator[None]:
    with patch.object(dsdit.steps.sample, "write_shard", lambda *_: None):
        yield


def _sample_again(ran: Ran, job: Index) -> list[Index]:
    """Runs sample(job) from staged pixels that were kept, writes nothing, returns the tiles sampled in their order."""
    forget_arrays()
    with _dry_sampling():
        sampler = open_sampler(ran.plan.model, ran.plan.sampler)
        receipt = dsdit.steps.sample.sample(ran.plan, job, ran.places.scratch, sampler)
    return [tile for tile, state in check_tiles(receipt).items() if state.sampled]


@contextmanager
def first_passes() -> Iterator[list[tuple[Tensor, Conditions]]]:
    """(noise, conditions) of every batch, as they come to the network."""
    passes: list[tuple[Tensor, Conditions]] = []
    original = TinyModel.denoise

    def denoise(model: TinyModel, z: Tensor, sigma: float, conditions: Conditions, *rest: Any) -> Denoised:
        if float(sigma) == 1.0:
            passes.append((z.clone(), conditions))
        return original(model, z, sigma, conditions, *rest)

    with patch.object(TinyModel, "denoise", denoise):
        yield passes


@contextmanager
def network_batches() -> Iterator[list[int]]:
    """Size of the batch of every pass through the network."""
    sizes: list[int] = []
    original = DSDiT.forward

    def forward(network: DSDiT, x: Tensor, *rest: Any, **more: Any) -> Any:
        sizes.append(x.shape[0])
        return original(network, x, *rest, **more)

    with patch.object(DSDiT, "forward", forward):
        yield sizes


def check_overlaps_get_the_same(kept: Ran) -> int:
    """Two tiles get the same inputs on the pixels they share: noise, LR and reference; returns the pairs compared.

    `kept` is a run whose staged pixels were kept. Tiles of different jobs count too.
    """
    plan, size = kept.plan, kept.plan.sampler.batch
    streams: dict[Index, tuple[NDArray, ...]] = {}
    for job in plan.layout.sample_jobs:
        with first_passes() as passes:
            tiles = _sample_again(kept, job)
        for number, tile in enumerate(tiles):
            noise, conditions = passes[number // size]
            at = number % size
            streams[tile] = tuple(
                s[at].numpy() for s in (noise, conditions.lr, conditions.ref, conditions.ref_high_band)
            )
    pairs = 0
    for tile, ours in streams.items():
        for other in (Index(tile.row, tile.col + 1), Index(tile.row + 1, tile.col), Index(tile.row + 1, tile.col + 1)):
            if other not in streams:
                continue
            pairs += 1
            for name, a, b in zip(("noise", "lr", "ref", "high band"), ours, streams[other], strict=True):
                factor = plan.lattice.tile_px // a.shape[-1]
                place, there = (plan.lattice.tile_window(t).coarsen(factor) for t in (tile, other))
                shared = place.intersect(there)
                if name == "ref":  # the codec laps nothing over the edge of a tile
                    shared = shared.expand(-1)
                here, across = a[(..., *shared.within(place))], b[(..., *shared.within(there))]
                assert here.tobytes() == across.tobytes(), (
                    f"tiles {tuple(tile)} and {tuple(other)} get different {name} on shared pixels"
                )
    assert pairs, "no two tiles overlap: nothing was compared"
    return pairs


def check_batches_have_one_size(kept: Ran) -> int:
    """Every pass through the network has the one size of batch, also where a job's tiles do not fill the last one."""
    size = kept.plan.sampler.batch
    with network_batches() as sizes:
        counts = [len(_sample_again(kept, job)) for job in kept.plan.layout.sample_jobs]
    assert any(count % size for count in counts), f"{counts} tiles fill every batch of {size}: nothing was tried"
    assert set(sizes) == {size}, f"batches of {sorted(set(sizes))}: the network is to be given {size} at a time"
    return len(sizes)


def _picture(window: Window) -> NDArray[np.float32]:
    """(3, y, x) of a picture that fills the plane."""
    rows, cols = np.ogrid[window.row0 : window.row1, window.col0 : window.col1]
    return np.stack([0.2 + 0.1 * np.sin(rows / 17.0 + k) * np.cos(cols / 23.0) for k in range(3)]).astype(np.float32)


def check_agreeing_tiles_blend_to_themselves(plan: Plan, scratch: str) -> int:
    """Tiles cut from one picture blend to that picture, beside a skipped tile too; returns the pixels compared."""
    side, tokens = plan.lattice.tile_px, plan.lattice.tile_px // plan.lattice.token_px

    def read(_: Plan, __: str, name: str, job: Index, tiles: Window) -> NDArray[np.float32]:
        part = tiles.intersect(plan.lattice.tiles_of(job))
        if name == "weighting":
            return np.full((*part.shape, tokens, tokens), 0.25, np.float32)
        pictures = [_picture(plan.lattice.tile_window(tile)) for tile in part.indices()]
        return np.array(pictures, np.float32).reshape(*part.shape, 3, side, side)

    compared = 0
    forget_arrays()
    for job in plan.layout.mosaic_jobs:
        tiles = plan.layout.tiles_of_mosaic(job)
        states = dict.fromkeys(tiles, TileState.DONE)
        states[tiles[len(tiles) // 2]] = TileState.NO_DATA
        with patch.object(dsdit.steps.mosaic, "read_tiles", read):
            blended = dsdit.steps.mosaic.blend_tiles(plan, job, scratch, states)
        assert blended.sampled.any()
        error = np.abs(blended.sr - _picture(plan.lattice.mosaic_window(job)))[:, blended.sampled].max()
        assert error < 1e-6, f"tiles that agree blend to something {error:.2g} beside what they agree on"
        share = blended.reference_weight[blended.sampled]
        assert np.abs(share - 0.25).max() < 1e-6, "shares that agree blend to another"
        compared += int(blended.sampled.sum())
    return compared


# Nothing lost


class Killed(BaseException):
    """The end of a process: nothing in the product may catch it."""


_WRITERS = {"stage": catalogs.staging.stage, "sample": dsdit.steps.sample, "mosaic": dsdit.steps.mosaic}


def check_no_receipt_before_data(straight: Ran, record: Record, step: str) -> None:
    """A process that dies while `step` writes leaves no receipt of it, and the next run gives the straight run's bytes.

    `straight` is a run whose scratch was kept; `record` is the same request with an output where nothing is yet.
    What comes before `step` is taken from `straight`.
    """
    _take_over(straight, record, step)
    dead: list[Index] = []
    written = 0

    def write(url: str, name: str, origin: Index, job: Index, values: NDArray[Any], *more: Any) -> None:
        nonlocal written
        if written:
            dead.append(job)
            raise Killed
        written += 1
        original(url, name, origin, job, values, *more)

    module = _WRITERS[step]
    original = module.write_shard  # type: ignore[attr-defined]
    with patch.object(module, "write_shard", write), pytest.raises(Killed):
        run_here(record)
    (job,) = dead
    receipts = receipts_of(step, straight.places._replace(**_moved(record)))
    assert job not in list_receipts(receipts, step), f"{step} of job {tuple(job)} has a receipt and no data"
    assert read_receipt(receipts, step, job) is None
    check_same_answer(straight, run_here(record))


def _moved(record: Record) -> dict[str, str]:
    output = record["output"]
    return {"receipts": join(output, "receipts"), "scratch_receipts": join(output, "scratch", "receipts")}


def _take_over(straight: Ran, record: Record, step: str) -> None:
    """The state of `straight` just before the first `step`."""
    output = Path(record["output"])
    assert not output.exists()
    if step == "stage":
        return
    shutil.copytree(straight.request.output, output)
    shutil.rmtree(output / "receipts")
    shutil.rmtree(output / "mosaic.zarr")
    if step == "sample":
        shutil.rmtree(output / "scratch" / "receipts" / "sample")
        for name in ("tiles", "weighting"):
            shutil.rmtree(output / "scratch" / "data.zarr" / name)


def receipt_files(ran: Ran) -> dict[str, tuple[bytes, int]]:
    """Mosaic receipts: name -> (content, time of writing)."""
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted((Path(ran.places.receipts) / "mosaic").iterdir())
    }


# Every pixel accounted for


def check_read_error_is_reported(ran: Ran, item: str) -> None:
    """Where the only scene cannot be read, pixels are failed, never without data; jobs are due; the item is named."""
    status = ran.pixels(name="status")
    states = {PixelStatus(k).name: int(n) for k, n in enumerate(np.bincount(status.ravel())) if n}
    assert states.get("FAILED", 0) > 0, f"nothing failed though the scene cannot be read: {states}"
    assert "NO_DATA" not in states, f"a read error was taken for no data: {states}"
    assert ran.report.jobs["due"] == ran.report.jobs["planned"]
    assert any(item in error for error in ran.report.errors), f"{item} is not named in {ran.report.errors}"


def check_raises(check: Callable[[], object], message: str) -> None:
    """The check fails, and for the reason that `message` matches."""
    with pytest.raises(AssertionError, match=message):
        check()
