"""Autoguidance: away from the prediction with a weaker reference (ref_scale). Torch is loaded on the first pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from dsdit.sampling.solver import Velocity

if TYPE_CHECKING:
    from torch import Tensor


class Network(Protocol):
    """What a DSDiT offers: (x, timestep, lr, ref, ref_scale) -> velocity."""

    def __call__(
        self, x: Tensor, timestep: Tensor, lr: Tensor, ref: Tensor, ref_scale: Tensor | float = 1.0, /
    ) -> Tensor: ...


def guided(
    strength: Callable[[Tensor, float, float], Tensor],
    scale: float,
    weak_ref_scale: float = 0.0,
    interval: tuple[float, float] = (0.0, 1.0),
) -> Velocity:
    """v = v_weak + scale (v_strong - v_weak) out of strength(x, sigma, ref_scale) -> velocity.

    Only where sigma is within `interval`, ends included (Kynkaanniemi et al. 2024); outside it v is v_strong, as at
    scale 1: then a level costs one network pass and not two. At scale 0 v is v_weak within the interval.
    """

    def velocity(x: Tensor, sigma: float) -> Tensor:
        if scale == 1 or not interval[0] <= sigma <= interval[1]:
            return strength(x, sigma, 1.0)
        weak = strength(x, sigma, weak_ref_scale)
        return weak if scale == 0 else weak + scale * (strength(x, sigma, 1.0) - weak)

    return velocity


def autoguidance(model: Network, lr: Tensor, ref: Tensor, scale: float, weak_ref_scale: float = 0.0) -> Velocity:
    """A velocity function for `sample` from a DSDiT and its latents `lr` and `ref`, each (B, C, y, x)."""
    import torch

    def strength(x: Tensor, sigma: float, ref_scale: float) -> Tensor:
        timestep = torch.full((x.shape[0],), 1000.0 * sigma, dtype=torch.float32, device=x.device)
        return model(x, timestep, lr, ref, ref_scale)

    return guided(strength, scale, weak_ref_scale)
