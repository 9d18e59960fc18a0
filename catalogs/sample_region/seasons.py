"""Reflectance of plants and ground, and how crops change with year and season.

Values are (red, green, blue, near infrared) as Sentinel-2 sees them after atmospheric correction, in round figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from catalogs.sample_region.parcels import FIELD, GARDEN, MEADOW, WOOD, Parcel


@dataclass(frozen=True)
class Cover:
    """How a parcel looks."""

    colour: tuple[float, float, float, float]
    """Reflectance of the closed cover."""
    rows: float = 0.05
    """Relative contrast of streaks along the rows."""
    tram: float = 0.0
    """Relative darkening (or brightening, below 0) of wheel tracks."""
    swath_m: float = 0.0
    """Width of passes that alternate between lighter and darker; 0 is none."""
    patches: float = 0.10
    """Relative contrast of soil and moisture."""


RIPENING = Cover((0.125, 0.125, 0.062, 0.36), 0.05, 0.22, 0.0, 0.10)
GOLDEN = Cover((0.205, 0.170, 0.098, 0.34), 0.05, 0.20, 0.0, 0.08)
STUBBLE = Cover((0.235, 0.198, 0.130, 0.32), 0.07, 0.08, 7.5, 0.06)
PODS = Cover((0.088, 0.108, 0.045, 0.38), 0.07, 0.20, 0.0, 0.12)
YOUNG_MAIZE = Cover((0.078, 0.096, 0.052, 0.36), 0.15, 0.08, 0.0, 0.16)
TALL_MAIZE = Cover((0.040, 0.072, 0.032, 0.46), 0.09, 0.10, 0.0, 0.10)
BEET = Cover((0.044, 0.092, 0.036, 0.50), 0.09, 0.16, 0.0, 0.10)
POTATO = Cover((0.060, 0.086, 0.042, 0.42), 0.17, 0.20, 0.0, 0.12)
GRASS = Cover((0.056, 0.090, 0.041, 0.42), 0.03, 0.0, 0.0, 0.13)
MOWN = Cover((0.098, 0.122, 0.064, 0.36), 0.05, 0.0, 5.0, 0.08)
HAY = Cover((0.088, 0.108, 0.056, 0.34), 0.06, 0.0, 9.0, 0.08)
PLOUGHED = Cover((0.150, 0.121, 0.088, 0.21), 0.08, 0.0, 3.5, 0.14)
HARROWED = Cover((0.188, 0.161, 0.115, 0.26), 0.05, 0.03, 6.0, 0.12)
SPROUTING = Cover((0.120, 0.122, 0.080, 0.30), 0.09, 0.05, 0.0, 0.16)
WOODLAND = Cover((0.030, 0.042, 0.022, 0.22))
LAWN = Cover((0.062, 0.092, 0.046, 0.38), 0.02, 0.0, 0.0, 0.14)

VERGE = (0.078, 0.096, 0.052, 0.34)
CLEARING = (0.128, 0.106, 0.072, 0.25)
ASPHALT = (0.132, 0.130, 0.128, 0.16)
GRAVEL = (0.185, 0.168, 0.138, 0.24)
SOIL_BED = (0.120, 0.106, 0.076, 0.26)
YARD = (0.165, 0.156, 0.142, 0.21)
WATER = (0.026, 0.040, 0.036, 0.018)
PEBBLES = (0.190, 0.180, 0.155, 0.24)
LEAF_CROWN = (0.036, 0.064, 0.028, 0.42)
CONIFER_CROWN = (0.025, 0.042, 0.023, 0.27)
ROOFS = {
    0: (0.215, 0.112, 0.082, 0.28),
    1: (0.092, 0.092, 0.098, 0.12),
    2: (0.178, 0.170, 0.162, 0.20),
    3: (0.30, 0.305, 0.30, 0.32),
}

_JULY = (RIPENING, GOLDEN, PODS, YOUNG_MAIZE, BEET, POTATO, TALL_MAIZE, SPROUTING, HARROWED)
_AUGUST = (STUBBLE, HARROWED, PLOUGHED, TALL_MAIZE, BEET, POTATO, TALL_MAIZE, GRASS, STUBBLE)
_SHARES = (0.24, 0.15, 0.11, 0.12, 0.10, 0.06, 0.10, 0.05, 0.07)


def covers(parcels: list[Parcel], when: datetime, seed: int) -> tuple[list[Cover], NDArray[np.float64]]:
    """(cover, tint (n, 4)) of each parcel on a date: the year decides the crop, the month its stage."""
    year_rng = np.random.Generator(np.random.Philox(key=[seed, when.year]))
    stages = _AUGUST if when.month >= 8 else _JULY
    kept = np.random.Generator(np.random.Philox(key=[seed, 1])).random(len(parcels))
    crops = year_rng.choice(len(_SHARES), len(parcels), p=_SHARES)
    mown = year_rng.random(len(parcels))
    chosen = []
    for number, parcel in enumerate(parcels):
        if parcel.kind == FIELD:
            cover = stages[crops[number]]
        elif parcel.kind == MEADOW:
            cover = MOWN if mown[number] < 0.3 else HAY if mown[number] < 0.45 else GRASS
        else:
            cover = WOODLAND if parcel.kind == WOOD else LAWN
        chosen.append(cover)
    tint = (
        1
        + np.clip(year_rng.normal(0, 0.075, (len(parcels), 1)), -0.2, 0.2)
        + year_rng.normal(0, 0.018, (len(parcels), 4))
    )
    gardens = np.array([p.kind == GARDEN for p in parcels], bool)
    tint[gardens] = (0.72 + 0.6 * kept[gardens])[:, None] * np.where(
        kept[gardens, None] > 0.7, [1.15, 1.0, 1.1, 0.9], 1.0
    )
    return chosen, tint.astype(np.float32)
