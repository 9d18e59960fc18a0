"""Digests of a mosaic's pixels: two mosaics of one plan are the same where these are."""

from __future__ import annotations

import hashlib

import numpy as np

from dsdit.mosaic.template import level_url, mosaic_window
from dsdit.plan.plan import Plan
from dsdit.store.arrays import read_window
from dsdit.window import Window


def mosaic_digest(plan: Plan, mosaic: str, window: Window | None = None) -> str:
    """sha256 of `sr` and `status` on a window of HR pixels (the region's by default)."""
    place = window or plan.region.window
    digest = hashlib.sha256()
    for name in ("sr", "status"):
        values = read_window(level_url(mosaic, 0), name, mosaic_window(plan), place)
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
