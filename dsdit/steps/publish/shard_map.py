"""A map of the region's shards as PNG, each in the colour of its state, with outline, coordinates and a legend."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import shapely
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from dsdit.plan.plan import Plan

COLOURS = {
    "done": (46, 125, 50),
    "due": (240, 150, 60),
    "stale": (141, 160, 203),
    "waiting": (189, 189, 189),
    "staged": (144, 202, 249),
    "sampled": (25, 118, 210),
    "degraded": (251, 192, 45),
    "failed": (198, 40, 40),
    "no scene": (120, 120, 120),
    "off land": (205, 225, 240),
}
"""Red, green and blue by state."""
MOST_CELLS = 800
"""Cells of the map on its longer side: where there are more shards, several share one."""
_MOST_SQUARES = 60
"""Squares on the longer side of a map that shows lines between them."""
_INCHES, _DPI = 9.0, 120


def _shards_a_side(shape: tuple[int, ...], rows: int, cols: int) -> int:
    """Shards along a side of each of at most `rows` x `cols` cells."""
    return max(1, -(-shape[0] // rows), -(-shape[1] // cols))


def coarsen_states(states: NDArray[np.uint8], rows: int, cols: int) -> NDArray[np.uint8]:
    """At most `rows` x `cols` cells of equal size, each the highest state of its shards."""
    factor = _shards_a_side(states.shape, rows, cols)
    size = [-(-n // factor) * factor for n in states.shape]
    padded = np.zeros(size, np.uint8)
    padded[: states.shape[0], : states.shape[1]] = states
    cells: NDArray[np.uint8] = padded.reshape(size[0] // factor, factor, size[1] // factor, factor).max((1, 3))
    return cells


def draw_shards(plan: Plan, title: str, states: Sequence[tuple[str, NDArray[np.bool_]]]) -> bytes:
    """PNG of masks (row, col) by state on the window of the plan's mosaic jobs; later states cover earlier ones.

    The legend counts the shards of each mask that holds any.
    """
    window = plan.layout.mosaic_jobs_window
    number = np.zeros(window.shape, np.uint8)
    for place, (_, mask) in enumerate(states, 1):
        number[mask] = place
    cells = coarsen_states(number, MOST_CELLS, MOST_CELLS)
    colours = np.array([(255, 255, 255), *(COLOURS[name] for name, _ in states)], np.uint8)
    side_km = plan.lattice.shard_px * plan.region.grid.gsd_m / 1000
    factor = _shards_a_side(window.shape, MOST_CELLS, MOST_CELLS)
    west, north = window.col0 * side_km, -window.row0 * side_km
    east, south = west + cells.shape[1] * factor * side_km, north - cells.shape[0] * factor * side_km
    tall = min(max((north - south) / (east - west), 0.25), 3.0)
    figure = Figure((_INCHES, _INCHES * tall + 1.6), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    axes.imshow(colours[cells], extent=(west, east, south, north), interpolation="nearest")
    if max(cells.shape) <= _MOST_SQUARES:
        axes.hlines(north - side_km * np.arange(1, cells.shape[0]), west, east, color="white", linewidth=0.8)
        axes.vlines(west + side_km * np.arange(1, cells.shape[1]), south, north, color="white", linewidth=0.8)
    _outline(axes, plan)
    axes.set_title(f"{title}\none square is {side_km:g} km" + (f", one cell {factor} squares" if factor > 1 else ""))
    axes.set_xlabel(f"x, km in {plan.region.grid.crs}")
    axes.set_ylabel("y, km")
    axes.ticklabel_format(useOffset=False)
    shown = [(name, int(mask.sum())) for name, mask in states if mask.any()]
    patches = [
        Patch(color="#{:02x}{:02x}{:02x}".format(*COLOURS[name]), label=f"{name}: {count:,}") for name, count in shown
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=4, frameon=False)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _outline(axes: Axes, plan: Plan) -> None:
    """The region's edges."""
    for ring in shapely.get_parts(shapely.boundary(plan.region.footprint)):
        x, y = np.asarray(shapely.get_coordinates(ring)).T / 1000
        axes.plot(x, y, color="black", linewidth=1.4)
