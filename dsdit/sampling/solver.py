"""Solvers of the rectified-flow ODE dx/ds = velocity(x, s), from s = 1 to s = 0.

A solver takes a callable and does not depend on a model. It uses arithmetic alone: it also runs on plain numbers
(`passes.network_passes`), and loads no torch. A new one is a function here and its line in `SOLVERS`.

With velocity = noise - x0 the estimate of the clean latent at x_s is x0 = x - s velocity, and
x_s = (1 - s) x0 + s noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Velocity = Callable[["Tensor", float], "Tensor"]
"""velocity(x, sigma) -> tensor like x; sigma is a number in (0, 1]."""
Solver = Callable[[Velocity, "Tensor", list[float]], "Tensor"]
"""solver(velocity, x at sigmas[0], sigmas) -> x at sigmas[-1]."""


def _euler(velocity: Velocity, x: Tensor, sigmas: list[float]) -> Tensor:
    """First order, one call a step."""
    for s, following in pairwise(sigmas):
        x = x + (following - s) * velocity(x, s)
    return x


def _heun(velocity: Velocity, x: Tensor, sigmas: list[float]) -> Tensor:
    """Second order, two calls a step; the step to 0 is Euler's, as velocity is undefined at 0."""
    for s, following in pairwise(sigmas):
        slope = velocity(x, s)
        ahead = x + (following - s) * slope
        x = ahead if following == 0 else x + (following - s) / 2 * (slope + velocity(ahead, following))
    return x


def _multistep(velocity: Velocity, x: Tensor, sigmas: list[float], flow: bool) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022) in the half log-SNR: log((1 - s) / s) for a flow, -log s as published.

    Both solve the same ODE, since (x - x0) / s is the slope in either; they extrapolate x0 along different clocks.
    """

    def log_snr(s: float) -> float:
        if flow:
            return -math.inf if s == 1 else math.log((1 - s) / s)
        return -math.log(s)

    previous: Tensor | None = None
    last_step = math.inf
    for s, following in pairwise(sigmas):
        x0 = x - s * velocity(x, s)
        if following == 0:
            x, previous = x0, x0
            continue
        step = log_snr(following) - log_snr(s)
        estimate = x0
        if previous is not None and math.isfinite(last_step):
            half_ratio = step / (2 * last_step)
            estimate = (1 + half_ratio) * x0 - half_ratio * previous
        alpha = 1 - following if flow else 1.0
        x = (following / s) * x - alpha * math.expm1(-step) * estimate
        previous, last_step = x0, step
    return x


def _dpmpp_2m(velocity: Velocity, x: Tensor, sigmas: list[float]) -> Tensor:
    return _multistep(velocity, x, sigmas, flow=True)


def _published_dpmpp_2m(velocity: Velocity, x: Tensor, sigmas: list[float]) -> Tensor:
    return _multistep(velocity, x, sigmas, flow=False)


SOLVERS: dict[str, Solver] = {
    "euler": _euler,
    "heun": _heun,
    "dpmpp_2m": _dpmpp_2m,
    "published_dpmpp_2m": _published_dpmpp_2m,
}
"""Solvers by name; "published_dpmpp_2m" treats a flow's sigma as a plain one, as the paper's release does."""


def check_solver(name: str) -> None:
    """Raises ValueError for a name that is not in `SOLVERS`."""
    if name not in SOLVERS:
        raise ValueError(f"solver {name!r} is not known: use one of {sorted(SOLVERS)}")


def sample(velocity: Velocity, noise: Tensor, sigmas: Iterable[float] | Tensor, solver: str = "euler") -> Tensor:
    """From `noise` at sigmas[0] to the latent at sigmas[-1]; tensors like `noise`.

    `sigmas` falls within [0, 1]; the velocity is never evaluated at 0. Raises ValueError for an unknown solver or
    levels that do not fall.
    """
    check_solver(solver)
    levels = [float(s) for s in sigmas]
    if len(levels) < 2 or any(a <= b for a, b in pairwise(levels)):
        raise ValueError(f"sigmas must fall, and be two or more: {levels}")
    if levels[0] > 1 or levels[-1] < 0:
        raise ValueError(f"sigmas run from {levels[0]} to {levels[-1]}: they must be between 0 and 1")
    return SOLVERS[solver](velocity, noise, levels)
