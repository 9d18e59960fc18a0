"""Search results for a request, and how each item covers each cell.

Answers of the catalogs and measures are stored below the output.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import shapely
from numpy.typing import NDArray

from catalogs.choose.cells import sort_items
from catalogs.item import SceneItem
from catalogs.measure.cache import Spread
from catalogs.measure.cover_and_fit import Cover, cached_covers, item_window, rows_of
from catalogs.search.replay import replay_answer, save_answer
from catalogs.search.usable_scenes import SearchResult, search_items
from catalogs.source import Source
from dsdit.errors import CatalogError, ReadError
from dsdit.lonlat import within_180
from dsdit.store.objects import join
from dsdit.window import Index
from flows.plan.carried_over import carried_scenes
from flows.plan.prepared import Prepared

_REASONS = 3
"""Reasons for items that were left out, in a sentence."""
Log = Callable[[str], None]
OnUnreadable = Callable[[ReadError], None]


@dataclass(frozen=True)
class Searched:
    """Items that the catalogs returned for a request."""

    lr: tuple[SceneItem, ...]
    ref: tuple[SceneItem, ...]
    carried: tuple[SceneItem, ...] = ()
    """Those of `lr` that were taken before the period; see flows/plan/carried_over.py."""


def search_catalogs(prepared: Prepared, now: datetime, log: Log) -> Searched:
    """Queries each catalog once for all cells that the run reaches, and stores the answer. Raises CatalogError.

    References may be older or younger than the scenes by `ref.max_age_days`, the carried scenes of a rolling period
    among them. A period without any scene is an error only where there are no carried ones either.
    """
    request, lr_source, ref_source = prepared.request, prepared.lr_source, prepared.ref_source
    start, end = request.period.resolve(now)
    footprint = _searched_area(prepared)
    found = {"lr": _found(prepared, "lr", lr_source, footprint, start, end, end)}
    carried: list[SceneItem] = []
    if request.period.rolls:
        carried = carried_scenes(request.output, lr_source, start, found["lr"].items)
    if request.ref is not None and ref_source is not None:
        reach = timedelta(days=request.ref.max_age_days)
        until = max(end, min(end + reach, now))
        oldest = min([start, *(scene.when for scene in carried)])
        found["ref"] = _found(prepared, "ref", ref_source, footprint, oldest - reach, end + reach, until)
    for kind, result in found.items():
        _log_result(kind, result, log)
    lr = (*found["lr"].items, *carried)
    query = f"{lr_source.collection} at {lr_source.endpoint} from {start.date()} to {end.date()}"
    if not lr:
        x0, y0, x1, y1 = prepared.region.footprint.bounds
        raise CatalogError(
            f"nothing to do: no scene in {query} over region {request.name!r} "
            f"({x0:.0f}, {y0:.0f}, {x1:.0f}, {y1:.0f} in {request.crs}): widen the period, or check the source "
            f"and the place (bbox is west, south, east, north in degrees){_reasons(found['lr'])}"
        )
    if not found["lr"].items:
        log(f"search: no scene in {query}: {len(carried)} earlier ones stay in use")
    return Searched(lr, tuple(found["ref"].items) if "ref" in found else (), tuple(carried))


def _reasons(result: SearchResult) -> str:
    """End of a sentence: how many items were left out for each reason, the most frequent first."""
    counts = Counter(reason for _, reason in result.dropped).most_common(_REASONS)
    listed = "; ".join(f"{count} x {' '.join(reason.split())[:120]}" for reason, count in counts)
    return f"; {len(result.dropped)} items were left out: {listed}" if counts else ""


def _searched_area(prepared: Prepared) -> shapely.Geometry:
    """Footprint in degrees of all cells that the run reaches."""
    lattice, cells = prepared.lattice, prepared.cells
    first = lattice.cell_window(Index(cells.row0, cells.col0))
    last = lattice.cell_window(Index(cells.row1 - 1, cells.col1 - 1))
    return within_180(shapely.geometry.shape(prepared.region.lonlat(first.union(last))))


def _log_result(kind: str, result: SearchResult, log: Log) -> None:
    log(f"search: {len(result.items)} {kind} items, {len(result.dropped)} left out")
    for note in result.notes:
        log(f"search: {note}")
    for item_id, reason in result.dropped:
        log(f"search: {kind} item {item_id} left out: {reason}")


def _found(
    prepared: Prepared,
    kind: str,
    source: Source,
    footprint: shapely.Geometry,
    start: datetime,
    end: datetime,
    until: datetime,
) -> SearchResult:
    """Items between `start` and `end`; the catalog is queried up to `until`, after which it has nothing yet.

    The stored query has `end`, which does not change during the day: a replay on that day finds it.
    """
    request = prepared.request
    folder = join(request.output, "search")
    if request.search == "replay":
        return replay_answer(folder, kind, source, footprint, None if request.period.moves else (start, end))
    result = search_items(source, footprint, start, until)
    save_answer(folder, kind, source, footprint, (start, end), result)
    return result


def measure_items(
    prepared: Prepared, searched: Searched, on_error: OnUnreadable, spread: Spread | None = None
) -> tuple[list[SceneItem], range, dict[int, NDArray[np.void]]]:
    """The table of items, the range of it that is scenes, and for each item the rows of what it covers, one a cell.

    An item that cannot be read is taken to cover half of every cell that it touches: staging then tries it and reports
    the failure, where dropping it here would hide the file.
    """
    items, lr, _ = sort_items(searched.lr, searched.ref)
    folder = join(prepared.request.output, "measures")
    queries: list[tuple[SceneItem, Source]] = []
    for number, item in enumerate(items):
        source = prepared.lr_source if number in lr else prepared.ref_source
        assert source is not None
        queries.append((item, source))
    grid, cells = prepared.region.grid, prepared.cells
    covers = cached_covers(queries, grid, cells, folder, on_error, spread)
    return items, lr, {n: _assumed(items[n], prepared) if rows is None else rows for n, rows in covers.items()}


def _assumed(item: SceneItem, prepared: Prepared) -> NDArray[np.void]:
    """Rows of an item that could not be measured."""
    lattice = prepared.lattice
    touched = item_window(item, prepared.region.grid).refine(lattice.scale)
    cells = lattice.cells_touching(touched).intersect(prepared.cells)
    return rows_of({cell: Cover(0.5, 0.5) for cell in cells.indices()})
