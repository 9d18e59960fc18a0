"""A plan on disk: settings as JSON, and tables beside it: items, candidates of each cell, fits of each pair, seams, and
the names of all items that the mosaic's arrays may hold as numbers.

Tables first, the JSON last: where it stands, the plan is whole. Nothing in it grows with tiles. One more table, which
changes from night to night, says which jobs are due.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsdit.errors import PlanError, StoreError
from dsdit.plan.candidates import Cells, Items
from dsdit.plan.pair_fits import Fits
from dsdit.plan.plan import Plan
from dsdit.store.objects import join, list_names, modified_at, read_json, remove_object, write_json
from dsdit.store.parquet import read_table, write_table

TABLES = ("items", "cells", "fits", "seams")
"""Without which there is no plan."""
_NAME = 16
"""Characters of a plan's digest that name its files."""


def write_plan(plan: Plan, folder: str, latest: bool = True) -> str:
    """Writes the plan under its digest, as the folder's latest if it is to be run; returns its JSON's location."""
    name = f"{plan.digest.hex()[:_NAME]}.json"
    url = join(folder, name)
    write_table(_beside(url, "items"), {"record": plan.items.records, "digest": plan.items.digests})
    write_table(_beside(url, "cells"), plan.cells.columns())
    for kind, fits in (("fits", plan.fits), ("seams", plan.seams)):
        columns = {"pair": fits.keys_, "value": fits.values_, "samples": fits.samples, "shift": fits.shifts}
        write_table(_beside(url, kind), columns)
    write_table(_beside(url, "names"), {"name": plan.item_names})
    write_json(url, plan.to_dict())
    if latest:
        write_json(join(folder, "latest.json"), {"plan": name})
    return url


NEWEST = 5
"""Plans that stay whatever they are of."""


def drop_plans(folder: str, needed: Collection[str]) -> list[str]:
    """Removes all plans but those with `needed` digests, the latest run's and the newest; returns their names."""
    files: dict[str, list[str]] = {}
    for file in list_names(folder):
        name, _, rest = file.partition(".")
        if len(name) == _NAME and rest in ("json", *(f"{kind}.parquet" for kind in (*TABLES, "names", "due"))):
            files.setdefault(name, []).append(file)
    latest = _latest(folder)
    keep = {digest[:_NAME] for digest in needed} | ({_stem(latest)} if latest else set())
    by_age = sorted(files, key=lambda name: modified_at(join(folder, files[name][0])), reverse=True)
    gone = [name for name in by_age[NEWEST:] if name not in keep]
    for name in gone:  # what says that the plan is whole goes first
        for file in sorted(files[name], key=lambda file: not file.endswith(".json")):
            remove_object(join(folder, file))
    return gone


def read_plan(url: str) -> Plan:
    """The plan whose JSON is at `url`. Raises PlanError where there is none, StoreError where it is damaged."""
    record = read_json(url)
    if record is None:
        raise PlanError(f"there is no plan at {url}")
    tables = {kind: read_table(_beside(url, kind)) for kind in TABLES}
    for kind, table in tables.items():
        if table is None:
            raise StoreError(f"{_beside(url, kind)} is missing: plan again")
    items_, cells, *pairs = (tables[kind] or {} for kind in TABLES)
    items = Items(items_["record"], items_["digest"])
    fits, seams = (Fits(t["pair"], t["value"], t["samples"], t.get("shift")) for t in pairs)
    names = read_table(_beside(url, "names")) or {"name": ()}
    return Plan.from_dict(record, items, Cells.from_columns(cells), fits, seams, tuple(map(str, names["name"])))


def latest_plan(folder: str) -> Plan:
    """The plan of the latest run. Raises StoreError where there is none."""
    url = _latest(folder)
    if url is None:
        raise StoreError(f"{folder!r} holds no plan of a run: dsdit run makes one")
    return read_plan(url)


def latest_items(folder: str) -> Items:
    """Items of the latest run's plan; none where nothing was run. Raises StoreError where they are lost."""
    url = _latest(folder)
    if url is None:
        return Items.of([])
    table = _kept(url, "items")
    return Items(table["record"], table["digest"])


def latest_sources(folder: str) -> dict[str, dict[str, Any]]:
    """Source records of the latest run's plan by name; none where nothing was run."""
    url = _latest(folder)
    record = None if url is None else read_json(url)
    return {} if record is None else dict(record["sources"])


def known_names(folder: str) -> tuple[str, ...]:
    """Names of the items to which the folder's latest plan gave numbers; none where nothing was run.

    Raises StoreError where they are lost: other numbers would give the shards of the mosaic another meaning.
    """
    url = _latest(folder)
    return () if url is None else tuple(map(str, _kept(url, "names")["name"]))


def _kept(url: str, kind: str) -> dict[str, Any]:
    table = read_table(_beside(url, kind))
    if table is None:
        raise StoreError(
            f"{_beside(url, kind)} is missing, by which numbers in the mosaic are understood: bring it back, or choose "
            "another output"
        )
    return table


def _latest(folder: str) -> str | None:
    latest = read_json(join(folder, "latest.json"))
    return None if latest is None else join(folder, latest["plan"])


def _stem(url: str) -> str:
    return url.rpartition("/")[2].partition(".")[0]


def write_due(url: str, places: NDArray[np.int32]) -> None:
    """Keeps (job, 2) rows and columns of the jobs that are due beside the plan at `url`."""
    write_table(_beside(url, "due"), {"row": places[:, 0], "col": places[:, 1]})


def _beside(url: str, kind: str) -> str:
    return f"{url.removesuffix('.json')}.{kind}.parquet"
