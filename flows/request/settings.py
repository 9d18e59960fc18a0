"""The parts of a request, each frozen, with unknown keys refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Positive = Annotated[int, Field(ge=1)]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Period(Frozen):
    """Fixed (`start`, `end`) or rolling (`latest_days` up to `end`, which is now by default)."""

    start: datetime | None = None
    end: datetime | None = None
    latest_days: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _either(self) -> Period:
        if (self.start is None) == (self.latest_days is None):
            raise ValueError("give either start (and end) or latest_days")
        if self.start and self.end and not utc(self.start) < utc(self.end):
            raise ValueError(f"start {self.start} is not before end {self.end}")
        return self

    @property
    def moves(self) -> bool:
        """Whether it depends on when the run begins."""
        return self.end is None

    @property
    def rolls(self) -> bool:
        """Whether its start moves by itself."""
        return self.end is None and self.latest_days is not None

    def resolve(self, now: datetime) -> tuple[datetime, datetime]:
        """(start, end), aware, in UTC."""
        end = utc(self.end) if self.end else now
        start = utc(self.start) if self.start else end - timedelta(days=self.latest_days or 0)
        return start, end


class SourceChoice(Frozen):
    """A source by name, or by the path of a YAML file of one's own."""

    source: str
    endpoint: str | None = None
    """Replaces the source's endpoint: another API, or a local catalog."""


class References(SourceChoice):
    """Where references come from and how far from the scenes they may be in time."""

    max_age_days: Annotated[float, Field(gt=0, le=36_525)] = 3650.0
    """Most days between a reference and a scene, whichever is the older."""
    registration: Literal["apply", "measure", "off"] = "apply"
    """What is done about the shift between a reference and a scene: taken out, only told, or not looked for."""
    max_shift_px: Annotated[float, Field(gt=0)] | None = None
    """HR pixels above which a shift is flagged and not taken out; by default one LR pixel."""

    @field_validator("registration", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        """YAML reads a bare off as false."""
        return "off" if value is False else value


class Scenes(SourceChoice):
    """Where LR scenes come from and which one a cell takes."""

    rule: Literal["latest_clear", "least_cloudy", "median_clear"] = "latest_clear"
    balance: bool = False
    """Takes the step between scenes out at seams, by gains and offsets of pairs of scenes; see dsdit/plan/seams.py."""


class ModelSettings(Frozen):
    """Which network runs where."""

    weights: str = "dsdit-tiny"
    device: Annotated[str, Field(pattern=r"^(cpu|cuda)$")] = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"


class Sampling(Frozen):
    """How it is run. What is left out follows from the weights' own setting of the name."""

    setting: Literal["default", "faithful"] = "default"
    """default has the reference's detail; faithful aims at the smallest expected error, and is softer."""
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    solver: Literal["euler", "heun", "dpmpp_2m", "published_dpmpp_2m"] | None = None
    schedule: Literal["spaced", "published"] | None = None
    """Noise levels of the steps: even in time, or those of the paper's release."""
    guidance_scale: Annotated[float, Field(ge=0, le=10)] | None = None
    guidance_from: Literal["ref_scale", "no_reference"] | None = None
    """What guidance leads away from: the pass with ref_scale 0, or the tile as if it had no reference."""
    guidance_interval: tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]] | None = None
    """Noise levels (low, high) at which guidance acts."""
    start_sigma: Annotated[float, Field(gt=0, le=1)] | None = None
    """Noise level at which sampling starts: below 1 it starts from the LR picture under noise."""
    ensemble: Literal[1, 2, 4, 8] | None = None
    """Mirrored and turned forms of a tile that are averaged: a smaller error, at as many times the cost."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    batch: Annotated[int, Field(ge=1, le=1024)] = 8

    @field_validator("guidance_interval")
    @classmethod
    def _ordered(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not value[0] <= value[1]:
            raise ValueError(f"guidance_interval {list(value)} is not low, high")
        return value


class Tiling(Frozen):
    """Sizes in HR pixels; what is left out follows from scale, network and region."""

    tile_px: Positive | None = None
    overlap_px: Positive | None = None
    chunk_strides: Positive | None = None
    shard_chunks: Positive | None = None


class Tls(Frozen):
    """Files (PEM) by which client, scheduler and workers trust each other."""

    ca: str
    cert: str
    key: str


class Compute(Frozen):
    """The Dask cluster."""

    cluster: str = "local"
    """A name out of infra/clusters, or the path of a YAML file of one's own."""
    workers: Positive = 2
    """Of a cluster that this run starts; with `cuda` there is one a GPU."""
    address: str | None = None
    """Of a running scheduler, for cluster: address."""
    tls: Tls | None = None
    """For address and slurm; where it is left out, Dask's own configuration says."""
    memory_limit_bytes: Annotated[int, Field(ge=500_000_000)] | None = None
    """A local worker is restarted above it."""
    futures_per_worker: Annotated[int, Field(ge=1, le=4)] = 4
    worker_wait_s: Annotated[float, Field(ge=1)] = 1800.0
    """How long a run does without any worker before it ends; longer than the queue of a shared cluster."""
    straggler_s: Annotated[float, Field(ge=1)] = 600.0
    """A step that takes longer, and four times as long as others, is given to a second worker."""

    @model_validator(mode="after")
    def _address(self) -> Compute:
        if self.cluster == "address" and self.address is None:
            raise ValueError("cluster: address needs address, such as tls://scheduler:8786")
        if self.cluster != "address" and self.address is not None:
            raise ValueError(
                f"address goes with cluster: address, and cluster is {self.cluster!r}: leave one of them out"
            )
        return self


Price = Annotated[float, Field(ge=0)]


class Cost(Frozen):
    """Prices in any one currency, and the speed of a device, for `dsdit plan`; no run depends on them."""

    device_hour: Price | None = None
    thousand_requests: Price | None = None
    """Of an object store."""
    gb_month: Price | None = None
    """Of keeping 10^9 bytes of the mosaic for a month."""
    seconds_per_tile: Annotated[float, Field(gt=0)] | None = None
    """Of one device, with all passes of the network; by default what the last run measured."""


class SampleRegion(Frozen):
    """The region that the project makes by itself; made if it is not there."""

    folder: str = "output/sample-region"
    seed: Annotated[int, Field(ge=0)] = 7
    size_m: tuple[Annotated[float, Field(ge=320)], Annotated[float, Field(ge=320)]] = (2000.0, 2000.0)
    """(y, x)."""


def utc(when: datetime) -> datetime:
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
