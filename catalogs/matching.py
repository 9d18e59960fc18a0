"""Choosing scenes and references for a cell: pure, and the same whatever the order in which a catalog answered.

A choice is an ordered list of candidates; a pixel takes the first one that is valid there. It is made per cell of the
fixed lattice, from measures of the whole cell, so that it does not depend on the region's outline.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

CLEAR_ENOUGH = 0.98
"""A scene that is clear over this share of a cell counts as clear; among those only the date decides."""
MAX_CANDIDATES = 4
"""Candidates kept for a cell: bounds what a job may read."""
_DAY_S = 86400.0


@dataclass(frozen=True)
class Candidate:
    """An item seen from one cell."""

    item: int
    """Number in the plan's table."""
    digest: str
    """Of the item; breaks ties."""
    when: datetime
    cover: float
    """Share of the cell with data."""
    clear: float
    """Share of the cell with data and without cloud."""


def choose_scenes(candidates: Iterable[Candidate], rule: str = "latest_clear") -> tuple[int, ...]:
    """LR candidates of a cell, best first.

    `latest_clear`: clear scenes by date, newest first; then the others by clear share. A cloudier scene never stands
    before a clear one. `least_cloudy`: by clear share, then by date.
    """

    def key(c: Candidate) -> tuple[float, ...]:
        cloudy = c.clear < CLEAR_ENOUGH
        clear = round(c.clear, 3)
        if rule == "latest_clear" and not cloudy:
            return 0.0, -c.when.timestamp()
        return float(cloudy), -clear, -c.when.timestamp()

    if rule not in ("latest_clear", "least_cloudy"):
        raise ValueError(f"rule {rule!r} is not known: latest_clear or least_cloudy")
    usable = [c for c in candidates if c.cover > 0]
    return tuple(c.item for c in sorted(usable, key=lambda c: (key(c), c.digest))[:MAX_CANDIDATES])


def choose_references(
    candidates: Iterable[Candidate], lr_when: datetime | None, max_age_days: float | None = None
) -> tuple[int, ...]:
    """Reference candidates of a cell, best first: full cover before partial, then the nearest date to `lr_when`."""

    def age(c: Candidate) -> float:
        return 0.0 if lr_when is None else abs((lr_when - c.when).total_seconds()) / _DAY_S

    usable = [c for c in candidates if c.clear > 0 and (max_age_days is None or age(c) <= max_age_days)]
    ordered = sorted(usable, key=lambda c: (c.clear < CLEAR_ENOUGH, age(c), -round(c.clear, 3), c.digest))
    return tuple(c.item for c in ordered[:MAX_CANDIDATES])
