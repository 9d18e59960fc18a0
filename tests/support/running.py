"""Small requests over the sample region, and runs of them in this very process."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dsdit.model.config import DSDiTConfig
from dsdit.model.network import DSDiT
from dsdit.model.weights import save_weights
from dsdit.model.weights_config import WeightsConfig
from dsdit.mosaic.template import create_mosaic, level_url, mosaic_window
from dsdit.plan.plan import Plan
from dsdit.receipts.receipts import Receipt
from dsdit.steps.publish.report import Report, due_jobs, make_report
from dsdit.steps.scratch import create_scratch
from dsdit.store.arrays import forget_arrays, read_window
from dsdit.store.objects import join
from dsdit.window import Index, Window
from flows.plan.make_plan import keep_plan, make_plan
from flows.request.request import Request, make_request
from flows.run.frontier import Wavefront, Work
from flows.run.limits_and_hooks import RunHooks
from flows.run.progress import Progress
from flows.run.run_step import Places, Step, Uncommitted, run_step
from flows.run.serial import run_serially

NOW = datetime(2024, 7, 20, tzinfo=UTC)


def make_weights(folder: Path, seed: int = 0) -> Path:
    """A small network of random weights, in which every part has influence: fast, and as sensitive as a trained one."""
    torch.manual_seed(seed)
    network = DSDiT(DSDiTConfig(2, 64, 1, in_channels=73, pos_embed_max_size=32, qk_norm="rms"))
    with torch.no_grad():
        for name, value in network.named_parameters():
            if value.ndim > 1 and name != "pos_embed":
                value.normal_(0, 0.5 / value[0].numel() ** 0.5)
    save_weights(folder, network, WeightsConfig("random", network.config))
    return folder


def sample_record(catalog: Path, weights: Path, output: Path, bounds: tuple[float, ...], **more: Any) -> dict[str, Any]:
    """A request over the small sample region. `bounds` in EPSG:32632; two steps, so that the noise counts."""
    record: dict[str, Any] = {
        "name": "test",
        "bounds": list(bounds),
        "crs": "EPSG:32632",
        "gsd_m": 1.25,
        "scale": 8,
        "period": {"start": "2024-06-15", "end": "2024-07-15"},
        "lr": {"source": "sample-lr", "endpoint": str(catalog / "items.json")},
        "ref": {"source": "sample-ref", "endpoint": str(catalog / "items.json"), "max_age_days": 1800},
        "output": str(output),
        "model": {"weights": str(weights)},
        "sampling": {"steps": 2, "batch": 4},
        "tiling": {"chunk_strides": 2, "shard_chunks": 2},
    }
    return {**record, **more}


@dataclass
class Ran:
    """A finished run."""

    request: Request
    plan: Plan
    places: Places
    receipts: list[Receipt]
    report: Report

    def pixels(self, window: Window | None = None, name: str = "sr") -> np.ndarray:
        """`sr` or `status` on a window of HR pixels, the region's by default."""
        place = window or self.plan.region.window
        forget_arrays()
        return read_window(level_url(self.places.mosaic, 0), name, mosaic_window(self.plan), place)

    def lr_layer(self, name: str) -> np.ndarray:
        """An array of group `lr` on the region's window."""
        scale = self.plan.lattice.scale
        first = mosaic_window(self.plan).coarsen(scale)
        forget_arrays()
        return read_window(join(self.places.mosaic, "lr"), name, first, self.plan.region.window.coarsen(scale))


def prepare(record: dict[str, Any], now: datetime = NOW) -> tuple[Request, Plan, Places]:
    """Plan and places of a request, with the stores made."""
    request = make_request(record)
    plan = make_plan(request, now, lambda _: None)
    url = keep_plan(plan, request.output)
    places = Places.of(url, request.scratch_url, request.output)
    create_mosaic(plan, places.mosaic)
    forget_arrays()
    create_scratch(places.scratch, plan.lattice, plan.layout.jobs_window, plan.bands)
    return request, plan, places


class Ended(BaseException):
    """Ends a run in the middle, as Ctrl-C does; with the error of a step, or without one."""

    def __init__(self, error: Exception | None) -> None:
        super().__init__()
        self.error = error


class Backwards(Wavefront):
    """The steps of a wavefront in the reverse order: all shards are opened first, and the last one is the best."""

    def open_next(self) -> list[Work] | None:
        """Opens all shards at once."""
        opened: list[Work] = []
        while (more := super().open_next()) is not None:
            opened += more
        return opened or None

    def rank(self, work: Work) -> tuple[int, int, int]:
        """From the last job to the first."""
        step, row, col = super().rank(work)
        return step, -row, -col


def run_here(record: dict[str, Any], stop_after: int | None = None, reverse: bool = False) -> Ran:
    """Runs every due step in this process; `stop_after` ends after so many steps, `reverse` turns the order round."""
    request, plan, places = prepare(record)
    kind = Backwards if reverse else Wavefront
    front = kind(plan, places, due_jobs(plan, places.receipts), request.keep_scratch)
    receipts = run_steps(front, run_step, stop_after)
    return Ran(request, plan, places, receipts, make_report(plan, places.receipts, tuple(receipts)))


def run_steps(front: Wavefront, step: Step, stop_after: int | None = None) -> list[Receipt]:
    """Receipts of all steps of a front, in the order in which they were done. What a step raises ends the run."""
    receipts: list[Receipt] = []

    def stop(_: Progress) -> None:
        if len(receipts) == stop_after:
            raise Ended(None)

    def run(name: str, job: Index, places: Places) -> Receipt | Uncommitted:
        try:
            return step(name, job, places)
        except Exception as error:
            raise Ended(error) from error

    try:
        run_serially(front, RunHooks(on_progress=stop, on_receipt=receipts.append), run)
    except Ended as end:
        if end.error is not None:
            raise end.error from None
    return receipts
