"""Scratch of an earlier run is used for the jobs for which it was created, or refused; no shard is misplaced."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from dsdit.errors import StoreError
from dsdit.lattice.tiling import Lattice
from dsdit.steps.scratch import create_scratch
from dsdit.store.arrays import arrays_of, forget_arrays, read_block, read_window, write_shard
from dsdit.window import Index, Window

LATTICE = Lattice(8, 8, 128, 32, 2, 2, 96)
SMALL, LARGE = Window(0, 0, 1, 1), Window(0, 0, 2, 3)
LAST = Index(1, 2)


def test_scratch_of_as_many_other_jobs_is_refused(tmp_path: Path) -> None:
    """As with another land mask, or where two requests name one scratch: the same shape, another place."""
    url = str(tmp_path / "data.zarr")
    create_scratch(url, LATTICE, Window(-1, 2, 2, 5))
    create_scratch(url, LATTICE, Window(-1, 2, 2, 5))
    with pytest.raises(StoreError, match="scratch of other jobs"):
        create_scratch(url, LATTICE, Window(-1, 3, 2, 6))


def _states(value: int) -> np.ndarray:
    side = LATTICE.shard_px // LATTICE.scale
    return np.full((side, side), value, np.uint8)


def _make(url: str, jobs: Window) -> Window:
    """Creates scratch again, as another process would; returns its LR pixels."""
    shutil.rmtree(url, ignore_errors=True)
    create_scratch(url, LATTICE, jobs)
    return jobs.refine(LATTICE.shard_px // LATTICE.scale)


def test_arrays_that_were_created_again_are_opened_again_by_the_next_run(tmp_path: Path) -> None:
    """A worker that serves several runs keeps its cache between them."""
    url = str(tmp_path / "data.zarr")
    _make(url, SMALL)
    with arrays_of("first"):
        write_shard(url, "lr_state", Index(0, 0), Index(0, 0), _states(2))
    first = _make(url, LARGE)
    with arrays_of("second"):
        write_shard(url, "lr_state", Index(0, 0), LAST, _states(3))
    forget_arrays()
    found = read_window(url, "lr_state", first, first)
    assert (found[-_states(3).shape[0] :, -_states(3).shape[1] :] == 3).all()
    assert np.unique(found).tolist() == [1, 3]


@pytest.mark.parametrize("job", [LAST, Index(0, 1), Index(1, 0), Index(-1, 0), Index(0, -1)])
def test_a_shard_beyond_the_array_is_refused(job: Index, tmp_path: Path) -> None:
    """Zarr itself clips such a slice, and writes nothing or another shard."""
    url = str(tmp_path / "data.zarr")
    _make(url, SMALL)
    with pytest.raises(StoreError, match=r"lr_state ends before job .*: it was created for another region"):
        write_shard(url, "lr_state", Index(0, 0), job, _states(2))


def test_an_array_of_another_region_is_not_read_as_fill(tmp_path: Path) -> None:
    url = str(tmp_path / "data.zarr")
    _make(url, SMALL)
    first = LARGE.refine(LATTICE.shard_px // LATTICE.scale)
    with pytest.raises(StoreError, match=r"lr_state has \(\d+, \d+\) where this run expects"):
        read_window(url, "lr_state", first, first)
    with pytest.raises(StoreError, match=r"tiles has \(\d+, \d+\) where this run expects"):
        read_block(url, "tiles", LARGE.refine(LATTICE.shard_strides), Window(0, 0, 1, 1))
    with pytest.raises(StoreError, match="is beyond"):
        read_block(url, "tiles", SMALL.refine(LATTICE.shard_strides), Window(0, -1, 1, 1))
