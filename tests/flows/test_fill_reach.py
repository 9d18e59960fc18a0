"""A stage's digest covers the pixels that fill carries into its shard from the next cell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catalogs.staging.stage import FILL_RADIUS_LR_PX, Reader, read_scenes
from dsdit.imaging.fill import carry
from dsdit.plan.plan import Plan
from dsdit.status import LrState
from dsdit.window import Index
from flows.plan.make_plan import make_plan
from flows.request.request import make_request
from tests.support.nightly_catalog import NORTH, add_scene, make_nightly_catalog, nightly_record
from tests.support.running import NOW


def filled(plan: Plan, job: Index) -> NDArray[np.float32]:
    """LR as stage(job) writes it."""
    window = plan.lattice.shard_window(job).coarsen(plan.lattice.scale)
    margin = window.expand(FILL_RADIUS_LR_PX)
    lr, state, _ = read_scenes(plan, Reader(plan), margin)
    return carry(lr, state == LrState.VALID, FILL_RADIUS_LR_PX)[(..., *window.within(margin))]


def test_a_scene_of_the_next_cell_makes_the_stage_due_that_carries_its_values(weights: Path, tmp_path: Path) -> None:
    catalog = make_nightly_catalog(tmp_path / "catalog")
    (catalog / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": []}))
    add_scene(catalog, "north", "2024-07-06T10:20:21Z", NORTH)
    request = make_request({**nightly_record(catalog, weights, tmp_path / "out"), "ref": None})
    before = make_plan(request, NOW, lambda _: None)
    add_scene(catalog, "newer", "2024-07-08T10:20:21Z", NORTH, gain=1.3)
    after = make_plan(request, NOW, lambda _: None)
    south, far = (Index(row, before.layout.stage_jobs[0].col) for row in (0, 1))
    assert not np.array_equal(filled(before, south), filled(after, south))
    assert before.stage_digest(south) != after.stage_digest(south)
    assert np.array_equal(filled(before, far), filled(after, far))
    assert before.stage_digest(far) == after.stage_digest(far)
