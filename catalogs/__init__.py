"""Catalogs of scenes: sources, search, measures, choice, exact reading, staging. Answers are untrusted."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray

    from catalogs.source import Source
    from dsdit.region import Region

__all__ = ["stack"]


def stack(
    region: Region,
    source: Source | str,
    start: datetime | None = None,
    end: datetime | None = None,
    chunk_px: int = 512,
) -> xarray.DataArray:
    """(time, band, y, x) reflectance of a region's scenes or references, lazy; see `catalogs.lazy_stack.stack_items`.

    Up to now, scenes of the last 45 days and references of the last ten years, where no times are given.
    """
    from catalogs.lazy_stack import stack_items

    return stack_items(region, source, start, end, chunk_px)
