"""Noise levels that a solver goes through, from 1 (noise) down to 0 (picture).

The levels are computed by numpy; torch is loaded where a tensor is returned, so that a plan can count network calls
without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dsdit.plan.sampler_settings import SamplerDefaults

if TYPE_CHECKING:
    from torch import Tensor

_TRAIN_STEPS = 1000


def _shifted(u: NDArray[np.float64], shift: float) -> NDArray[np.float64]:
    """s = shift u / (1 + (shift - 1) u): SD3's warp of time towards noise."""
    return shift * u / (1 + (shift - 1) * u)


def _even(start: float, end: float, count: int) -> NDArray[np.float64]:
    """`count` numbers from `start` to `end`, rounded as torch.linspace does: the second half counts back from `end`."""
    if count == 1:
        return np.array([start])
    step, index = (end - start) / (count - 1), np.arange(count)
    return np.where(index < count // 2, start + step * index, end - step * (count - 1 - index))


def _check(steps: int, shift: float) -> None:
    if steps < 1:
        raise ValueError(f"steps is {steps}: at least 1 is needed")
    if shift <= 0:
        raise ValueError(f"shift is {shift}: it must be positive")


def published_levels(steps: int, shift: float = 3.0) -> NDArray[np.float32]:
    """(steps + 1,) as in the paper's release: the shift is applied twice, the last level is 0.

    The level before the last is s(s(1/1000)), about 0.009: the steps are far from even. One step is (1, 0).
    """
    _check(steps, shift)
    trained = _shifted(np.arange(1, _TRAIN_STEPS + 1) / _TRAIN_STEPS, shift)
    timesteps = _even(float(trained[-1]), float(trained[0]), steps)
    return np.append(_shifted(timesteps, shift), 0.0).astype(np.float32)


def spaced_levels(steps: int, shift: float = 3.0, start: float = 1.0) -> NDArray[np.float32]:
    """(steps + 1,) from exactly `start` to exactly 0: even in time, the shift applied once. One step is (start, 0).

    A start below 1 is a truncated one: the solver begins with the LR picture under noise of that level.
    """
    _check(steps, shift)
    if not 0 < start <= 1:
        raise ValueError(f"start is {start}: it must be above 0 and at most 1")
    begin = start / (shift - (shift - 1) * start)
    levels = _shifted(_even(begin, 0.0, steps + 1), shift).astype(np.float32)
    levels[0] = start
    return levels


def levels_of(settings: SamplerDefaults) -> NDArray[np.float32]:
    """(steps + 1,) noise levels of the settings' schedule."""
    if settings.schedule == "published":
        return published_levels(settings.steps)
    return spaced_levels(settings.steps, start=settings.start_sigma)


def _tensor(levels: NDArray[np.float32]) -> Tensor:
    import torch

    return torch.from_numpy(levels)


def published_sigmas(steps: int, shift: float = 3.0) -> Tensor:
    """`published_levels` as a tensor."""
    return _tensor(published_levels(steps, shift))


def spaced_sigmas(steps: int, shift: float = 3.0, start: float = 1.0) -> Tensor:
    """`spaced_levels` as a tensor."""
    return _tensor(spaced_levels(steps, shift, start))


def sigmas_of(settings: SamplerDefaults) -> Tensor:
    """`levels_of` as a tensor."""
    return _tensor(levels_of(settings))
