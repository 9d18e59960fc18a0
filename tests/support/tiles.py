"""Random tiles of real shape, and a sampler of the shipped weights to draw them."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from dsdit.imaging.sensor import high_band, restored_lr
from dsdit.model.weights import Weights
from dsdit.plan.sampler_settings import SamplerDefaults, SamplerSettings
from dsdit.sampling.sampler import TileSampler
from dsdit.sampling.tile_batch import TileBatch

SCALE = 8


def sampler_of(weights: Weights, batch: int, defaults: SamplerDefaults | None = None) -> TileSampler:
    """Weights with their default setting, or another one, in batches of so many."""
    return TileSampler(weights, SamplerSettings(**asdict(defaults or weights.config.sampler), batch=batch))


def random_tiles(sampler: TileSampler, side: int = 128, seed: int = 5) -> TileBatch:
    """A batch of smooth random land: every third tile has no reference, every other one lacks a part of it."""
    size, stream = sampler.settings.batch, np.random.default_rng(seed)
    pictures = [_tile(stream, side) for _ in range(size)]
    valid = np.ones((size, side, side), np.bool_)
    valid[::2, : side // 3] = False
    valid[::3] = False
    restored, ref, ref_high = (np.stack([each[k] for each in pictures]) for k in range(3))
    there = valid[:, None]
    noise = stream.normal(size=(size, *sampler.model.latent_shape(side, side))).astype(np.float32)
    return TileBatch(
        restored, np.where(there, ref, restored), valid, np.where(there, ref_high, np.float32(0)), noise, SCALE
    )


def _tile(stream: np.random.Generator, side: int) -> tuple[NDArray, NDArray, NDArray]:
    """(restored, reference, its high band), each (3, side, side) in the model's range."""
    steps = stream.normal(0, 0.4, (3, side // 4, side // 4)).repeat(4, 1).repeat(4, 2)
    truth = np.clip(steps + stream.normal(0, 0.05, (3, side, side)), -1, 1).astype(np.float32)
    lr = truth.reshape(3, side // SCALE, SCALE, side // SCALE, SCALE).mean((2, 4)).astype(np.float32)
    ref = (0.9 * truth + 0.02).astype(np.float32)
    return restored_lr(lr, SCALE, 0.25), ref, high_band(ref, SCALE, 0.25)
