"""How good a reference is for a cell, as one number of days: the fewer the better. All weights stand here.

Age counts as it is. What was seen out of season, under cloud, over a part of the cell or with too coarse a pixel is as
good as something so many days older. Scores are whole microseconds, so that no order of sums changes them.

References whose scores fall into the same `ALIKE_DAYS` are alike, and among those the newest item stands first, by one
order for all cells. So two cells that both see this year's and an older flight take the same one though their scenes
are of different days, and the seam between the two flights runs where one of them ends instead of through every tile
between those cells. A cell's choice knows nothing of what its neighbours took: that would hang, from neighbour to
neighbour, on where the region ends. Seams between unlike years therefore remain at the edges of flights, and where two
cells' scores lie on both sides of a step of `ALIKE_DAYS`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SEASON_DAYS = 2.0
"""A day of the year's difference in season; half a year is the most, and weighs as much as one more year of age."""
MISSING_DAYS = 1000.0
"""A cell of which nothing is seen; parts in proportion."""
CLOUD_DAYS = 2000.0
"""A cell wholly under cloud; parts in proportion. More than no data, since masks miss the edges of clouds."""
COARSE_DAYS = 365.0
"""A pixel twice as wide as the target's; four times as wide counts twice. Finer pixels gain nothing."""
ALIKE_DAYS = 120.0
"""Step of scores that count as alike."""
_DAY_US = 86_400_000_000
_YEAR_US = round(365.2425 * _DAY_US)


def score_us(
    age_us: NDArray[np.int64], cover: NDArray[np.float32], clear: NDArray[np.float32], coarse_us: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(n,) scores. `age_us` is the time between reference and scene, whichever is the older; shares are of the cell."""
    age = np.abs(age_us)
    within = age % _YEAR_US
    season = np.minimum(within, _YEAR_US - within)
    missing = np.rint((1.0 - cover.astype(np.float64)) * (MISSING_DAYS * _DAY_US)).astype(np.int64)
    cloud = np.rint((cover.astype(np.float64) - clear) * (CLOUD_DAYS * _DAY_US)).astype(np.int64)
    return age + round(SEASON_DAYS) * season + missing + cloud + coarse_us


def alike(score: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of the step into which each score falls."""
    return score // round(ALIKE_DAYS * _DAY_US)


def coarseness_us(gsd_m: Sequence[float], target_gsd_m: float) -> NDArray[np.int64]:
    """(n,) what pixels of these sizes add to a score."""
    doublings = [max(0.0, math.log2(gsd / target_gsd_m)) for gsd in gsd_m]
    return np.array([round(d * COARSE_DAYS) * _DAY_US for d in doublings], np.int64)
