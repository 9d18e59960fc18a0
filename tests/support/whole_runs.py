"""Whole runs of a request, from plan to publish, in this process: without Prefect and without Dask."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from dsdit.mosaic.lease import held
from dsdit.mosaic.mosaic_arrays import LEVEL_ARRAYS, LR_ARRAYS
from dsdit.mosaic.versions import mosaic_store
from dsdit.plan.plan import Plan
from dsdit.steps.publish.report import Report
from dsdit.store.arrays import forget_arrays, open_group
from flows.due_jobs import run_due_jobs
from flows.plan.make_plan import keep_plan, make_plan
from flows.plan.prepared import prepare
from flows.publish.new_version import publish_outcome
from flows.request.request import make_request
from tests.support.running import NOW


@dataclass
class Finished:
    """A run that has published."""

    output: str
    plan: Plan
    due: int
    report: Report
    log: list[str]

    layers: dict[str, np.ndarray]
    """Every array with pixels, by path, as it was published; numbers of items as their ids."""

    def item(self) -> dict[str, Any]:
        """The STAC item."""
        found: dict[str, Any] = json.loads((Path(self.output) / "item.json").read_text())
        return found


def run_whole(record: dict[str, Any], now: datetime = NOW) -> Finished:
    """Plans, runs and publishes, as the flow does; `compute` of the record is replaced."""
    request = make_request({**record, "compute": {"cluster": "serial"}})
    prepared = prepare(request, to_run=True)
    logger, lines = logging.getLogger("tests.whole_runs"), []
    with held(request.output, "a test") as lease:
        url = keep_plan(plan := make_plan(prepared, now, lines.append), request.output)
        outcome = run_due_jobs(prepared, url, lease, logger, lambda _: None)
        report = publish_outcome(prepared, url, lease, outcome, lines.append)
    return Finished(request.output, plan, outcome.due, report, lines, read_layers(request.output))


def read_layers(output: str) -> dict[str, np.ndarray]:
    """See `Finished.layers`."""
    forget_arrays()
    with mosaic_store(output).reading() as mosaic:
        root: Any = open_group(mosaic, "r")
        arrays = {a.path: a[...] for _, g in root.groups() for _, a in g.arrays() if a.ndim >= 2}
        ids = np.array([item["id"] for item in root.attrs["items"]] + [""])
    return {path: ids[values] if path.endswith("_item") else values for path, values in sorted(arrays.items())}


def different(one: Finished, other: Finished) -> list[str]:
    """Layers that are not equal, byte for byte."""
    a, b = one.layers, other.layers
    assert {spec.path for spec in (*LEVEL_ARRAYS, *LR_ARRAYS)} <= a.keys()
    return sorted({*a.keys() ^ b.keys(), *(k for k in a.keys() & b.keys() if not _same(a[k], b[k]))})


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    if a.dtype.kind == "U":
        return bool((a == b).all())
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
