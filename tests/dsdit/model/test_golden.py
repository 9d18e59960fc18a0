"""The network and the samplers against the authors' numbers: 1e-4 absolute, float32's room for reordering."""

import numpy as np
import pytest
import torch

from dsdit.sampling import autoguidance, published_sigmas, sample
from tests.support.golden import golden_network, golden_numbers

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def golden():
    return golden_numbers()


@pytest.fixture(scope="module")
def network(golden):
    return golden_network(golden)


def tensor(golden, name):
    return torch.from_numpy(golden[name])


def inputs(golden):
    return tensor(golden, "in_x"), tensor(golden, "in_timestep"), tensor(golden, "in_lr"), tensor(golden, "in_ref")


@pytest.mark.parametrize("ref_scale", [1.0, 0.5, 0.0])
def test_velocity_is_the_published_one(golden, network, ref_scale):
    velocity = network(*inputs(golden), ref_scale)
    assert torch.allclose(velocity, tensor(golden, f"out_velocity_ref_scale_{ref_scale}"), rtol=0, atol=TOLERANCE)


def test_ref_scale_per_sample_equals_single_numbers(golden, network):
    x, t, lr, ref = inputs(golden)
    together = network(x, t, lr, ref, torch.tensor([1.0, 0.0]))
    for i, ref_scale in enumerate((1.0, 0.0)):
        alone = network(x[i : i + 1], t[i : i + 1], lr[i : i + 1], ref[i : i + 1], ref_scale)
        assert torch.allclose(together[i : i + 1], alone, rtol=0, atol=1e-5)


def test_weighting_comes_with_the_same_pass(golden, network):
    velocity, weighting = network(*inputs(golden), 1.0, return_weighting=True)
    assert torch.equal(velocity, network(*inputs(golden), 1.0))
    assert weighting.shape == (2, 6, 8)
    assert weighting.min() >= 0 and weighting.max() <= 1


def test_published_sigmas(golden):
    assert np.allclose(published_sigmas(6).numpy(), golden["sigmas"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("output", "solver", "scale"),
    [
        ("out_euler", "euler", 1.0),
        ("out_euler_autoguidance_1.2_weak_0.0", "euler", 1.2),
        ("out_dpmpp_2m", "published_dpmpp_2m", 1.0),
    ],
)
def test_sampler_is_the_published_one(golden, network, output, solver, scale):
    velocity = autoguidance(network, tensor(golden, "in_lr"), tensor(golden, "in_ref"), scale)
    latent = sample(velocity, tensor(golden, "in_x"), published_sigmas(6), solver)
    assert torch.allclose(latent, tensor(golden, output), rtol=0, atol=TOLERANCE)


def test_guidance_of_one_is_one_pass(golden, network):
    calls = []

    def counted(*arguments):
        calls.append(arguments[-1])
        return network(*arguments)

    velocity = autoguidance(counted, tensor(golden, "in_lr"), tensor(golden, "in_ref"), 1.0)
    sample(velocity, tensor(golden, "in_x"), published_sigmas(3))
    assert calls == [1.0, 1.0, 1.0]
