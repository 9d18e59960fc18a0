"""Autoguidance: its formula, its interval, and how many network passes it takes."""

import pytest
import torch

from dsdit.plan.sampler_settings import SamplerSettings
from dsdit.sampling import guided
from dsdit.sampling.passes import network_passes

STRONG, WEAK = 3.0, 2.0


def field(passes):
    def strength(x, sigma, ref_scale):
        passes.append((sigma, ref_scale))
        return torch.full_like(x, STRONG if ref_scale == 1 else WEAK)

    return strength


@pytest.mark.parametrize(("scale", "value", "calls"), [(1.0, 3.0, 1), (1.4, 3.4, 2), (0.0, 2.0, 1), (2.0, 4.0, 2)])
def test_away_from_the_weak_pass(scale, value, calls):
    passes = []
    assert guided(field(passes), scale)(torch.zeros(2), 0.5).tolist() == pytest.approx([value] * 2)
    assert len(passes) == calls


@pytest.mark.parametrize(("sigma", "value"), [(0.9, 3.0), (0.8, 3.5), (0.5, 3.5), (0.2, 3.5), (0.1, 3.0)])
def test_only_within_its_interval(sigma, value):
    velocity = guided(field([]), 1.5, interval=(0.2, 0.8))
    assert velocity(torch.zeros(1), sigma).tolist() == [value]


@pytest.mark.parametrize(
    ("settings", "passes"),
    [
        ({}, 1),
        ({"steps": 4}, 4),
        ({"steps": 4, "solver": "dpmpp_2m"}, 4),
        ({"steps": 4, "solver": "heun"}, 7),
        ({"steps": 4, "guidance_scale": 1.2}, 8),
        ({"steps": 4, "guidance_scale": 1.2, "solver": "heun"}, 14),
        ({"steps": 2, "guidance_scale": 1.2, "guidance_interval": (0.0, 0.8)}, 3),
        ({"steps": 2, "guidance_scale": 1.2, "guidance_interval": (0.8, 1.0)}, 3),
        ({"steps": 2, "guidance_scale": 1.2, "ensemble": 4}, 16),
        ({"steps": 1, "guidance_scale": 0.0}, 1),
    ],
)
def test_passes_of_a_batch(settings, passes):
    """Two steps evaluate at sigma 1 and 0.75."""
    assert network_passes(SamplerSettings(**settings)) == passes
