"""Drawing one batch of tiles, arrays in and arrays out: for `picture`, and for the sample step with its fixed size.

It joins weights, schedule, solver, guidance, ensemble and noise. The noise of a tile is cut from blocks fixed on the
global lattice of latent pixels, so that two tiles have the same noise in their overlap.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsdit.errors import RequestError
from dsdit.imaging.radiometry import Curve
from dsdit.model.latent_model import Conditions, Denoised, LatentModel
from dsdit.model.weights import Weights, load_weights
from dsdit.plan.plan import ModelChoice
from dsdit.plan.sampler_settings import SamplerSettings
from dsdit.sampling.ensemble import Form, averaged
from dsdit.sampling.guidance import guided
from dsdit.sampling.noise import noise_window
from dsdit.sampling.passes import network_passes
from dsdit.sampling.schedule import sigmas_of
from dsdit.sampling.solver import Velocity, sample
from dsdit.sampling.tile_batch import TileBatch
from dsdit.window import Window

Array = NDArray[np.float32]
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def tile_velocity(
    model: LatentModel,
    conditions: Conditions,
    settings: SamplerSettings,
    on_pass: Callable[[Denoised, bool], None] | None = None,
) -> Velocity:
    """The velocity of a batch; `on_pass` gets each network pass's output and True for a strong one."""
    without = conditions.without_reference() if settings.guidance_from == "no_reference" else conditions

    def strength(z: Tensor, sigma: float, ref_scale: float) -> Tensor:
        strong = ref_scale == 1.0
        denoised = model.denoise(z, sigma, conditions if strong else without, ref_scale)
        if on_pass is not None:
            on_pass(denoised, strong)
        return (z - denoised.x0) / sigma

    return guided(strength, settings.guidance_scale, interval=settings.guidance_interval)


def starting_latent(model: LatentModel, conditions: Conditions, noise: Tensor, start_sigma: float) -> Tensor:
    """Noise (B, C, h, w), or the LR picture under noise of `start_sigma`."""
    noise = noise.to(model.device, model.dtype)
    return noise if start_sigma == 1 else start_sigma * noise + (1 - start_sigma) * model.start(conditions)


def draw_tiles(
    model: LatentModel,
    batch: TileBatch,
    settings: SamplerSettings,
    on_pass: Callable[[Denoised, bool], None] | None = None,
) -> tuple[Array, Array]:
    """(pictures (B, 3, y, x) in the model's range, share of the reference (B, tokens, tokens)) of one batch.

    `settings.batch` is not used. `on_pass` gets each network pass's output and True for a strong one.
    """
    sigmas = sigmas_of(settings)

    def draw(form: Form) -> tuple[Array, Array]:
        oriented = batch.oriented(form)
        shares: list[Tensor] = []

        def keep_share(denoised: Denoised, strong: bool) -> None:
            if strong or settings.guidance_scale == 0:
                shares.append(denoised.weighting)
            if on_pass is not None:
                on_pass(denoised, strong)

        conditions = model.conditions(
            oriented.restored, oriented.ref, oriented.ref_valid, oriented.ref_high, oriented.scale
        )
        velocity = tile_velocity(model, conditions, settings, keep_share)
        begin = starting_latent(model, conditions, torch.from_numpy(oriented.noise), settings.start_sigma)
        latent = sample(velocity, begin, sigmas, solver=settings.solver)
        pictures = model.decode(latent, oriented.restored).float().cpu().numpy()
        return pictures, torch.stack([share.float() for share in shares]).mean(0).cpu().numpy()

    with torch.inference_mode():
        return averaged(settings.ensemble, draw)


class TileSampler:
    """Weights and settings, ready to be called."""

    def __init__(self, weights: Weights, settings: SamplerSettings) -> None:
        self.model = weights.model
        self.settings = settings
        self.curve = Curve(weights.config.curve_maximum)
        self.passes = network_passes(settings)
        self.calls = 0

    def noise(self, window: Window) -> Array:
        """(C, y / factor, x / factor) of a window of HR pixels."""
        factor = self.model.codec.factor
        latent = window.coarsen(factor)
        return noise_window(self.settings.seed, latent.row0, latent.col0, *latent.shape, self.model.channels)

    def __call__(self, batch: TileBatch) -> tuple[Array, Array]:
        """(pictures (B, 3, y, x) in the model's range, share of the reference (B, tokens, tokens))."""
        if batch.restored.shape[0] != self.settings.batch:
            raise ValueError(f"a batch of {batch.restored.shape[0]}: the network always gets {self.settings.batch}")

        def count(denoised: Denoised, strong: bool) -> None:
            self.calls += 1

        pictures, weighting = draw_tiles(self.model, batch, self.settings, count)
        token = self.model.token_px
        valid = batch.ref_valid.astype(np.float32)
        cover = valid.reshape(valid.shape[0], weighting.shape[1], token, weighting.shape[2], token).mean((2, 4))
        return pictures, (weighting * (cover > 0)).astype(np.float32)


@lru_cache(maxsize=2)
def open_sampler(model: ModelChoice, settings: SamplerSettings) -> TileSampler:
    """The sampler of a plan, loaded once a process. Raises RequestError where its weights have changed."""
    torch.set_num_threads(1)
    weights = load_weights(model.weights, model.device, _DTYPES[model.dtype])
    if weights.digest != model.digest:
        raise RequestError(
            f"the weights {model.weights!r} have changed since the plan was made "
            f"({model.digest[:12]} then, {weights.digest[:12]} now): plan again"
        )
    return TileSampler(weights, settings)
