"""Fits of pairs of items: the radiometry and the shift of a reference against an LR scene, as columns of numbers.

What was measured of a pair's shift is stored whether or not it was accepted. Only a corrected shift decides pixels, so
digests hold that one alone; see `Fits.deciding`.
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


class Correction(IntEnum):
    """Whether a reference's measured shift is corrected, and why not."""

    NOT_MEASURED = 0
    """Registration is off, or the pair could not be read, or too little of it is clear."""
    APPLIED = 1
    """The shift is corrected as the reference is read."""
    NOT_NEEDED = 2
    """The shift is too small or too uncertain to be worth another resampling."""
    NOT_REQUESTED = 3
    """The request wants shifts measured and not corrected."""
    UNSURE = 4
    """No shift was accepted: nothing is corrected."""
    TOO_FAR = 5
    """The shift was accepted and is above the limit: nothing is corrected."""


FLAGGED = (Correction.UNSURE, Correction.TOO_FAR)
"""Those that a person should look at."""


@dataclass(frozen=True)
class Registration:
    """The shift of a reference against a scene. Metres of the grid's CRS."""

    dy_m: float = 0.0
    """How far down the reference is shifted."""
    dx_m: float = 0.0
    """How far to the right it is shifted."""
    agreement: float = 0.0
    """Correlation of the two as the LR sensor sees them, after the shift."""
    residual_m: float = 0.0
    """Spread: median distance of single windows' shifts from the pair's, whether or not the shift is corrected."""
    windows: int = 0
    """Windows with an accepted shift; 0 where there is none."""
    correction: Correction = Correction.NOT_MEASURED

    @property
    def length_m(self) -> float:
        """Length of the shift."""
        return float(np.hypot(self.dy_m, self.dx_m))

    @property
    def remaining_m(self) -> float:
        """How far the reference may still be misregistered once it is read: the spread, and an uncorrected shift.

        Has no meaning where `windows` is 0.
        """
        return self.residual_m + (0.0 if self.correction is Correction.APPLIED else self.length_m)

    @property
    def corrected_m(self) -> tuple[float, float]:
        """(dy, dx) that is corrected as the reference is read."""
        return (self.dy_m, self.dx_m) if self.correction is Correction.APPLIED else (0.0, 0.0)


@dataclass(frozen=True)
class Fit:
    """lr = gain * ref + offset in reflectance, per band, and the reference's shift; over the overlap of two items."""

    gain: tuple[float, ...] = (1.0, 1.0, 1.0)
    offset: tuple[float, ...] = (0.0, 0.0, 0.0)
    samples: int = 0
    """Pixels from which gain and offset were fitted; 0 where nothing could be measured and the fit changes nothing."""
    registration: Registration = Registration()

    @classmethod
    def identity(cls, bands: int) -> Fit:
        """The fit that changes nothing, for so many bands."""
        return cls((1.0,) * bands, (0.0,) * bands)


_RGB_VALUES = 6
"""Gains and offsets of red, green and blue: the width of a table without any pair."""


class Fits(Mapping[tuple[int, int], Fit]):
    """(reference, LR) -> fit, both as numbers in the plan's items; in tables sorted by pair."""

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
        """(pair, 6): dy_m, dx_m, agreement, residual_m, windows and correction of `Registration`."""

    @classmethod
    def of(cls, fits: Mapping[tuple[int, int], Fit]) -> Fits:
        """From a fit per pair."""
        pairs = sorted(fits)
        both = np.array(pairs, np.int32).reshape(-1, 2)
        found = [fits[pair] for pair in pairs]
        values = [[*fit.gain, *fit.offset] for fit in found]
        shifts = [
            [r.dy_m, r.dx_m, r.agreement, r.residual_m, r.windows, r.correction]
            for r in (f.registration for f in found)
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
        # A key behind the last one would be found one past the end.
        row = np.minimum(np.searchsorted(self.keys_, keys), len(self.keys_) - 1)
        return np.where(self.keys_[row] == keys, row, -1)

    def measured(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row of each key; -1 where the pair has no fit, or one for which nothing could be measured."""
        row = self.row_numbers(keys)
        samples = np.append(self.samples, 0)  # row -1 reads the 0 at the end
        return np.where((row >= 0) & (samples[row] > 0), row, -1)

    def __getitem__(self, pair: tuple[int, int]) -> Fit:
        ref, lr = (np.array([number], np.int32) for number in pair)
        row = int(self.row_numbers(pair_keys(ref, lr))[0])
        if row < 0:
            raise KeyError(pair)
        gain, offset = np.split(self.values_[row], 2)
        return Fit(tuple(gain.tolist()), tuple(offset.tolist()), int(self.samples[row]), self._registration(row))

    def _registration(self, row: int) -> Registration:
        dy_m, dx_m, agreement, residual_m, windows, correction = self.shifts[row].tolist()
        return Registration(dy_m, dx_m, agreement, residual_m, int(windows), Correction(int(correction)))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return map(pair_of, self.keys_.tolist())

    def __len__(self) -> int:
        return len(self.keys_)

    @cached_property
    def deciding(self) -> NDArray[np.float64]:
        """(pair + 1, 2 * bands + 3) that decide pixels: gain, offset, samples, corrected shift; last row: no fit."""
        width = self.values_.shape[1]
        rows = np.zeros((len(self) + 1, width + 3), np.float64)
        rows[:-1, :width], rows[:-1, width] = self.values_, self.samples
        rows[:-1, width + 1 :] = np.where(self.shifts[:, 5:] == Correction.APPLIED, self.shifts[:, :2], 0.0)
        return rows

    def count_corrections(self) -> dict[Correction, int]:
        """Numbers of pairs by their correction."""
        counted = Counter(self.shifts[:, 5].astype(int).tolist())
        return {correction: counted[correction] for correction in Correction if counted[correction]}

    def longest_shifts(self, correction: Correction, most: int) -> list[tuple[tuple[int, int], Registration]]:
        """At most `most` pairs of one correction, the longest shift first."""
        rows = np.flatnonzero(self.shifts[:, 5] == correction)
        length = np.hypot(self.shifts[rows, 0], self.shifts[rows, 1])
        rows = rows[np.lexsort((rows, -length))][:most]
        keys = self.keys_[rows].tolist()
        return [(pair_of(key), self._registration(row)) for row, key in zip(rows.tolist(), keys, strict=True)]
