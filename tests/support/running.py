"""Small requests over the sample region, and the wavefront in this very process, with the same steps and receipts."""

from __future__ import annotations

import heapq
from collections.abc import Callable
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
from flows.run.loop import Wavefront
from flows.run.run_step import Places, run_step

NOW = datetime(2024, 7, 20, tzinfo=UTC)


def make_weights(folder: Path, seed: int = 0) -> Path:
    """A small network of random weights, whose every part has its say: fast, and as sensitive as a trained one."""
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


def run_here(record: dict[str, Any], stop_after: int | None = None, reverse: bool = False) -> Ran:
    """Runs every due step in this process; `stop_after` leaves after so many steps, `reverse` turns the order round."""
    request, plan, places = prepare(record)
    front = Wavefront(plan, places, due_jobs(plan, places.receipts), request.keep_scratch)
    receipts = run_steps(front, lambda step, job: run_step(step, job, places), stop_after, reverse)
    return Ran(request, plan, places, receipts, make_report(plan, places.receipts, tuple(receipts)))


def run_steps(
    front: Wavefront, run: Callable[[str, Index], Any], stop_after: int | None = None, reverse: bool = False
) -> list[Receipt]:
    """Receipts of all steps of a front, each done by `run`, in the order in which they were done; see `run_here`."""
    ready: list[tuple[int, int, int, str]] = []
    sign = -1 if reverse else 1

    def push(works: list[tuple[str, Index]]) -> None:
        for step, job in works:
            rank = {"mosaic": 0, "sample": 1, "stage": 2}[step]
            heapq.heappush(ready, (rank, sign * job.row, sign * job.col, step))

    while (opened := front.open_next()) is not None:
        push(opened)
    receipts: list[Receipt] = []
    while ready and (stop_after is None or len(receipts) < stop_after):
        _, row, col, step = heapq.heappop(ready)
        job = Index(sign * row, sign * col)
        receipts.append(run(step, job))
        push(front.finish((step, job), receipts[-1]))
    return receipts
