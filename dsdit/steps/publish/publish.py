"""publish: what is coarser than the shards, the group's visible attributes, one STAC item, one COG and one picture.

Metadata last.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np

from dsdit.lattice.job_mask import Jobs
from dsdit.mosaic.template import level_url, mosaic_window
from dsdit.plan.plan import Plan
from dsdit.steps.publish.cog import CogChoice, wants_cog, write_cog
from dsdit.steps.publish.metadata import group_attributes, stac_item
from dsdit.steps.publish.mosaic_picture import make_picture
from dsdit.steps.publish.parts import build_parts, create_parts
from dsdit.steps.publish.report import Report
from dsdit.store.arrays import open_group, read_window
from dsdit.store.objects import join, remove_object, write_bytes, write_json

PUBLISHED = {"mosaic": "mosaic.zarr", "picture": "picture.png", "item": "item.json", "cog": "sr.tif"}
"""What `publish` makes or completes, by its name below the folder."""


def publish(
    plan: Plan,
    folder: str,
    report: Report,
    when: datetime,
    mosaic: str | None = None,
    name: str = PUBLISHED["mosaic"],
    changed: Jobs | None = None,
    cog: CogChoice = "auto",
    cog_stands: bool = False,
) -> dict[str, str]:
    """Makes everything that readers see besides the shards of the mosaic; returns the locations.

    The mosaic lies at `mosaic`, by default in `folder`; readers find it as `name` beside what is written to `folder`.
    `changed` are the jobs whose shards levels and overview do not show yet, all by default. The COG is written as `cog`
    says, unless it `cog_stands` in the folder as it is to be.
    """
    places = {kind: join(folder, name) for kind, name in PUBLISHED.items()}
    places["mosaic"] = mosaic or places["mosaic"]
    told = create_parts(plan, places["mosaic"])
    build_parts(plan, places["mosaic"], plan.layout.mosaic_jobs if changed is None else changed)
    write_bytes(places["picture"], make_picture(plan, places["mosaic"]))
    wanted = wants_cog(plan, cog)
    if not wanted:
        remove_object(places.pop("cog"))
    elif not cog_stands:
        write_cog(plan, places["mosaic"], places["cog"])
    write_json(places["item"], stac_item(plan, when, name, wanted).to_dict())
    root = open_group(places["mosaic"], "r+")
    root.attrs.update({**group_attributes(plan, report, when), **told})
    return places


def same_shards(plan: Plan, mosaic: str, before: str, jobs: Jobs) -> bool:
    """Whether `sr` of all `jobs` is in both mosaics the same, read until one differs."""
    first = mosaic_window(plan)
    for job in jobs:
        shard = plan.lattice.shard_window(job)
        here, there = (read_window(level_url(place, 0), "sr", first, shard) for place in (mosaic, before))
        if not np.array_equal(here, there):
            return False
    return True
