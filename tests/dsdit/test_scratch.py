"""Scratch that an earlier run left is used for the places it was made for, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from dsdit.errors import StoreError
from dsdit.store import create_scratch
from dsdit.tiling import Lattice
from dsdit.window import Window

LATTICE = Lattice(8, 8, 128, 32, 2, 2, 96)


def test_scratch_of_as_many_other_jobs_is_refused(tmp_path: Path) -> None:
    """As with another land mask, or with a scratch that two requests name: the same shape, another place."""
    url = str(tmp_path / "data.zarr")
    create_scratch(url, LATTICE, Window(-1, 2, 2, 5), LATTICE.token_px)
    create_scratch(url, LATTICE, Window(-1, 2, 2, 5), LATTICE.token_px)
    with pytest.raises(StoreError, match="scratch of other jobs"):
        create_scratch(url, LATTICE, Window(-1, 3, 2, 6), LATTICE.token_px)
