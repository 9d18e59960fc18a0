"""Solvers on a field with a closed form: x0 normal of mean M and deviation D, under a rectified flow.

The velocity of the exact posterior mean is linear in x, and the ODE carries the quantile: starting from n at s = 1,
x_s = (1 - s) M + n sqrt((1 - s)^2 D^2 + s^2).
"""

import math

import pytest
import torch

from dsdit.sampling import SOLVERS, sample, spaced_sigmas

M, D = 0.7, 0.4


def exact(noise: torch.Tensor, s: float) -> torch.Tensor:
    return (1 - s) * M + noise * math.sqrt((1 - s) ** 2 * D**2 + s**2)


def velocity(x: torch.Tensor, s: float) -> torch.Tensor:
    x0 = M + (1 - s) * D**2 / ((1 - s) ** 2 * D**2 + s**2) * (x - (1 - s) * M)
    return (x - x0) / s


NOISE = torch.linspace(-2, 2, 9, dtype=torch.float64)


def error(solver: str, steps: int, start: float, end: float) -> float:
    sigmas = torch.linspace(start, end, steps + 1, dtype=torch.float64)
    return float((sample(velocity, exact(NOISE, start), sigmas, solver) - exact(NOISE, end)).abs().max())


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2), ("dpmpp_2m", 2), ("published_dpmpp_2m", 2)])
@pytest.mark.parametrize("start", [0.9, 0.99])
def test_order(solver, order, start):
    measured = math.log2(error(solver, 80, start, 0.2) / error(solver, 160, start, 0.2))
    assert order - 0.15 < measured < order + 0.6


@pytest.mark.parametrize("solver", ["euler", "heun", "dpmpp_2m"])
def test_many_steps_reach_the_distribution(solver):
    latent = sample(velocity, NOISE, spaced_sigmas(400), solver)
    assert torch.allclose(latent, exact(NOISE, 0.0), atol=0.01)


@pytest.mark.parametrize("solver", sorted(SOLVERS))
def test_one_step_is_the_posterior_mean(solver):
    assert torch.allclose(sample(velocity, NOISE, spaced_sigmas(1), solver), torch.full_like(NOISE, M))


@pytest.mark.parametrize("solver", sorted(SOLVERS))
def test_velocity_is_never_evaluated_at_zero(solver):
    sigmas = []
    sample(lambda x, s: (sigmas.append(s), x)[1], NOISE, spaced_sigmas(5), solver)
    assert min(sigmas) > 0


def test_refusals():
    with pytest.raises(ValueError, match="not known"):
        sample(velocity, NOISE, spaced_sigmas(2), "rk4")
    with pytest.raises(ValueError, match="must fall"):
        sample(velocity, NOISE, torch.tensor([0.5, 0.5, 0.0]))
    with pytest.raises(ValueError, match="between 0 and 1"):
        sample(velocity, NOISE, torch.tensor([2.0, 0.0]))
