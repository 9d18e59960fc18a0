"""Number of network calls that settings take: the sampler itself, run on one number. Loads no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from dsdit.plan.sampler_settings import SamplerSettings
from dsdit.sampling.guidance import guided
from dsdit.sampling.schedule import levels_of
from dsdit.sampling.solver import sample

if TYPE_CHECKING:
    from torch import Tensor


def network_passes(settings: SamplerSettings) -> int:
    """Network calls a batch. Raises ValueError for a solver that is not known."""
    calls = 0
    zero = cast("Tensor", 0.0)

    def strength(z: Tensor, sigma: float, ref_scale: float) -> Tensor:
        nonlocal calls
        calls += 1
        return zero

    velocity = guided(strength, settings.guidance_scale, interval=settings.guidance_interval)
    sample(velocity, zero, levels_of(settings), settings.solver)
    return calls * settings.ensemble
