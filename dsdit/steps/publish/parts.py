"""Levels of the pyramid and the overview, divided into parts that workers build in parallel.

A part is one object of each array that it writes. It is built again where a shard below it was written since the last
publish, from all shards below it, so that the result is the same as if every part were built again. Parts of one batch
can be built in any order and on any worker; a batch reads what earlier batches wrote.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dsdit.lattice.job_mask import Jobs
from dsdit.mosaic.template import level_count
from dsdit.plan.plan import Plan
from dsdit.receipts.receipts import list_receipts, new_states
from dsdit.steps.publish.overview import build_overview, create_overview, overview_factor, overview_objects
from dsdit.steps.publish.pyramid import build_parent, create_levels, parents
from dsdit.store.arrays import forget_arrays, open_group
from dsdit.window import Index


class Part(NamedTuple):
    """One shard of a level, or one object of the overview."""

    level: int
    """0 is the overview."""
    at: Index
    """Index of the shard or object, from the first one."""
    changed: Jobs | None = None
    """For the overview: the jobs whose squares are due."""


class PartBatch(NamedTuple):
    """Parts that can be built in parallel."""

    name: str
    size: int
    parts: Iterator[Part]


def changed_jobs(plan: Plan, mosaic: str, receipts: str) -> Jobs:
    """Jobs whose shards are newer than the levels and the overview.

    A publish joins its receipts at its end: those that are not joined are of all runs since. Where no publish has built
    the parts yet, these are all jobs with a receipt.
    """
    found = new_states(receipts, "mosaic") if _built_before(plan, mosaic) else list_receipts(receipts, "mosaic")
    return Jobs.of(list(found))


def _built_before(plan: Plan, mosaic: str) -> bool:
    attributes: Any = open_group(mosaic, "r").attrs
    levels = attributes.get("multiscales", {}).get("layout", ())
    return len(levels) == level_count(plan) and attributes.get("overview") == overview_factor(plan)


def create_parts(plan: Plan, mosaic: str) -> dict[str, Any]:
    """Creates the arrays of all parts; returns the root's attributes that describe them once the parts are built."""
    forget_arrays()
    levels = create_levels(plan, mosaic)
    scales = [
        {"asset": str(k), "transform": {"scale": [2.0**k, 2.0**k], "translation": [0.0, 0.0]}} for k in range(levels)
    ]
    factor = create_overview(plan, mosaic)
    attributes: dict[str, Any] = {"multiscales": {"layout": scales, "resampling_method": "average"}}
    return attributes if factor is None else {**attributes, "overview": factor}


def due_batches(plan: Plan, changed: Jobs) -> Iterator[PartBatch]:
    """What is to be built again after `changed` were written, in order."""
    mask: NDArray[np.bool_] = changed.on(plan.layout.mosaic_jobs_window)
    for level in range(1, level_count(plan)):
        mask = parents(mask)
        yield PartBatch(f"level {level}", int(mask.sum()), _shards(level, mask))
    objects = overview_objects(plan, changed)
    yield PartBatch("overview", len(objects), (Part(0, at, jobs) for at, jobs in objects))


def _shards(level: int, mask: NDArray[np.bool_]) -> Iterator[Part]:
    return (Part(level, Index(*at)) for at in np.argwhere(mask).tolist())


def build_part(plan: Plan, mosaic: str, part: Part) -> None:
    """Builds one part; an object that does not change is not written."""
    if part.changed is not None:
        build_overview(plan, mosaic, part.at, part.changed)
    else:
        build_parent(plan, mosaic, part.level, part.at)


def build_parts(plan: Plan, mosaic: str, changed: Jobs) -> None:
    """Builds all parts that are due, in this process."""
    for batch in due_batches(plan, changed):
        for part in batch.parts:
            build_part(plan, mosaic, part)
