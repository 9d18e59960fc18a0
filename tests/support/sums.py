"""The report against the plan and against the mosaic: everything is found again, once."""

from __future__ import annotations

from dsdit.status import PixelStatus
from tests.support.running import Ran


def check_sums(ran: Ran) -> None:
    """Pixels add up to the region, tiles and shards to the plan, and `status` agrees with the report."""
    report, plan = ran.report, ran.plan
    assert sum(report.pixels.values()) == plan.region.mask(plan.region.window).sum()
    tiles = {name: n for name, n in report.tiles.items() if name != "planned"}
    assert report.tiles["planned"] == plan.layout.tile_count
    assert sum(tiles.values()) == plan.layout.tile_count
    jobs = {name: n for name, n in report.jobs.items() if name not in ("planned", "due")}
    assert sum(jobs.values()) == report.jobs["planned"] == len(plan.layout.mosaic_jobs)
    assert report.jobs["due"] == report.jobs["planned"] - report.jobs.get("done", 0)


def check_status(ran: Ran) -> None:
    """The array of the mosaic holds as many pixels of each status as the report lists."""
    status = ran.pixels(name="status")
    for state in PixelStatus:
        if state is not PixelStatus.OUTSIDE:
            assert (status == state).sum() == ran.report.pixels[state.name.lower()], state
