"""What the catalogs know of a request's place: their answers, and of each item how it covers each cell.

Answers and measures are kept below the output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import shapely
from numpy.typing import NDArray

from catalogs.choose.cells import sort_items
from catalogs.item import SceneItem
from catalogs.measure.cache import Spread
from catalogs.measure.cover_and_fit import Cover, item_window, kept_covers, rows_of
from catalogs.search.replay import keep_answer, replay_answer
from catalogs.search.usable_scenes import SearchResult, search
from catalogs.source import Source, load_source
from dsdit.errors import CatalogError, RequestError
from dsdit.lattice.layout import Layout
from dsdit.lonlat import within_180
from dsdit.plan.plan import cell_window
from dsdit.store.objects import join
from dsdit.window import Index, Window
from flows.plan.carried_over import carried_scenes
from flows.request.request import Request
from flows.request.settings import References, Scenes

Say = Callable[[str], None]


@dataclass(frozen=True)
class Searched:
    """What the catalogs gave for a request."""

    lr_source: Source
    ref_source: Source | None
    lr: tuple[SceneItem, ...]
    ref: tuple[SceneItem, ...]
    carried: tuple[SceneItem, ...] = ()
    """Those of `lr` that are of before the period; see flows/plan/carried_over.py."""


def open_source(choice: Scenes | References) -> Source:
    """The source of a request, with its endpoint replaced where the request says so."""
    source = load_source(choice.source)
    if source.derivatives == "no":
        raise RequestError(f"source {source.name} allows no derivatives ({source.licence}): take another one")
    return source if choice.endpoint is None else source.at(choice.endpoint)


def search_catalogs(request: Request, layout: Layout, now: datetime, say: Say) -> Searched:
    """Asks each catalog once for all cells that the run reaches, and keeps the answer. Raises CatalogError.

    References may be older or younger than the scenes, those that a rolling period has left behind among them, by
    `ref.max_age_days`. A period without any scene is an error only where there are none of these either.
    """
    start, end = request.period.resolve(now)
    place = layout.lattice
    cells = wanted_cells(request, layout)
    first = cell_window(place, Index(cells.row0, cells.col0))
    last = cell_window(place, Index(cells.row1 - 1, cells.col1 - 1))
    footprint = within_180(shapely.geometry.shape(layout.region.lonlat(first.union(last))))
    lr_source = open_source(request.lr)
    ref_source = None if request.ref is None else open_source(request.ref)
    found = {"lr": _found(request, "lr", lr_source, footprint, start, end, end)}
    carried: list[SceneItem] = []
    if request.period.rolls:
        carried = carried_scenes(request.output, lr_source, start, found["lr"].items)
    asked = f"{lr_source.collection} at {lr_source.endpoint} from {start.date()} to {end.date()}"
    if request.ref is not None and ref_source is not None:
        reach = timedelta(days=request.ref.max_age_days)
        until = max(end, min(end + reach, now))
        oldest = min([start, *(scene.when for scene in carried)])
        found["ref"] = _found(request, "ref", ref_source, footprint, oldest - reach, end + reach, until)
    for kind, result in found.items():
        say(f"search: {len(result.items)} {kind} items, {len(result.dropped)} left out")
        for note in result.notes:
            say(f"search: {note}")
        for item_id, reason in result.dropped:
            say(f"search: {kind} item {item_id} left out: {reason}")
    lr = (*found["lr"].items, *carried)
    if not lr:
        x0, y0, x1, y1 = layout.region.footprint.bounds
        raise CatalogError(
            f"nothing to do: no scene in {asked} over region {request.name!r} "
            f"({x0:.0f}, {y0:.0f}, {x1:.0f}, {y1:.0f} in {request.crs}): widen the period, or look at the source "
            "and at the place (bbox is west, south, east, north in degrees)"
        )
    if not found["lr"].items:
        say(f"search: no scene in {asked}: those of before, {len(carried)}, stay")
    ref = tuple(found["ref"].items) if "ref" in found else ()
    return Searched(lr_source, ref_source, lr, ref, tuple(carried))


def _found(
    request: Request,
    kind: str,
    source: Source,
    footprint: shapely.Geometry,
    start: datetime,
    end: datetime,
    until: datetime,
) -> SearchResult:
    """What there is between `start` and `end`; a catalog is asked up to `until`, after which there is nothing yet.

    The question is kept with its `end`, which is the same on the day when the answer is replayed.
    """
    folder = join(request.output, "search")
    if request.search == "replay":
        return replay_answer(folder, kind, source, footprint, None if request.period.moves else (start, end))
    result = search(source, footprint, start, until)
    keep_answer(folder, kind, source, footprint, (start, end), result)
    return result


def measure_items(
    request: Request, layout: Layout, searched: Searched, say: Say, spread: Spread | None = None
) -> tuple[list[SceneItem], range, dict[int, NDArray[np.void]]]:
    """The table of items, which of them are scenes, and of each item a table of what it covers, a cell a row.

    An item that cannot be read is offered to all cells it touches, so that staging tries it, fails and says so: it is
    not taken for absent.
    """
    items, lr, _ = sort_items(searched.lr, searched.ref)
    folder, wanted, grid = join(request.output, "measures"), wanted_cells(request, layout), layout.region.grid
    asked: list[tuple[SceneItem, Source]] = []
    for number, item in enumerate(items):
        source = searched.lr_source if number in lr else searched.ref_source
        assert source is not None
        asked.append((item, source))
    covers = kept_covers(asked, grid, wanted, folder, lambda error: say(f"measure: {error}"), spread)
    return items, lr, {n: _assumed(items[n], layout, wanted) if c is None else c for n, c in covers.items()}


def wanted_cells(request: Request, layout: Layout) -> Window:
    """Cells whose choices the run needs: with balancing, the neighbours of those that it stages too."""
    return layout.cells.expand(1) if request.lr.balance else layout.cells


def _assumed(item: SceneItem, layout: Layout, wanted: Window) -> NDArray[np.void]:
    touched = item_window(item, layout.region.grid).refine(layout.lattice.scale)
    cells = layout.lattice.cells_touching(touched).intersect(wanted)
    return rows_of({cell: Cover(0.5, 0.5) for cell in cells.indices()})
