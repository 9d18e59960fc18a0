"""All that is coarser than the shards and follows from them, as parts: levels of the pyramid and the overview.

A part is one object of each array that it writes. It is made again where a shard below it was written since the last
publish, and comes out as if all were made again: what else lies under it is read, not remembered. Parts of one stage
can be made in any order and place; a stage reads what the stages before it wrote.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dsdit.lattice.job_mask import Jobs
from dsdit.mosaic.template import level_count
from dsdit.plan.plan import Plan
from dsdit.receipts.receipts import list_receipts, unjoined_jobs
from dsdit.steps.publish.overview import build_overview, create_overview, overview_factor, overview_objects
from dsdit.steps.publish.pyramid import build_parent, create_levels, parents
from dsdit.store.arrays import forget_arrays, open_group
from dsdit.window import Index


class Part(NamedTuple):
    """One shard of a level, or one object of the overview."""

    level: int
    """0 is the overview."""
    at: Index
    """Counted from the first of its kind."""
    changed: Jobs | None = None
    """Of the overview: the jobs whose squares are due."""


class Stage(NamedTuple):
    """Parts that can be made side by side."""

    name: str
    size: int
    parts: Iterator[Part]


def changed_jobs(plan: Plan, mosaic: str, receipts: str) -> Jobs:
    """Jobs whose shards the coarse parts of the mosaic may not show.

    A publish joins its receipts once it is done: those that are not joined tell of all nights since. Where no publish
    has made the parts yet, every job that ever wrote counts.
    """
    found = unjoined_jobs(receipts, "mosaic") if _made_before(plan, mosaic) else list_receipts(receipts, "mosaic")
    return Jobs.of(list(found))


def _made_before(plan: Plan, mosaic: str) -> bool:
    attributes: Any = open_group(mosaic, "r").attrs
    levels = attributes.get("multiscales", {}).get("layout", ())
    return len(levels) == level_count(plan) and attributes.get("overview") == overview_factor(plan)


def create_parts(plan: Plan, mosaic: str) -> dict[str, Any]:
    """Makes the arrays of all parts; returns what the root's attributes tell of them once the parts are made."""
    forget_arrays()
    levels = create_levels(plan, mosaic)
    scales = [
        {"asset": str(k), "transform": {"scale": [2.0**k, 2.0**k], "translation": [0.0, 0.0]}} for k in range(levels)
    ]
    factor = create_overview(plan, mosaic)
    told: dict[str, Any] = {"multiscales": {"layout": scales, "resampling_method": "average"}}
    return told if factor is None else {**told, "overview": factor}


def due_stages(plan: Plan, changed: Jobs) -> Iterator[Stage]:
    """What is to be made again after `changed` were written, in order."""
    mask: NDArray[np.bool_] = changed.on(plan.layout.mosaic_jobs_window)
    for level in range(1, level_count(plan)):
        mask = parents(mask)
        yield Stage(f"level {level}", int(mask.sum()), _shards(level, mask))
    objects = overview_objects(plan, changed)
    yield Stage("overview", len(objects), (Part(0, at, jobs) for at, jobs in objects))


def _shards(level: int, mask: NDArray[np.bool_]) -> Iterator[Part]:
    return (Part(level, Index(*at)) for at in np.argwhere(mask).tolist())


def build_part(plan: Plan, mosaic: str, part: Part) -> None:
    """Makes one part; what stays the same is not written."""
    if part.changed is not None:
        build_overview(plan, mosaic, part.at, part.changed)
    else:
        build_parent(plan, mosaic, part.level, part.at)


def build_parts(plan: Plan, mosaic: str, changed: Jobs) -> None:
    """Makes all that is due in this process."""
    for stage in due_stages(plan, changed):
        for part in stage.parts:
            build_part(plan, mosaic, part)
