"""States of an LR pixel, of a tile, of a pixel of the mosaic, and of a job."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class LrState(IntEnum):
    """State of an LR pixel after staging."""

    VALID = 0
    NO_DATA = 1
    CLOUDY = 2
    UNREADABLE = 3
    """A read error left no candidate. It is never treated as no data."""


class TileState(IntEnum):
    """Result of a tile."""

    DONE = 0
    NO_REFERENCE = 1
    CLOUDY = 2
    NO_DATA = 3
    FAILED = 4

    @property
    def sampled(self) -> bool:
        """True where the network's output exists."""
        return self in (TileState.DONE, TileState.NO_REFERENCE)


class PixelStatus(IntEnum):
    """`status` in the mosaic. 0 is also what an unwritten shard reads as."""

    OUTSIDE = 0
    DONE = 1
    NO_REFERENCE = 2
    NO_DATA = 3
    CLOUDY = 4
    FAILED = 5


class JobState(StrEnum):
    """Status in a receipt and in the report. Only DONE jobs are not due again."""

    DONE = "done"
    DEGRADED = "degraded"
    """Written with a fallback, or next to a failed neighbour: still due."""
    FAILED = "failed"
    CLEARED = "cleared"
    """The shard is outside the region by now and was removed. Forgotten once that is published."""
