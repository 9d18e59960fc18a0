"""The network and the samplers against the authors' numbers: 1e-4 absolute, float32's room for reordering."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from dsdit.model import DSDiT, DSDiTConfig
from dsdit.sampling import autoguidance, published_sigmas, sample

GOLDEN = Path(__file__).parents[2] / "data" / "published_depth2.npz"
TOLERANCE = 1e-4


def formula(name: str, shape: list[int]) -> torch.Tensor:
    """The fixture's weights: a function of name and shape."""
    h = zlib.crc32(name.encode())
    i = np.arange(int(np.prod(shape)), dtype=np.float64)
    w = np.sin(0.7390851332151607 * i * (1 + (h % 97) / 97) + (h % 1000)).reshape(shape)
    if name == "pos_embed":
        w = w * 0.3
    elif len(shape) > 1:
        w = w * 1.3 / np.sqrt(np.prod(shape[1:]))
    else:
        w = w * 0.15 + (1.0 if ".ln_" in name else 0.0)
    return torch.tensor(w, dtype=torch.float32)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return {k: file[k] for k in file.files}


@pytest.fixture(scope="module")
def network(golden):
    net = DSDiT(DSDiTConfig(depth=2, hidden_size=128, num_heads=2, pos_embed_max_size=12)).eval()
    shapes = json.loads(str(golden["state_dict_shapes"]))
    assert {k: list(v.shape) for k, v in net.state_dict().items()} == shapes
    net.load_state_dict({name: formula(name, shape) for name, shape in shapes.items()})
    return net.requires_grad_(False)


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
