"""The authors' numbers on a GPU, in float32 and with torch's settings as they come: 1e-4 absolute, as on the CPU."""

from __future__ import annotations

import pytest
import torch
from numpy.typing import NDArray

from dsdit.model import DSDiT
from dsdit.sampling import autoguidance, published_sigmas, sample
from tests.support.golden import golden_network, golden_numbers

pytestmark = pytest.mark.gpu
TOLERANCE = 1e-4
Golden = dict[str, NDArray]


@pytest.fixture(scope="module")
def golden() -> Golden:
    return golden_numbers()


@pytest.fixture(scope="module")
def network(golden: Golden, device: str) -> DSDiT:
    return golden_network(golden).to(device)


def largest_difference(found: torch.Tensor, golden: Golden, name: str) -> float:
    return float((found.cpu() - torch.from_numpy(golden[name])).abs().max())


@pytest.mark.parametrize("ref_scale", [1.0, 0.5, 0.0])
def test_velocity_is_the_published_one(golden: Golden, network: DSDiT, device: str, ref_scale: float) -> None:
    inputs = (torch.from_numpy(golden[f"in_{name}"]).to(device) for name in ("x", "timestep", "lr", "ref"))
    velocity = network(*inputs, ref_scale)
    assert largest_difference(velocity, golden, f"out_velocity_ref_scale_{ref_scale}") < TOLERANCE


@pytest.mark.parametrize(
    ("output", "solver", "scale"),
    [
        ("out_euler", "euler", 1.0),
        ("out_euler_autoguidance_1.2_weak_0.0", "euler", 1.2),
        ("out_dpmpp_2m", "published_dpmpp_2m", 1.0),
    ],
)
def test_sampler_is_the_published_one(
    golden: Golden, network: DSDiT, device: str, output: str, solver: str, scale: float
) -> None:
    x, lr, ref = (torch.from_numpy(golden[f"in_{name}"]).to(device) for name in ("x", "lr", "ref"))
    latent = sample(autoguidance(network, lr, ref, scale), x, published_sigmas(6), solver)
    assert largest_difference(latent, golden, output) < TOLERANCE
