"""One picture in memory, super-resolved with the tiles and the blending of a mosaic: for notebooks and evaluation."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import torch
from numpy.typing import NDArray

from dsdit.imaging.sensor import EVALUATION_MTF, high_band, restored_lr
from dsdit.lattice.blend import blend, feather
from dsdit.lattice.tiling import default_tile
from dsdit.model.weights import Weights
from dsdit.plan.sampler_settings import SamplerDefaults, SamplerSettings
from dsdit.sampling.sampler import draw_tiles
from dsdit.sampling.tile_batch import TileBatch
from dsdit.window import Window

Array = NDArray[np.float32]
BATCH = 8
"""Tiles a network pass."""


def tile_starts(length: int, tile: int, overlap: int, unit: int) -> list[int]:
    """First pixels of as few tiles as cover `length` with at least `overlap`, evenly apart in multiples of `unit`.

    They stay within a picture of whole `unit`s that holds a tile: one that hangs over its edge sees made-up ground
    there, and suffers from it.
    """
    if length <= tile:
        return [0]
    beyond = -(-(length - tile) // unit)
    count = -(-beyond * unit // (tile - overlap)) + 1
    return [(2 * k * beyond + count - 1) // (2 * (count - 1)) * unit for k in range(count)]


def super_resolve(
    weights: Weights,
    lr: Array,
    scale: int,
    ref: Array | None = None,
    settings: SamplerDefaults | SamplerSettings | None = None,
    mtf_nyquist: float = EVALUATION_MTF,
) -> Array:
    """LR (3, h, w) scaled -> (3, h * scale, w * scale) scaled, not yet restored to LR (`sensor.restore` does that).

    `ref` (3, h * scale, w * scale) is the reference in LR's radiometry; None runs without one. `settings` are the
    weights' own by default; their other one is `weights.config.faithful`. Noise is drawn from seed 0.
    """
    chosen = settings or weights.config.sampler
    model = weights.model
    restored = restored_lr(lr, scale, mtf_nyquist)
    reference = restored if ref is None else ref
    detail = np.zeros_like(restored) if ref is None else high_band(ref, scale, mtf_nyquist)
    tile, overlap = default_tile(model.token_px, scale)
    height, width = restored.shape[1:]
    places = [
        Window(row, col, row + tile, col + tile)
        for row in tile_starts(height, tile, overlap, scale)
        for col in tile_starts(width, tile, overlap, scale)
    ]
    pictures = np.pad(np.stack([restored, reference, detail]), ((0, 0), (0, 0), (0, tile), (0, tile)), mode="edge")
    tiles: list[tuple[Window, Array]] = []
    generator = torch.Generator().manual_seed(0)
    full = chosen if isinstance(chosen, SamplerSettings) else SamplerSettings(**asdict(chosen))
    for first in range(0, len(places), BATCH):
        some = places[first : first + BATCH]
        cuts = np.stack([pictures[..., p.row0 : p.row1, p.col0 : p.col1] for p in some], axis=1)
        valid = np.full((len(some), tile, tile), ref is not None)
        noise = torch.randn(len(some), *model.latent_shape(tile, tile), generator=generator).numpy()
        drawn, _ = draw_tiles(model, TileBatch(cuts[0], cuts[1], valid, cuts[2], noise, scale), full)
        tiles.extend(zip(some, drawn, strict=True))
    picture, _ = blend(Window(0, 0, height, width), tiles, feather(tile, overlap), 3)
    return picture
