"""`ArraySpec`: one description of every array of the mosaic and of scratch, and its sizes on a lattice.

A job writes one shard of each array, and a shard is one object. So the shape of a shard, the bytes it takes and the
name of its object follow from the description, the lattice and the number of bands, before any store is opened.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from dsdit.lattice.tiling import Lattice
from dsdit.window import Index

LatticeName = Literal["hr", "lr", "tile"]
PIXELS = ("y", "x")
BAND_PIXELS = ("band", *PIXELS)
TILES = ("tile_row", "tile_col")


@dataclass(frozen=True)
class ArraySpec:
    """An array whose shards are written by jobs, one each."""

    name: str
    group: str
    """Path of its Zarr group below the root; empty for the root itself."""
    lattice: LatticeName
    """What its job axes count: HR pixels, LR pixels, or tiles."""
    dims: tuple[str, ...]
    """Dimension names, of `band`, `y`, `x`, `tile_row`, `tile_col`, `token_row`, `token_col`."""
    dtype: str
    fill: float | int
    """Value of what no job has written."""
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_bands(self) -> bool:
        """Whether it has a band axis."""
        return "band" in self.dims

    @property
    def job_axes(self) -> tuple[int, int]:
        """The two axes along which shards of neighbouring jobs follow each other."""
        row = self.dims.index("tile_row" if self.lattice == "tile" else "y")
        return row, row + 1

    @property
    def path(self) -> str:
        """Path of the array below the root."""
        return f"{self.group}/{self.name}" if self.group else self.name

    def shard_shape(self, lattice: Lattice, bands: int) -> tuple[int, ...]:
        """Shape of what one job writes."""
        side = {"hr": lattice.shard_px, "lr": lattice.shard_px // lattice.scale, "tile": lattice.tile_px}[self.lattice]
        tokens = lattice.tile_px // lattice.token_px
        sizes = {"band": bands, "y": side, "x": side, "token_row": tokens, "token_col": tokens}
        sizes |= dict.fromkeys(TILES, lattice.shard_strides)
        return tuple(sizes[name] for name in self.dims)

    def chunk_shape(self, lattice: Lattice, bands: int) -> tuple[int, ...]:
        """Shape of the smallest readable piece: all bands of a chunk of pixels, or one tile."""
        shard = self.shard_shape(lattice, bands)
        pieces = lattice.shard_strides if self.lattice == "tile" else lattice.shard_chunks
        return tuple(n // pieces if axis in self.job_axes else n for axis, n in enumerate(shard))

    def array_shape(self, lattice: Lattice, bands: int, jobs: tuple[int, int]) -> tuple[int, ...]:
        """Shape of the whole array over (rows, columns) of jobs."""
        shape = list(self.shard_shape(lattice, bands))
        for axis, count in zip(self.job_axes, jobs, strict=True):
            shape[axis] *= count
        return tuple(shape)

    def shard_bytes(self, lattice: Lattice, bands: int) -> int:
        """Bytes of one shard, before compression."""
        return math.prod(self.shard_shape(lattice, bands)) * np.dtype(self.dtype).itemsize

    def shard_object(self, origin: Index, job: Index) -> str:
        """Name below the root of the object of a job's shard, in an array whose first job is `origin`."""
        return f"{self.path}/{chunk_key(len(self.dims), self.job_axes, origin, job)}"


def shard_bytes(specs: Iterable[ArraySpec], lattice: Lattice, bands: int) -> int:
    """Bytes that one job writes into all of these arrays, before compression."""
    return sum(spec.shard_bytes(lattice, bands) for spec in specs)


def chunk_key(axes: int, job_axes: tuple[int, int], origin: Index, job: Index) -> str:
    """Zarr's key of a job's shard in an array of so many axes, below the array: `c/...` with 0 on all other axes."""
    index = [0] * axes
    index[job_axes[0]], index[job_axes[1]] = job.row - origin.row, job.col - origin.col
    return "/".join(["c", *map(str, index)])
