"""Removes what killed runs left behind, and scratch and plans that nobody needs any more.

A run does so while it holds the output's lease, so nobody uses what it removes. `dsdit plan` writes without the lease:
files that may be its own are left until they are old.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from dsdit.errors import StoreError
from dsdit.mosaic.hard_links import PARTIAL
from dsdit.mosaic.history import damaged_history, read_history
from dsdit.mosaic.lease import Check
from dsdit.mosaic.own_output import REMOVED, REPLACED
from dsdit.mosaic.versions import MosaicStore
from dsdit.plan.files import drop_plans
from dsdit.plan.plan import Plan
from dsdit.receipts.receipts import compact_receipts
from dsdit.steps.scratch import create_scratch
from dsdit.store.objects import filesystem, is_remote, join, remove
from flows.run.run_step import Places

OLD_S = 3600.0
"""Seconds since its last change after which a file is not being written any more."""
_STORES = (".zarr", ".icechunk")
_FOLDERS = (*REMOVED, "plans", "measures", "search")
_FILES = (*REPLACED, "plan.png")
"""Folders and files below an output that runs write."""


def finish_publish(store: MosaicStore, receipts: str) -> None:
    """Joins receipts whose version is published already, where the publish was cut off just before that.

    Shards are written in a version that is begun, so without one all receipts belong to published versions.
    """
    if store.unpublished() is None:
        compact_receipts(receipts, "mosaic")


def drop_scratch(scratch: str, check: Check) -> None:
    """Removes all scratch, receipts first: killed in the middle it leaves no receipt of what is gone.

    `check` raises where the output, and so perhaps this scratch, belongs to another run by now.
    """
    for place in (join(scratch, "receipts"), scratch):
        check()
        remove(place)


def make_scratch(plan: Plan, places: Places, scratch: str, check: Check) -> None:
    """Creates scratch for the plan's jobs; scratch of a dead run with other jobs is removed first."""
    jobs = plan.layout.jobs_window
    try:
        create_scratch(places.scratch, plan.lattice, jobs, plan.bands)
    except StoreError:
        drop_scratch(scratch, check)
        create_scratch(places.scratch, plan.lattice, jobs, plan.bands)


def remove_partials(output: str) -> int:
    """Removes files whose writers were killed from an output and the folders that runs write there, outside of Zarr's
    own; returns their number.
    """
    if is_remote(output):  # there an object is whole or not there
        return 0
    count, oldest = 0, time.time() - OLD_S
    top = filesystem(output)[1]
    for place, folders, names in os.walk(top):
        own = _FOLDERS if place == top else folders
        folders[:] = [name for name in folders if name in own and not name.endswith(_STORES)]
        mine = [name for name in names if place != top or name.startswith(_FILES)]
        for path in (Path(place) / name for name in mine if name.endswith(PARTIAL)):
            if path.is_file() and path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)
                count += 1
    return count


def forget_plans(output: str, keep_versions: int) -> list[str]:
    """Removes plans but those of the versions that are kept and the newest few; returns their names.

    Where the history of such a version is damaged, its plan is unknown, and none is removed.
    """
    if damaged_history(output, keep_versions):
        return []
    needed = {entry["plan"] for entry in read_history(output, keep_versions)}
    return drop_plans(join(output, "plans"), needed)
