"""The run around the origin with its staged pixels kept: made once a session, on first use."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from tests.support.equator import equator_record, make_equator
from tests.support.running import Ran, run_here

AROUND_ZERO = (-61.3, -73.9, 88.1, 52.2)
"""Over four shards, with rows and columns of both signs, off both lattices."""
ACROSS = (-30.2, -31.1, 13.3, 29.9)
SOUTH = (7.3, -50.0, 60.0, -9.0)
"""Parts of `AROUND_ZERO`: over the origin, and in one quarter."""


@lru_cache
def equator_catalog(base: Path) -> Path:
    """The catalog, below the session's folder."""
    return make_equator(base / "equator-catalog")


@lru_cache
def kept_run(base: Path, weights: Path) -> Ran:
    """A sound run over it, with all its scratch. Nobody may write there."""
    record = equator_record(equator_catalog(base), weights, base / "equator-kept", AROUND_ZERO, keep_scratch=True)
    return run_here(record)
