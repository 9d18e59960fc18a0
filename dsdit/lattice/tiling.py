"""The lattices of tiles, cells and shards, and which job owns and reads what.

All lattices start at pixel (0, 0) of the grid, that is at the CRS's origin: which tile or shard a pixel falls into does
not depend on the region. Plain integers. One rule ties the steps together: stage(job) is read by the sample of its
3 x 3 neighbours, sample(job) by the mosaic of its 3 x 3 neighbours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dsdit.errors import RequestError
from dsdit.window import Index, Window

CELL_LR_PX = 256
"""Side of a cell in LR pixels: the unit of all choices of scenes and references."""

MAX_SHARD_PX = 16_384
"""Longest side of a shard: a job has some 40 bytes a pixel in memory."""

FILL_RADIUS_LR_PX = 16
"""How far valid LR values are continued into invalid pixels, in LR pixels."""


def unit_px(token_px: int, scale: int) -> int:
    """What tile, stride and overlap are multiples of: whole tokens and whole LR pixels."""
    return math.lcm(token_px, scale)


def default_tile(token_px: int, scale: int) -> tuple[int, int]:
    """(tile_px, overlap_px): near 128 px (512 px for tokens of 16 px), with up to a quarter of it as overlap."""
    unit = unit_px(token_px, scale)
    wanted = 128 if token_px <= 8 else 512
    overlap = max(unit, wanted // 4 // unit * unit)
    return max(4 * overlap, round(wanted / unit) * unit), overlap


def default_shard(tile_px: int, overlap_px: int, halo_px: int, region_px: int) -> tuple[int, int]:
    """(chunk_strides, shard_chunks): chunks near 400 px; shards small for a small region, 3,000 px for a continent."""
    stride = tile_px - overlap_px
    need = max(overlap_px + 2 * halo_px, tile_px + halo_px)
    chunk = max(1, round(400 / stride))
    wanted = max(need, min(3072, region_px // 4))
    return chunk, max(1, math.ceil(wanted / (chunk * stride)))


@dataclass(frozen=True)
class Lattice:
    """Tiles, shards and halo of one run."""

    scale: int
    token_px: int
    """HR pixels of one token."""
    tile_px: int
    """Side of what the network sees at once."""
    overlap_px: int
    """Pixels that two neighbouring tiles share."""
    chunk_strides: int
    """Strides per side of the smallest readable piece."""
    shard_chunks: int
    """Chunks per side of a shard, which is what one job writes."""
    halo_px: int
    """Reach of upsampling and of restoring LR truth."""

    def __post_init__(self) -> None:
        unit = unit_px(self.token_px, self.scale)
        for name in ("tile_px", "overlap_px"):
            value = getattr(self, name)
            if value <= 0 or value % unit:
                near = max(unit, round(value / unit) * unit)
                raise RequestError(
                    f"{name} is {value}: at scale {self.scale} with tokens of {self.token_px} px it must be a "
                    f"multiple of {unit}; the nearest is {near}"
                )
        if not self.overlap_px <= self.tile_px // 2:
            raise RequestError(f"overlap_px is {self.overlap_px}: it may be at most half of tile_px {self.tile_px}")
        if self.chunk_strides < 1 or self.shard_chunks < 1:
            raise RequestError("chunk_strides and shard_chunks must be at least 1")
        if self.halo_px < 0 or self.halo_px % self.scale:
            raise RequestError(f"halo_px is {self.halo_px}: it must be a multiple of scale {self.scale}")
        if self.shard_px > MAX_SHARD_PX:
            raise RequestError(
                f"a shard of {self.shard_px} px is too large: tile_px {self.tile_px}, chunk_strides "
                f"{self.chunk_strides} and shard_chunks {self.shard_chunks} may make up to {MAX_SHARD_PX} px a side"
            )
        need = max(self.overlap_px + 2 * self.halo_px, self.tile_px + self.halo_px)
        if self.shard_px < need:
            strides = math.ceil(need / self.stride_px)
            raise RequestError(
                f"a shard of {self.shard_px} px is too small: a job may read its 3 x 3 neighbours only and needs "
                f"{need} px; take at least {strides} strides of {self.stride_px} px"
            )

    @property
    def stride_px(self) -> int:
        """Distance of two tiles."""
        return self.tile_px - self.overlap_px

    @property
    def chunk_px(self) -> int:
        """Side of a chunk."""
        return self.stride_px * self.chunk_strides

    @property
    def shard_px(self) -> int:
        """Side of a shard."""
        return self.chunk_px * self.shard_chunks

    @property
    def shard_strides(self) -> int:
        """Tiles per side that one job owns."""
        return self.chunk_strides * self.shard_chunks

    @property
    def cell_px(self) -> int:
        """Side of a cell in HR pixels."""
        return CELL_LR_PX * self.scale

    @property
    def fill_px(self) -> int:
        """HR pixels around a shard from which its stage may continue LR values into it."""
        return FILL_RADIUS_LR_PX * self.scale

    def tile_window(self, tile: Index) -> Window:
        """HR pixels of a tile."""
        row, col = tile.row * self.stride_px, tile.col * self.stride_px
        return Window(row, col, row + self.tile_px, col + self.tile_px)

    def tiles_touching(self, window: Window) -> Window:
        """Window of the tile lattice: every tile that has a pixel in `window`."""
        if window.empty:
            return Window(0, 0, 0, 0)
        # Tile k covers [k * stride, (k + 1) * stride + overlap).
        stride, over = self.stride_px, self.overlap_px
        return Window(
            (window.row0 - over) // stride,
            (window.col0 - over) // stride,
            (window.row1 - 1) // stride + 1,
            (window.col1 - 1) // stride + 1,
        )

    def shard_window(self, job: Index) -> Window:
        """HR pixels of the shard that a job writes."""
        side = self.shard_px
        return Window(job.row * side, job.col * side, (job.row + 1) * side, (job.col + 1) * side)

    def jobs_touching(self, window: Window) -> Window:
        """Window of the job lattice: every job whose shard has a pixel in `window`."""
        return window.coarsen(self.shard_px)

    def tiles_of(self, job: Index) -> Window:
        """Window of the tile lattice: the tiles that start in the job's shard."""
        n = self.shard_strides
        return Window(job.row * n, job.col * n, (job.row + 1) * n, (job.col + 1) * n)

    def owner(self, tile: Index) -> Index:
        """The job that samples a tile."""
        return Index(tile.row // self.shard_strides, tile.col // self.shard_strides)

    def mosaic_window(self, job: Index) -> Window:
        """HR pixels on which the mosaic step blends and restores."""
        return self.shard_window(job).expand(self.halo_px)

    def mosaic_context(self, job: Index) -> Window:
        """HR pixels that the mosaic step reads of LR."""
        return self.shard_window(job).expand(2 * self.halo_px)

    def cell_window(self, cell: Index) -> Window:
        """HR pixels of a cell."""
        return Window(cell.row, cell.col, cell.row + 1, cell.col + 1).refine(self.cell_px)

    def cells_touching(self, window: Window) -> Window:
        """Window of the cell lattice."""
        return window.coarsen(self.cell_px)
