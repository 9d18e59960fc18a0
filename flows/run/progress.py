"""How far a run is, in numbers and in one line."""

from __future__ import annotations

from dataclasses import dataclass

_ESTIMATE_FROM = 20
"""The time left is estimated once one tile in so many is sampled."""


@dataclass(frozen=True)
class Progress:
    """What is done at one moment."""

    staged: int
    """Jobs staged by this run."""
    tiles: int
    tiles_total: int
    jobs: int
    jobs_total: int
    seconds: float
    """Since the first job was given to be sampled."""

    @property
    def rate(self) -> float:
        """Tiles per second since sampling began."""
        return self.tiles / self.seconds if self.seconds > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds left at this rate; None while too few tiles are sampled for an estimate."""
        known = self.rate > 0 and self.tiles * _ESTIMATE_FROM >= self.tiles_total
        return (self.tiles_total - self.tiles) / self.rate if known else None

    def __str__(self) -> str:
        left = "" if self.left_s is None else f", {self.left_s:.0f} s left"
        speed = f", {self.rate:.1f} tiles/s{left}" if self.tiles else ""
        return (
            f"{self.staged} jobs staged; {self.tiles}/{self.tiles_total} tiles{speed}; "
            f"{self.jobs}/{self.jobs_total} shards"
        )
