"""What was measured of pairs of items, as columns of numbers: a reference's radiometry and place against a scene's.

A pair's shift is kept with what is known of it, believed or not. Only a shift that is taken out decides pixels, so
only that one stands in `Fits.rows`, from which digests are made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dsdit.plan.candidates import pair_keys, pair_of


class Place(IntEnum):
    """What becomes of a reference's measured shift."""

    NOT_MEASURED = 0
    """Nobody asked, or the pair could not be read, or it shares too little to tell."""
    MOVED = 1
    """The shift is taken out as the reference is read."""
    IN_PLACE = 2
    """The shift is too small, or too little of it is sure, to be worth another resampling."""
    LEFT = 3
    """The shift was asked for, and not to be taken out."""
    UNSURE = 4
    """No shift can be believed: nothing is moved."""
    TOO_FAR = 5
    """The shift is believed and above the limit: nothing is moved."""


FLAGGED = (Place.UNSURE, Place.TOO_FAR)
"""Places that a person should look at."""


@dataclass(frozen=True)
class Registration:
    """Where a reference lies beside a scene. Metres of the grid's CRS."""

    dy_m: float = 0.0
    """How far down the reference lies."""
    dx_m: float = 0.0
    """How far to the right it lies."""
    agreement: float = 0.0
    """Correlation, after the shift, of what the LR sensor sees of both."""
    residual_m: float = 0.0
    """Median distance of single windows from the pair's shift: its spread, whether or not the shift is taken out."""
    windows: int = 0
    """Windows that tell of the shift; 0 where none is believed."""
    place: Place = Place.NOT_MEASURED

    @property
    def length_m(self) -> float:
        """Length of the shift."""
        return float(np.hypot(self.dy_m, self.dx_m))

    @property
    def left_m(self) -> float:
        """How far the reference may lie beside once it is read: the spread, and the shift where it is not taken out.

        Of no meaning where no window is believed.
        """
        return self.residual_m + (0.0 if self.place is Place.MOVED else self.length_m)

    @property
    def taken_m(self) -> tuple[float, float]:
        """(dy, dx) that is taken out as the reference is read."""
        return (self.dy_m, self.dx_m) if self.place is Place.MOVED else (0.0, 0.0)


@dataclass(frozen=True)
class Fit:
    """lr = gain * ref + offset in reflectance, per band, and the reference's place; over the overlap of two items."""

    gain: tuple[float, ...] = (1.0, 1.0, 1.0)
    offset: tuple[float, ...] = (0.0, 0.0, 0.0)
    samples: int = 0
    """Pixels behind gain and offset; 0 where nothing could be measured and the reference is taken as it is."""
    registration: Registration = Registration()

    @classmethod
    def identity(cls, bands: int) -> Fit:
        """The fit that changes nothing, for so many bands."""
        return cls((1.0,) * bands, (0.0,) * bands)


_RGB_VALUES = 6
"""Gains and offsets of red, green and blue: the width of a table without any pair."""


class Fits(Mapping[tuple[int, int], Fit]):
    """(reference, LR) -> fit."""

    def __init__(
        self,
        keys: NDArray[np.int64],
        values: NDArray[np.float64],
        samples: NDArray[np.int64],
        shifts: NDArray[np.float64] | None = None,
    ) -> None:
        self.keys_ = keys
        """Sorted; see `pair_keys`."""
        self.values_ = values
        """(pair, 2 * bands): gains, then offsets."""
        self.samples = samples
        self.shifts = np.zeros((len(keys), 6), np.float64) if shifts is None else shifts
        """(pair, 6): dy_m, dx_m, agreement, residual_m, windows and place of `Registration`."""

    @classmethod
    def of(cls, fits: Mapping[tuple[int, int], Fit]) -> Fits:
        """From a fit per pair."""
        pairs = sorted(fits)
        both = np.array(pairs, np.int32).reshape(-1, 2)
        found = [fits[pair] for pair in pairs]
        values = [[*fit.gain, *fit.offset] for fit in found]
        shifts = [
            [r.dy_m, r.dx_m, r.agreement, r.residual_m, r.windows, r.place] for r in (f.registration for f in found)
        ]
        return cls(
            pair_keys(both[:, 0], both[:, 1]),
            np.array(values, np.float64).reshape(len(found), -1 if found else _RGB_VALUES),
            np.array([fit.samples for fit in found], np.int64),
            np.array(shifts, np.float64).reshape(-1, 6),
        )

    def row_numbers(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row of each key; -1 where the pair has no fit."""
        if not len(self.keys_):
            return np.full(keys.shape, -1, np.int64)
        at = np.minimum(np.searchsorted(self.keys_, keys), len(self.keys_) - 1)
        return np.where(self.keys_[at] == keys, at, -1)

    def measured(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row of each key; -1 where the pair has no fit, or one that nothing could be measured for."""
        at = self.row_numbers(keys)
        return np.where((at >= 0) & (np.append(self.samples, 0)[at] > 0), at, -1)

    def __getitem__(self, pair: tuple[int, int]) -> Fit:
        ref, lr = (np.array([number], np.int32) for number in pair)
        at = int(self.row_numbers(pair_keys(ref, lr))[0])
        if at < 0:
            raise KeyError(pair)
        gain, offset = np.split(self.values_[at], 2)
        return Fit(tuple(gain.tolist()), tuple(offset.tolist()), int(self.samples[at]), self._registration(at))

    def _registration(self, at: int) -> Registration:
        dy_m, dx_m, agreement, residual_m, windows, place = self.shifts[at].tolist()
        return Registration(dy_m, dx_m, agreement, residual_m, int(windows), Place(int(place)))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return map(pair_of, self.keys_.tolist())

    def __len__(self) -> int:
        return len(self.keys_)

    @cached_property
    def deciding(self) -> NDArray[np.float64]:
        """(pair + 1, 2 * bands + 3): gains, offsets, samples, the corrected shift; the last row stands for no fit."""
        width = self.values_.shape[1]
        rows = np.zeros((len(self) + 1, width + 3), np.float64)
        rows[:-1, :width], rows[:-1, width] = self.values_, self.samples
        rows[:-1, width + 1 :] = np.where(self.shifts[:, 5:] == Place.MOVED, self.shifts[:, :2], 0.0)
        return rows

    def count_places(self) -> dict[Place, int]:
        """Pairs by what becomes of their shift."""
        counted = Counter(self.shifts[:, 5].astype(int).tolist())
        return {place: counted[place] for place in Place if counted[place]}

    def at_place(self, place: Place, most: int) -> list[tuple[tuple[int, int], Registration]]:
        """The first `most` pairs of a place, the longest shift first."""
        rows = np.flatnonzero(self.shifts[:, 5] == place)
        length = np.hypot(self.shifts[rows, 0], self.shifts[rows, 1])
        rows = rows[np.lexsort((rows, -length))][:most]
        keys = self.keys_[rows].tolist()
        return [(pair_of(key), self._registration(row)) for row, key in zip(rows.tolist(), keys, strict=True)]
