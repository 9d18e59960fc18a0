"""Score of a reference for a cell, as a number of days: the fewer the better. All weights are defined here.

Age counts as it is. A reference out of season, under cloud, over a part of the cell or with too coarse a pixel is worth
as much as one that is some number of days older. Scores are whole microseconds, so that the order of sums changes
nothing.

References whose scores fall into the same step of `ALIKE_DAYS` are alike, and of those the newest item comes first, by
one order for all cells. So two cells that are covered by this year's and an older flight take the same one though their
scenes are of different days, and the seam between the two flights runs where one of them ends instead of through every
tile between those cells. A cell's choice does not depend on its neighbours' choices: otherwise it would depend, from
neighbour to neighbour, on where the region ends. Seams between different years therefore remain at the edges of
flights, and where the scores of two cells are on both sides of a step of `ALIKE_DAYS`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SEASON_DAYS = 2.0
"""A day of the year's difference in season; half a year is the most, and weighs as much as one more year of age."""
MISSING_DAYS = 1000.0
"""A cell that is not covered at all; parts in proportion."""
CLOUD_DAYS = 2000.0
"""A cell wholly under cloud; parts in proportion. Worse than no data, since masks miss the edges of clouds."""
COARSE_DAYS = 365.0
"""A pixel twice as wide as the target's; four times as wide counts twice. Finer pixels have no advantage."""
ALIKE_DAYS = 120.0
"""Step of scores that count as alike."""
_DAY_US = 86_400_000_000
_YEAR_US = round(365.2425 * _DAY_US)


def score_us(
    age_us: NDArray[np.int64], cover: NDArray[np.float32], clear: NDArray[np.float32], coarse_us: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(n,) scores, microseconds. `age_us` is the time from reference to scene, of either sign; shares are of cells."""
    age = np.abs(age_us)
    # Distance in the year: 350 days apart are 15 days of season.
    within = age % _YEAR_US
    season = np.minimum(within, _YEAR_US - within)
    missing = np.rint((1.0 - cover.astype(np.float64)) * (MISSING_DAYS * _DAY_US)).astype(np.int64)
    cloud = np.rint((cover.astype(np.float64) - clear) * (CLOUD_DAYS * _DAY_US)).astype(np.int64)
    total: NDArray[np.int64] = age + round(SEASON_DAYS) * season + missing + cloud + coarse_us
    return total


def alike(score: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of the step into which each score falls."""
    return score // round(ALIKE_DAYS * _DAY_US)


def coarseness_us(gsd_m: Sequence[float], target_gsd_m: float) -> NDArray[np.int64]:
    """(n,) what pixels of these sizes, in metres, add to a score, microseconds."""
    doublings = [max(0.0, math.log2(gsd / target_gsd_m)) for gsd in gsd_m]
    return np.array([round(d * COARSE_DAYS) * _DAY_US for d in doublings], np.int64)
