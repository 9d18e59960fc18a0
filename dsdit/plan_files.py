"""A plan on disk: settings as JSON, and tables beside it: items, candidates of each cell, fits of each pair, seams.

Tables first, the JSON last: where it stands, the plan is whole. Nothing in it grows with tiles. One more table, which
changes from night to night, says which jobs are due.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dsdit.choices import Cells, Fits, Items
from dsdit.errors import PlanError, StoreError
from dsdit.plan import Plan
from dsdit.store import join, read_json, write_json
from dsdit.tables import read_table, write_table


def write_plan(plan: Plan, folder: str) -> str:
    """Writes the plan under its digest, and as the folder's latest; returns the location of its JSON."""
    name = f"{plan.digest[:16]}.json"
    url = join(folder, name)
    write_table(_beside(url, "items"), {"record": plan.items.records, "digest": plan.items.digests})
    write_table(_beside(url, "cells"), plan.cells.columns())
    for kind, fits in (("fits", plan.fits), ("seams", plan.seams)):
        write_table(_beside(url, kind), {"pair": fits.keys_, "value": fits.values_, "samples": fits.samples})
    write_json(url, plan.to_dict())
    write_json(join(folder, "latest.json"), {"plan": name})
    return url


def read_plan(url: str) -> Plan:
    """The plan whose JSON is at `url`. Raises PlanError where there is none, StoreError where it is damaged."""
    record = read_json(url)
    if record is None:
        raise PlanError(f"there is no plan at {url}")
    tables = {kind: read_table(_beside(url, kind)) for kind in ("items", "cells", "fits", "seams")}
    for kind, table in tables.items():
        if table is None:
            raise StoreError(f"{_beside(url, kind)} is missing: plan again")
    items_, cells, *pairs = (tables[kind] or {} for kind in ("items", "cells", "fits", "seams"))
    items = Items(items_["record"], items_["digest"])
    fits, seams = (Fits(t["pair"], t["value"], t["samples"]) for t in pairs)
    return Plan.from_dict(record, items, Cells.from_columns(cells), fits, seams)


def latest_plan(folder: str) -> Plan:
    """The plan that was written last. Raises StoreError where there is none."""
    latest = read_json(join(folder, "latest.json"))
    if latest is None:
        raise StoreError(f"{folder!r} holds no plan: nothing was run there")
    return read_plan(join(folder, latest["plan"]))


def write_due(url: str, places: NDArray[np.int32]) -> None:
    """Keeps (job, 2) rows and columns of the jobs that are due beside the plan at `url`."""
    write_table(_beside(url, "due"), {"row": places[:, 0], "col": places[:, 1]})


def _beside(url: str, kind: str) -> str:
    return f"{url.removesuffix('.json')}.{kind}.parquet"
