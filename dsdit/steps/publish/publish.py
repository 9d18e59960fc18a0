"""The publish step: levels and overview, picture, COG and STAC item, then the root's attributes, written last."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from dsdit.lattice.job_mask import Jobs
from dsdit.mosaic.template import level_url, mosaic_window
from dsdit.plan.plan import Plan
from dsdit.steps.publish.cog import CogChoice, wants_cog, write_cog
from dsdit.steps.publish.metadata import ITEM, group_attributes, item_record, stac_item
from dsdit.steps.publish.mosaic_picture import make_picture
from dsdit.steps.publish.parts import build_parts, create_parts
from dsdit.steps.publish.report import Report
from dsdit.store.arrays import open_group, read_window
from dsdit.store.objects import join, remove_object, write_bytes, write_json

PUBLISHED = {"mosaic": "mosaic.zarr", "picture": "picture.png", "item": ITEM, "cog": "sr.tif"}
"""Names below the folder of what `publish` writes or completes."""


def publish(
    plan: Plan,
    folder: str,
    report: Report,
    when: datetime,
    mosaic: str | None = None,
    name: str = PUBLISHED["mosaic"],
    changed: Jobs | None = None,
    cog: CogChoice = "auto",
    cog_unchanged: bool = False,
) -> dict[str, str]:
    """Writes everything that readers see besides the shards of the mosaic; returns the locations.

    The mosaic is at `mosaic`, by default in `folder`; readers find it as `name` beside the files in `folder`. `changed`
    are the jobs whose shards are newer than levels and overview, all by default. Whether there is a COG follows from
    `cog`; it is not written where the one in the folder is up to date (`cog_unchanged`).
    """
    places = {kind: join(folder, name) for kind, name in PUBLISHED.items()}
    places["mosaic"] = mosaic or places["mosaic"]
    attributes = create_parts(plan, places["mosaic"])
    build_parts(plan, places["mosaic"], plan.layout.mosaic_jobs if changed is None else changed)
    write_bytes(places["picture"], make_picture(plan, places["mosaic"]))
    wanted = wants_cog(plan, cog)
    if not wanted:
        remove_object(places.pop("cog"))
    elif not cog_unchanged:
        write_cog(plan, places["mosaic"], places["cog"])
    write_json(places["item"], item_record(stac_item(plan, when, name, wanted, report.scenes)))
    root = open_group(places["mosaic"], "r+")
    root.attrs.update({**group_attributes(plan, report, when), **attributes})
    return places


def same_shards(plan: Plan, mosaic: str, before: str, jobs: Jobs) -> bool:
    """Whether `sr` of all `jobs` is equal in both mosaics; reads until the first difference."""
    first = mosaic_window(plan)
    for job in jobs:
        shard = plan.lattice.shard_window(job)
        here, there = (read_window(level_url(place, 0), "sr", first, shard) for place in (mosaic, before))
        if not np.array_equal(here, there):
            return False
    return True
