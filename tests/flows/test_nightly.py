"""A rolling period keeps what was clear; a new scene is used where it covers; a new setting makes all due."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.plan.make_plan import keep_plan, make_plan
from flows.request.request import make_request
from tests.support.nightly_catalog import CLOUD, NORTH, add_scene, make_nightly_catalog, nightly_record
from tests.support.running import make_weights, run_here


def plan_at(record: dict[str, Any], now: datetime) -> list[str]:
    """Ids of the scenes of the first cell north and of the first one south of the origin, in their order."""
    request = make_request(record)
    plan = make_plan(request, now, lambda _: None)
    keep_plan(plan, request.output)
    names = [item["id"] for item in plan.items]
    rows = plan.cells.lr[:, 0]
    assert rows.shape[0] == 2
    return ["+".join(names[n] for n in row if n >= 0) for row in rows]


def test_a_rolling_period_never_puts_clouds_where_it_was_clear(weights: Path, tmp_path: Path) -> None:
    catalog = make_nightly_catalog(tmp_path / "catalog")
    record = nightly_record(catalog, weights, tmp_path / "out", period={"latest_days": 10})
    assert plan_at(record, datetime(2024, 7, 10, tzinfo=UTC)) == ["first", "first"]
    add_scene(catalog, "clouds", "2024-07-12T10:20:21Z", gain=2.0, scl=CLOUD)
    assert plan_at(record, datetime(2024, 7, 14, tzinfo=UTC)) == ["first+clouds", "first+clouds"]
    assert plan_at(record, datetime(2024, 7, 20, tzinfo=UTC)) == ["first+clouds", "first+clouds"]
    add_scene(catalog, "clear", "2024-07-21T10:20:21Z", NORTH)
    assert plan_at(record, datetime(2024, 7, 22, tzinfo=UTC)) == ["clear+first+clouds", "first+clouds"]


@pytest.mark.parametrize("change", ["setting", pytest.param("model", marks=pytest.mark.slow)])
def test_another_setting_or_model_makes_every_shard_due(change: str, weights: Path, tmp_path: Path) -> None:
    from dsdit.steps.publish.report import due_jobs

    catalog = make_nightly_catalog(tmp_path / "catalog")
    record = nightly_record(catalog, weights, tmp_path / "out")
    ran = run_here(record)
    assert len(due_jobs(ran.plan, ran.places.receipts)) == 0
    if change == "setting":
        other = {"sampling": {**record["sampling"], "seed": 1}}
    else:
        other = {"model": {"weights": str(make_weights(tmp_path / "trained-on", seed=1))}}
    request = make_request({**record, **other})
    again = make_plan(request, datetime(2024, 7, 20, tzinfo=UTC), lambda _: None)
    assert np.array_equal(due_jobs(again, ran.places.receipts).mask, np.ones((5, 1), bool))
