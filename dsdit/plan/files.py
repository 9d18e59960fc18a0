"""A plan on disk: settings as JSON and, in tables next to it, items, candidates of each cell, fits, seams and names.

Names are those of all items that the mosaic's arrays may hold as numbers. Tables are written first and the JSON last: a
plan whose JSON exists is complete. Nothing in it grows with tiles. One more table, which changes from run to run, lists
the jobs that are due.
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
"""Tables that every plan has."""
_NAME = 16
"""Hex digits of a plan's digest that name its files."""


def write_plan(plan: Plan, folder: str, latest: bool = True) -> str:
    """Writes the plan under its digest, as the folder's latest if it is to be run; returns its JSON's location."""
    name = f"{plan.digest.hex()[:_NAME]}.json"
    url = join(folder, name)
    write_table(_table_url(url, "items"), {"record": plan.items.records, "digest": plan.items.digests})
    write_table(_table_url(url, "cells"), plan.cells.columns())
    for kind, fits in (("fits", plan.fits), ("seams", plan.seams)):
        columns = {"pair": fits.keys_, "value": fits.values_, "samples": fits.samples, "shift": fits.shifts}
        write_table(_table_url(url, kind), columns)
    write_table(_table_url(url, "names"), {"name": plan.item_names})
    write_json(url, plan.to_dict())
    if latest:
        write_json(join(folder, "latest.json"), {"plan": name})
    return url


NEWEST = 5
"""The newest plans are never dropped, whether or not anything needs them."""


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
    for name in gone:  # the JSON first: without it the rest is no plan
        for file in sorted(files[name], key=lambda file: not file.endswith(".json")):
            remove_object(join(folder, file))
    return gone


def read_plan(url: str) -> Plan:
    """The plan whose JSON is at `url`. Raises PlanError where there is none, StoreError where a table is missing."""
    record = read_json(url)
    if record is None:
        raise PlanError(f"there is no plan at {url}")
    tables = {kind: read_table(_table_url(url, kind)) for kind in TABLES}
    for kind, table in tables.items():
        if table is None:
            raise StoreError(f"{_table_url(url, kind)} is missing: plan again")
    items_, cells, *pairs = (tables[kind] or {} for kind in TABLES)
    items = Items(items_["record"], items_["digest"])
    fits, seams = (Fits(t["pair"], t["value"], t["samples"], t.get("shift")) for t in pairs)
    names = read_table(_table_url(url, "names")) or {"name": ()}
    return Plan.from_dict(record, items, Cells.from_columns(cells), fits, seams, tuple(map(str, names["name"])))


def latest_plan(folder: str) -> Plan:
    """The plan of the latest run. Raises StoreError where there is none."""
    url = _latest(folder)
    if url is None:
        raise StoreError(f"{folder!r} holds no plan of a run: dsdit run writes one")
    return read_plan(url)


def latest_items(folder: str) -> Items:
    """Items of the latest run's plan; none where nothing was run. Raises StoreError where their table is missing."""
    url = _latest(folder)
    if url is None:
        return Items.of([])
    table = _required_table(url, "items")
    return Items(table["record"], table["digest"])


def latest_sources(folder: str) -> dict[str, dict[str, Any]]:
    """Source records of the latest run's plan by name; none where nothing was run."""
    url = _latest(folder)
    record = None if url is None else read_json(url)
    return {} if record is None else dict(record["sources"])


def known_names(folder: str) -> tuple[str, ...]:
    """Names of the items to which the folder's latest plan gave numbers; none where nothing was run.

    Raises StoreError where their table is missing: with other numbers the mosaic's shards would name other items.
    """
    url = _latest(folder)
    return () if url is None else tuple(map(str, _required_table(url, "names")["name"]))


def _required_table(url: str, kind: str) -> dict[str, Any]:
    table = read_table(_table_url(url, kind))
    if table is None:
        raise StoreError(
            f"{_table_url(url, kind)} is missing, and numbers in the mosaic point to it: restore it, or choose another "
            "output"
        )
    return table


def _latest(folder: str) -> str | None:
    latest = read_json(join(folder, "latest.json"))
    return None if latest is None else join(folder, latest["plan"])


def _stem(url: str) -> str:
    return url.rpartition("/")[2].partition(".")[0]


def write_due(url: str, jobs: NDArray[np.int32]) -> None:
    """Writes the (job, 2) rows and columns of the due jobs next to the plan at `url`."""
    write_table(_table_url(url, "due"), {"row": jobs[:, 0], "col": jobs[:, 1]})


def _table_url(url: str, kind: str) -> str:
    return f"{url.removesuffix('.json')}.{kind}.parquet"
