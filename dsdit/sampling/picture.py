"""Pictures in memory, super-resolved with the tiles and the blending of a mosaic; arrays in the model's range."""

from __future__ import annotations

from dataclasses import asdict, dataclass

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
REF_MIN_COVER = 0.05
"""Share of a tile that a reference must cover; a tile with less is drawn without it, as in a plan."""


@dataclass(frozen=True)
class Conditioned:
    """What a picture is drawn from, (3, y, x) in the model's range."""

    restored: Array
    """R of LR."""
    ref: Array
    """Reference in LR's radiometry; R where there is none."""
    ref_high: Array
    """High band of the reference, 0 where there is none."""
    ref_valid: NDArray[np.bool_]
    """(y, x)."""
    scale: int
    """HR pixels per LR pixel."""

    @classmethod
    def of(
        cls,
        lr: Array,
        scale: int,
        mtf_nyquist: float,
        ref: Array | None = None,
        ref_valid: NDArray[np.bool_] | None = None,
    ) -> Conditioned:
        """From LR (3, h, w) and a reference (3, h * scale, w * scale); values that are not valid are not used."""
        restored = restored_lr(lr, scale, mtf_nyquist)
        if ref is None:
            nothing = np.zeros(restored.shape[1:], bool)
            return cls(restored, restored, np.zeros_like(restored), nothing, scale)
        if ref_valid is None:
            ref_valid = np.ones(restored.shape[1:], bool)
        filled = np.where(ref_valid, ref, restored)
        high = np.where(ref_valid, high_band(filled, scale, mtf_nyquist), np.float32(0))
        return cls(restored, filled, high, ref_valid, scale)

    def padded(self, px: int) -> Conditioned:
        """With `px` more pixels below and to the right, which repeat the last ones."""
        restored, ref, high = (
            np.pad(p, ((0, 0), (0, px), (0, px)), mode="edge") for p in (self.restored, self.ref, self.ref_high)
        )
        return Conditioned(restored, ref, high, np.pad(self.ref_valid, ((0, px), (0, px)), mode="edge"), self.scale)

    def batch(self, windows: list[Window], noise: Array) -> TileBatch:
        """Tiles at `windows`; those with less reference than REF_MIN_COVER have none. `noise` is (B, C, h, w)."""
        at = [window.within(Window(0, 0, *self.ref_valid.shape)) for window in windows]
        restored, ref, high = (
            np.stack([p[(slice(None), *part)] for part in at]) for p in (self.restored, self.ref, self.ref_high)
        )
        valid = np.stack([self.ref_valid[part] for part in at])
        enough = valid.mean((1, 2)) >= REF_MIN_COVER
        keep = enough[:, None, None, None]
        return TileBatch(
            restored,
            np.where(keep, ref, restored),
            valid & enough[:, None, None],
            np.where(keep, high, np.float32(0)),
            noise,
            self.scale,
        )


def tile_starts(length: int, tile: int, overlap: int, unit: int) -> list[int]:
    """First pixels of as few tiles as cover `length` with at least `overlap`, evenly apart in multiples of `unit`.

    They stay within a picture of whole `unit`s that holds a tile: beyond the edge a tile's content is only repeated
    pixels, which lowers the quality of the whole tile.
    """
    if length <= tile:
        return [0]
    beyond = -(-(length - tile) // unit)
    count = -(-beyond * unit // (tile - overlap)) + 1
    # Start k is k / (count - 1) of the way, rounded to the nearest unit, in integers.
    return [(2 * k * beyond + count - 1) // (2 * (count - 1)) * unit for k in range(count)]


def draw_picture(
    weights: Weights, given: Conditioned, settings: SamplerSettings, wanted: NDArray[np.bool_] | None = None
) -> Array:
    """(3, y, x) in the model's range, not yet restored to LR; noise is drawn from the settings' seed, tile by tile.

    A tile without any pixel of `wanted` (y, x) is not drawn: it is R there.
    """
    model, (height, width) = weights.model, given.ref_valid.shape
    tile, overlap = default_tile(model.token_px, given.scale)
    windows = [
        Window(row, col, row + tile, col + tile)
        for row in tile_starts(height, tile, overlap, given.scale)
        for col in tile_starts(width, tile, overlap, given.scale)
    ]
    if wanted is not None:
        windows = [w for w in windows if wanted[w.row0 : w.row1, w.col0 : w.col1].any()]
    padded = given.padded(tile)
    tiles: list[tuple[Window, Array]] = []
    generator = torch.Generator().manual_seed(settings.seed)
    for first in range(0, len(windows), BATCH):
        some = windows[first : first + BATCH]
        noise = torch.randn(len(some), *model.latent_shape(tile, tile), generator=generator).numpy()
        drawn, _ = draw_tiles(model, padded.batch(some, noise), settings)
        tiles.extend(zip(some, drawn, strict=True))
    picture, total = blend(Window(0, 0, height, width), tiles, feather(tile, overlap), 3)
    return np.where(total > 0, picture, given.restored)


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
    weights' own by default; their other one is `weights.config.faithful`. Noise is drawn from seed 0, or that of
    `SamplerSettings`.
    """
    chosen = settings or weights.config.sampler
    full = chosen if isinstance(chosen, SamplerSettings) else SamplerSettings(**asdict(chosen))
    return draw_picture(weights, Conditioned.of(lr, scale, mtf_nyquist, ref), full)
