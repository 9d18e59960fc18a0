"""Checks before a run, with one pass of the real network, that its batch size fits the device's memory.

A batch that is halved when memory runs out would change bits midway: results agree on one size of batch, not across
sizes. So the size is the request's, and one that does not fit is refused before the run starts.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from dsdit.errors import RequestError
from dsdit.sampling.sampler import TileSampler, draw_tiles
from dsdit.sampling.tile_batch import TileBatch


def check_batch_fits(sampler: TileSampler, tile_px: int, scale: int) -> None:
    """Draws one batch of tiles of `tile_px`, in one step. Raises RequestError where it does not fit in memory."""
    settings = replace(sampler.settings, steps=1, solver="euler", ensemble=1)
    try:
        draw_tiles(sampler.model, _empty_batch(sampler, tile_px, scale), settings)
    except (MemoryError, RuntimeError) as error:
        full = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if not full and "allocate memory" not in str(error):  # the text of torch's CPU allocator
            raise
        raise batch_refused(settings.batch, tile_px, sampler.model.device, error) from error


def batch_refused(batch: int, tile_px: int, where: object, error: object) -> RequestError:
    """The error for a batch that does not fit in memory."""
    reason = " ".join(str(error).split())[:200]
    return RequestError(
        f"sampling.batch: {batch} tiles of {tile_px} px a network call do not fit the memory of {where} ({reason}): "
        "give a smaller one; it has one size all through a run, since results of two sizes differ in their bits"
    )


def _empty_batch(sampler: TileSampler, tile_px: int, scale: int) -> TileBatch:
    size, factor = sampler.settings.batch, sampler.model.codec.factor
    pictures = [np.zeros((size, 3, tile_px, tile_px), np.float32) for _ in range(3)]
    noise = np.zeros((size, sampler.model.channels, tile_px // factor, tile_px // factor), np.float32)
    return TileBatch(pictures[0], pictures[1], np.ones((size, tile_px, tile_px), np.bool_), pictures[2], noise, scale)
