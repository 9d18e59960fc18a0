"""Noise levels that a solver walks through, from 1 (noise) down to 0 (picture)."""

from __future__ import annotations

import torch
from torch import Tensor

from dsdit.plan.sampler_settings import SamplerDefaults

_TRAIN_STEPS = 1000


def shifted(u: Tensor, shift: float) -> Tensor:
    """s = shift u / (1 + (shift - 1) u): SD3's warp of time towards noise."""
    return shift * u / (1 + (shift - 1) * u)


def _checked(steps: int, shift: float) -> None:
    if steps < 1:
        raise ValueError(f"steps is {steps}: at least 1 is needed")
    if shift <= 0:
        raise ValueError(f"shift is {shift}: it must be positive")


def published_sigmas(steps: int, shift: float = 3.0) -> Tensor:
    """(steps + 1,) as the paper's release has it: the shift is applied twice, the last level is 0.

    The level before the last is s(s(1/1000)), about 0.009: the steps are far from even. One step is (1, 0).
    """
    _checked(steps, shift)
    trained = shifted(torch.arange(1, _TRAIN_STEPS + 1, dtype=torch.float64) / _TRAIN_STEPS, shift)
    timesteps = torch.linspace(float(trained[-1]), float(trained[0]), steps, dtype=torch.float64)
    return torch.cat([shifted(timesteps, shift), torch.zeros(1, dtype=torch.float64)]).float()


def spaced_sigmas(steps: int, shift: float = 3.0, start: float = 1.0) -> Tensor:
    """(steps + 1,) from exactly `start` to exactly 0: even in time, the shift applied once. One step is (start, 0).

    A start below 1 is a truncated one: the solver begins with the LR picture under noise of that level.
    """
    _checked(steps, shift)
    if not 0 < start <= 1:
        raise ValueError(f"start is {start}: it must lie within 0 and 1")
    begin = start / (shift - (shift - 1) * start)
    levels = shifted(torch.linspace(begin, 0, steps + 1, dtype=torch.float64), shift).float()
    levels[0] = start
    return levels


def sigmas_of(settings: SamplerDefaults) -> Tensor:
    """(steps + 1,) noise levels of the settings' schedule."""
    if settings.schedule == "published":
        return published_sigmas(settings.steps)
    return spaced_sigmas(settings.steps, start=settings.start_sigma)
