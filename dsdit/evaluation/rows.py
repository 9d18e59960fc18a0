"""The rows of an evaluation: what needs no network, and the network in its settings. Each gives (3, H, W) scaled."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from dsdit.blend import blend, feather
from dsdit.evaluation.case import Case
from dsdit.evaluation.metrics import band
from dsdit.model.weights import SamplerDefaults, Weights
from dsdit.plan import SamplerSettings
from dsdit.sampling.sampler import tile_velocity
from dsdit.sampling.schedule import spaced_sigmas
from dsdit.sampling.solver import sample
from dsdit.sensor import EVALUATION_MTF, recover, upsample
from dsdit.tiling import default_tile
from dsdit.window import Window

Array = NDArray[np.float32]
BATCH = 8
"""Tiles a network pass."""
_GAIN_SIGMA_LR = 3.0


def local_gain(case: Case) -> Array:
    """(H, W) in 0..1: how much of the reference's middle band LR confirms, within about 3 LR pixels.

    The regression of LR's band from 1/4 to 1 of its Nyquist frequency on the reference's, weighted by a Gaussian.
    """
    nyquist = 0.5 / case.scale
    smooth = recover(case.lr, case.scale, EVALUATION_MTF)
    seen, told = band(smooth, nyquist / 4, nyquist), band(case.ref, nyquist / 4, nyquist)
    sigma = _GAIN_SIGMA_LR * case.scale
    together = gaussian_filter((seen * told).sum(0), sigma)
    alone = gaussian_filter(np.square(told).sum(0), sigma)
    return np.clip(together / np.maximum(alone, 1e-8), 0, 1).astype(np.float32)


def oracle_gain(case: Case) -> np.float32:
    """The one gain of the reference's high band that comes nearest to the truth; it looks at the truth."""
    missing = case.hr - case.restored
    energy = float(np.square(case.detail, dtype=np.float64).sum())
    return np.float32(float((missing.astype(np.float64) * case.detail).sum()) / max(energy, 1e-12))


def super_resolve(
    weights: Weights,
    case: Case,
    settings: SamplerDefaults | None = None,
    reference: tuple[Array, Array] | None = None,
) -> Array:
    """The network's picture (3, H, W) scaled, in the tiles and with the blending of a mosaic, not yet restored.

    `settings` are the weights' own by default. `reference` is a matched reference and its high band; None runs
    without one. Noise is drawn from seed 0.
    """
    settings = settings or weights.config.sampler
    model, scale = weights.model, case.scale
    tile, overlap = default_tile(model.token_px, scale)
    height, width = case.hr.shape[1:]
    places = [
        Window(row, col, row + tile, col + tile)
        for row in range(0, max(height - overlap, 1), tile - overlap)
        for col in range(0, max(width - overlap, 1), tile - overlap)
    ]
    ref, detail = reference or (case.restored, np.zeros_like(case.restored))
    pictures = np.pad(np.stack([case.restored, ref, detail]), ((0, 0), (0, 0), (0, tile), (0, tile)), mode="edge")
    tiles: list[tuple[Window, Array]] = []
    generator = torch.Generator().manual_seed(0)
    sigmas = spaced_sigmas(settings.steps, start=settings.start_sigma)
    for first in range(0, len(places), BATCH):
        some = places[first : first + BATCH]
        cuts = np.stack([pictures[..., p.row0 : p.row1, p.col0 : p.col1] for p in some], axis=1)
        valid = np.full((len(some), tile, tile), reference is not None)
        with torch.inference_mode():
            given = model.conditions(cuts[0], cuts[1], valid, cuts[2], scale)
            noise = torch.randn(len(some), *model.latent_shape(tile, tile), generator=generator) * settings.start_sigma
            velocity = tile_velocity(model, given, SamplerSettings(**asdict(settings)))
            latent = sample(velocity, noise.to(model.device, model.dtype), sigmas, settings.solver)
            decoded = model.decode(latent, cuts[0]).float().cpu().numpy()
        tiles.extend(zip(some, decoded, strict=True))
    picture, _ = blend(Window(0, 0, height, width), tiles, feather(tile, overlap), 3)
    return picture


def _elsewhere(case: Case, other: Case) -> tuple[Array, Array]:
    """The reference of another place and its high band on this place, as large as both are."""
    h, w = (min(a, b) for a, b in zip(case.hr.shape[1:], other.hr.shape[1:], strict=True))
    wrong = case.restored.copy(), np.zeros_like(case.detail)
    for own, strange in zip(wrong, (other.ref, other.detail), strict=True):
        own[:, :h, :w] = strange[:, :h, :w]
    return wrong


def make_rows(weights: Weights, case: Case, other: Case, nfe: Collection[int] = ()) -> dict[str, Callable[[], Array]]:
    """Each row's picture, made when called and not yet restored to LR. `other` lends the wrong reference."""
    right = case.ref, case.detail
    faithful = weights.config.faithful

    def network(settings: SamplerDefaults | None, reference: tuple[Array, Array] | None) -> Callable[[], Array]:
        return lambda: super_resolve(weights, case, settings, reference)

    rows: dict[str, Callable[[], Array]] = {
        "bicubic": lambda: upsample(case.lr, case.scale),
        "bicubic_restored": lambda: upsample(case.lr, case.scale),
        "reference": lambda: case.ref,
        "injection": lambda: case.restored + case.detail,
        "injection_gain": lambda: case.restored + local_gain(case) * case.detail,
        "injection_half": lambda: case.restored + case.detail * np.float32(0.5),
        "injection_oracle": lambda: case.restored + oracle_gain(case) * case.detail,
        "model": network(None, right),
        "model_faithful": network(faithful, right),
        "model_no_reference": network(None, None),
        "model_wrong_reference": lambda: super_resolve(weights, case, None, _elsewhere(case, other)),
    }
    for count in nfe:
        rows[f"model_nfe{count}"] = network(replace(faithful, steps=count), right)
    return rows
