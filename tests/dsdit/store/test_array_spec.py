"""Sizes and object names that follow from a description alone are those of what Zarr writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dsdit.lattice.tiling import Lattice
from dsdit.mosaic.mosaic_arrays import LEVEL_ARRAYS, LR_ARRAYS, SR
from dsdit.steps.scratch import REF, SCRATCH, TILE_PIXELS, TILE_WEIGHTS
from dsdit.store.array_spec import ArraySpec, shard_bytes
from dsdit.store.arrays import create_spec, forget_arrays, open_group, write_shard
from dsdit.store.objects import join
from dsdit.window import Index

LATTICE = Lattice(scale=8, token_px=8, tile_px=16, overlap_px=8, chunk_strides=4, shard_chunks=2, halo_px=8)
"""Shards of 64 px in four chunks of 32 px, with 8 x 8 tiles of 16 px."""


def test_shapes_follow_from_lattice_and_bands() -> None:
    assert SR.shard_shape(LATTICE, 4) == (4, 64, 64)
    assert SR.chunk_shape(LATTICE, 4) == (4, 32, 32)
    assert SR.array_shape(LATTICE, 4, (2, 5)) == (4, 128, 320)
    assert LR_ARRAYS[0].array_shape(LATTICE, 3, (2, 5)) == (3, 16, 40)
    assert TILE_PIXELS.shard_shape(LATTICE, 4) == (8, 8, 4, 16, 16)
    assert TILE_PIXELS.chunk_shape(LATTICE, 4) == (1, 1, 4, 16, 16)
    assert TILE_WEIGHTS.array_shape(LATTICE, 4, (2, 5)) == (16, 40, 2, 2)


def test_bytes_of_a_shard_are_those_of_its_arrays() -> None:
    assert shard_bytes(LEVEL_ARRAYS, LATTICE, 3) == 64 * 64 * (3 * 2 + 1)
    assert shard_bytes(LR_ARRAYS, LATTICE, 3) == 8 * 8 * (3 * 2 + 3 * 4 + 4 + 4 + 4 + 4)
    assert shard_bytes(SCRATCH["stage"], LATTICE, 4) == 8 * 8 * (4 * 4 + 1 + 4) + 64 * 64 * (4 * 4 + 4)
    assert shard_bytes(SCRATCH["sample"], LATTICE, 3) == 8 * 8 * (3 * 16 * 16 + 2 * 2) * 4


@pytest.mark.parametrize("spec", [SR, *LR_ARRAYS[:3], REF, TILE_PIXELS, TILE_WEIGHTS], ids=lambda spec: spec.path)
def test_a_job_writes_the_one_object_that_the_description_names(spec: ArraySpec, tmp_path: Path) -> None:
    """On an oblong field of jobs that begins beside the origin: rows and columns cannot be swapped."""
    root, origin, job = open_group(str(tmp_path), "w"), Index(-1, 4), Index(0, 8)
    group = root.require_group(spec.group) if spec.group else root
    array = create_spec(group, spec, LATTICE, 4, (2, 5))
    assert (array.shape, array.shards) == (spec.array_shape(LATTICE, 4, (2, 5)), spec.shard_shape(LATTICE, 4))
    forget_arrays()
    values = np.full(spec.shard_shape(LATTICE, 4), 7, spec.dtype)
    write_shard(join(str(tmp_path), spec.group), spec.name, origin, job, values, spec.job_axes)
    written = [path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("**/c/**/*") if path.is_file()]
    assert written == [spec.shard_object(origin, job)]
