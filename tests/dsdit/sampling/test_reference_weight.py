"""The share of the reference that a batch comes with: a mean over the strong passes of all steps and forms."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from dsdit.model.weights import load_weights
from dsdit.plan.sampler_settings import SamplerSettings
from dsdit.sampling import spaced_sigmas
from dsdit.sampling.ensemble import FORMS
from dsdit.sampling.sampler import draw_tiles
from dsdit.sampling.tile_batch import TileBatch
from tests.support.running import make_weights


@torch.inference_mode()
@pytest.mark.parametrize(("guidance", "forms"), [(1.0, 1), (1.5, 2), (0.0, 1)])
def test_it_is_the_mean_over_steps_passes_and_forms(tmp_path, guidance, forms):
    """Weak passes do not count, except at guidance 0, which uses them alone."""
    model = load_weights(make_weights(tmp_path / "weights")).model
    rng = np.random.default_rng(0)
    restored, ref, high = rng.uniform(-0.5, 0.5, (3, 2, 3, 32, 48)).astype(np.float32)
    noise = rng.standard_normal((2, *model.latent_shape(32, 48))).astype(np.float32)
    batch = TileBatch(restored, ref, np.ones((2, 32, 48), bool), high, noise, 8)
    settings = SamplerSettings(steps=3, guidance_scale=guidance, ensemble=forms, guidance_from="no_reference")
    _, found = draw_tiles(model, batch, settings)
    by_hand, single = [], []
    for form in FORMS[:forms]:
        oriented = batch.oriented(form)
        given = model.conditions(oriented.restored, oriented.ref, oriented.ref_valid, oriented.ref_high, 8)
        z, weights = torch.from_numpy(oriented.noise), []
        levels = spaced_sigmas(3).double().tolist()
        for sigma, following in pairwise(levels):
            strong, weak = model.denoise(z, sigma, given), model.denoise(z, sigma, given.without_reference(), 0.0)
            assert (strong.weighting - weak.weighting).abs().max() > 1e-3
            weights.append((weak if guidance == 0 else strong).weighting.numpy())
            x0 = weak.x0 + guidance * (strong.x0 - weak.x0)
            z = z + (following - sigma) * (z - x0) / sigma
        by_hand.append(form.put_back(np.mean(weights, 0)))
        single.append(form.put_back(weights[0]))
    assert found.shape == (2, 4, 6)
    assert np.allclose(found, np.mean(by_hand, 0), rtol=0, atol=1e-4)
    assert np.abs(found - np.mean(single, 0)).max() > 1e-3
