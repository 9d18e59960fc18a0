"""A request for the median and for balanced scenes, from YAML keys to staged pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from catalogs.staging.stage import Reader, read_scenes
from dsdit.plan.files import read_plan
from dsdit.status import LrState
from flows.plan.make_plan import keep_plan, make_plan
from flows.request.request import make_request
from tests.conftest import box
from tests.support.running import NOW, sample_record


def test_a_request_for_balanced_medians_is_planned_kept_and_read(catalog: Path, weights: Path, tmp_path: Path) -> None:
    record = sample_record(catalog, weights, tmp_path / "output", box(100, 400, 500, 100))
    record["lr"] |= {"rule": "median_clear", "balance": True}
    record["period"] = {"start": "2024-03-01", "end": "2024-10-30"}
    plan = make_plan(make_request(record), NOW, lambda _: None)
    assert plan.composite == "median"
    assert plan.cells.window == plan.layout.cells.expand(1)
    assert len(plan.seams) >= 1
    assert all(a != b and fit.samples > 0 for (a, b), fit in plan.seams.items())
    back = read_plan(keep_plan(plan, str(tmp_path / "output")))
    assert back.digest == plan.digest
    window = plan.region.window.coarsen(plan.lattice.scale)
    values, state, item = read_scenes(back, Reader(back), window)
    assert (state == LrState.VALID).mean() > 0.5
    assert np.isfinite(values[:, state == LrState.VALID]).all()
    assert (item[state == LrState.VALID] >= 0).all()
