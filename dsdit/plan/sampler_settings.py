"""Settings of the sampler: defaults that weights state in their config, and the settings of a plan."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

SCHEDULES = ("spaced", "published")
"""Names of `sampling.schedule.sigmas_of`."""


@dataclass(frozen=True)
class SamplerDefaults:
    """Settings under which weights were measured."""

    steps: int = 1
    """Steps of the solver from noise to picture; one from pure noise is the posterior mean."""
    solver: str = "euler"
    """A name of `sampling.solver.SOLVERS`."""
    schedule: str = "spaced"
    """Noise levels of the steps: "spaced" evenly in time, or those of the paper's release, "published"."""
    guidance_scale: float = 1.0
    """Autoguidance weight; 1 takes one network call a step, others two."""
    guidance_from: str = "ref_scale"
    """What autoguidance leads away from: "ref_scale" is the published pass with ref_scale 0, in which patch-level
    weighting still reads the reference; "no_reference" is the tile as if none had been found."""
    start_sigma: float = 1.0
    """Noise level at which sampling starts; below 1 it starts from the LR picture under noise."""
    ensemble: int = 1
    """Mirrored and turned forms of each tile that are averaged: 1, 2, 4 or 8, each at the cost of all passes."""

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule is {self.schedule!r}: it must be one of {list(SCHEDULES)}")
        if self.schedule == "published" and self.start_sigma != 1:
            raise ValueError(
                f"start_sigma is {self.start_sigma} and schedule published, which starts at 1: "
                "leave one of them out, or take schedule spaced"
            )


@dataclass(frozen=True)
class SamplerSettings(SamplerDefaults):
    """Settings of a plan."""

    guidance_interval: tuple[float, float] = (0.0, 1.0)
    """Noise levels at which autoguidance acts."""
    seed: int = 0
    """Key of the noise."""
    batch: int = 8
    """Tiles per network call; always filled up to this size."""

    @property
    def digested(self) -> dict[str, Any]:
        """What digests of plans are computed from; the schedule is part of it where it is not "spaced"."""
        record = asdict(self)
        if self.schedule == "spaced":
            del record["schedule"]
        return record

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> SamplerSettings:
        """Inverse of `asdict`, from JSON."""
        return cls(**{**record, "guidance_interval": tuple(record["guidance_interval"])})
