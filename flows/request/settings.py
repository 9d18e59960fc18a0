"""The parts of a request, each frozen, with unknown keys refused. The docstring of a key is its manual."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dsdit.sampling.solver import SOLVERS, check_solver

Positive = Annotated[int, Field(ge=1)]
_FIRST_YEAR, _LAST_YEAR = 1900, 2200
"""Of a period: the years around it that references may be from are in Python's calendar too."""
_NUMBER = re.compile(r"[+-]?[0-9.]+(e[+-]?[0-9]+)?", re.IGNORECASE)


class Frozen(BaseModel):
    """Settings that cannot be changed after they were checked."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Period(Frozen):
    """Fixed (`start`, `end`) or rolling (`latest_days` up to `end`, which is now by default)."""

    start: datetime | None = None
    """First moment; without a zone it is in UTC. Example: `2024-06-15`."""
    end: datetime | None = None
    """Last moment, by default the time when the run begins. Example: `2024-07-15`."""
    latest_days: Annotated[float, Field(gt=0, le=73_000)] | None = None
    """Length in days of a period that ends at `end`, instead of `start`. Example: `30`."""

    @field_validator("start", "end", mode="before")
    @classmethod
    def _written_as_date(cls, value: object) -> object:
        """A number would be read as seconds since 1970: 20240615 as a day of that year."""
        if isinstance(value, int | float) or (isinstance(value, str) and _NUMBER.fullmatch(value.strip())):
            raise ValueError("write a date such as 2024-06-15")
        return value

    @field_validator("start", "end")
    @classmethod
    def _in_calendar(cls, value: datetime | None) -> datetime | None:
        if value is not None and not _FIRST_YEAR <= value.year <= _LAST_YEAR:
            raise ValueError(f"{value} is not within the years {_FIRST_YEAR} to {_LAST_YEAR}")
        return value

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
    """A source by name, or by the path of a YAML file of your own."""

    source: str
    """Name of a source that ships (`dsdit sources` lists them), or path of a source's YAML file."""
    endpoint: str | None = None
    """Replaces the source's endpoint: URL of another STAC API, or path of a local catalog (`items.json`,
    `items.parquet`, `catalog.json` or a folder)."""


class References(SourceChoice):
    """Where references come from and how far in time from the scenes they may be."""

    required: bool = False
    """Ends the run before it writes anything where no reference is found for any scene: a published mosaic keeps its
    detail."""
    max_age_days: Annotated[float, Field(gt=0, le=36_525)] = 3650.0
    """Largest time in days between a reference and a scene, whichever of them is older."""
    registration: Literal["apply", "measure", "off"] = "apply"
    """Shift between a reference and a scene: `apply` measures and corrects it, `measure` only reports it, `off` does
    neither."""
    max_shift_px: Annotated[float, Field(gt=0)] | None = None
    """Largest shift in HR pixels that is corrected; larger ones are flagged. By default one LR pixel."""

    @field_validator("registration", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        """YAML reads a bare off as false."""
        return "off" if value is False else value


class Scenes(SourceChoice):
    """Where LR scenes come from and which of them a cell uses."""

    rule: Literal["latest_clear", "least_cloudy", "median_clear"] = "latest_clear"
    """Which scene a cell uses: the newest clear one, the one with the least cloud in the cell, or the median of the
    clear ones."""
    balance: bool = False
    """Corrects brightness steps between scenes at seams, by gains and offsets of pairs of scenes."""


class ModelSettings(Frozen):
    """Which network runs where."""

    weights: str = "dsdit-tiny"
    """Name of weights that ship, or path of a weights folder."""
    device: Annotated[str, Field(pattern=r"^(cpu|cuda)$")] = "cpu"
    """Where the network runs: `cpu` or `cuda`."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of the network: `bfloat16` is faster on GPUs that have it."""


class Sampling(Frozen):
    """How the network is sampled. A key that is left out has the value of the chosen `setting` of the weights."""

    setting: Literal["default", "faithful"] = "default"
    """Which of the two settings of the weights: `default` has the detail of the reference, `faithful` has the smallest
    expected error and is softer."""
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Steps of the solver from noise to image."""
    solver: Annotated[str, Field(json_schema_extra={"enum": list(SOLVERS)})] | None = None
    """Solver of the sampling ODE."""
    schedule: Literal["spaced", "published"] | None = None
    """Noise levels of the steps: `spaced` evenly in time, or `published`, those of the paper's release."""
    guidance_scale: Annotated[float, Field(ge=0, le=10)] | None = None
    """Weight of autoguidance; 1 switches it off and halves the network calls."""
    guidance_from: Literal["ref_scale", "no_reference"] | None = None
    """Pass that guidance leads away from: the one with ref_scale 0, or the tile without its reference."""
    guidance_interval: tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]] | None = None
    """Noise levels [low, high] between which guidance acts; 1 is pure noise. Example: `[0.2, 0.8]`."""
    start_sigma: Annotated[float, Field(gt=0, le=1)] | None = None
    """Noise level at which sampling starts; below 1 it starts from the LR image with noise added."""
    ensemble: Literal[1, 2, 4, 8] | None = None
    """Number of mirrored and rotated forms of a tile that are averaged: a smaller error, at as many times the cost."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the noise. One seed gives the same pixels, however the region is split."""
    batch: Annotated[int, Field(ge=1, le=1024)] = 8
    """Tiles in one network call. More use a GPU better and need more of its memory."""

    @field_validator("solver")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None:
            check_solver(value)
        return value

    @field_validator("guidance_interval")
    @classmethod
    def _ordered(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not value[0] <= value[1]:
            raise ValueError(f"guidance_interval {list(value)} is not low, high")
        return value


class Tiling(Frozen):
    """Sizes of tiles, chunks and shards. A key that is left out follows from scale, network and region."""

    tile_px: Positive | None = None
    """Side of a tile, the input of the network, in HR pixels."""
    overlap_px: Positive | None = None
    """Overlap of neighbouring tiles, in HR pixels."""
    chunk_strides: Positive | None = None
    """Side of a chunk of the mosaic, in tile strides (`tile_px` less `overlap_px`)."""
    shard_chunks: Positive | None = None
    """Side of a shard, which is one job and one object of the mosaic, in chunks."""


class Tls(Frozen):
    """Files by which client, scheduler and workers trust each other."""

    ca: str
    """Path of the certificate authority's certificate (PEM)."""
    cert: str
    """Path of the certificate (PEM)."""
    key: str
    """Path of the certificate's private key (PEM)."""


class Compute(Frozen):
    """The Dask cluster."""

    cluster: str = "local"
    """Name of a cluster that ships (see infra/clusters), or path of a cluster's YAML file."""
    workers: Annotated[int, Field(ge=1, le=100_000)] = 2
    """Number of workers of a cluster that the run starts itself; `cuda` has one for each GPU instead."""
    address: str | None = None
    """Address of a running scheduler, for `cluster: address`. Example: `tls://scheduler:8786`."""
    tls: Tls | None = None
    """Certificates, for `address` and `slurm`; without them Dask's own configuration applies."""
    memory_limit_bytes: Annotated[int, Field(ge=500_000_000)] | None = None
    """Memory in bytes above which a local worker is restarted; by default its share of the machine's."""
    futures_per_worker: Annotated[int, Field(ge=1, le=4)] = 4
    """Steps that are given to a worker at a time: more keep it busy, fewer need less memory."""
    worker_wait_s: Annotated[float, Field(ge=1)] = 1800.0
    """Time in seconds that a run waits without any worker before it fails. Take more than the queue of a shared
    cluster needs. A worker that Dask has paused for its memory, and that runs no step, does not count."""
    straggler_s: Annotated[float, Field(ge=1)] = 600.0
    """Time in seconds after which a step that also takes four times as long as others is started a second time, on
    another worker. Where that copy takes as long and no CPU, their workers are restarted, the step is given again
    once."""

    @model_validator(mode="after")
    def _address(self) -> Compute:
        if self.cluster == "address" and self.address is None:
            raise ValueError("cluster: address needs address, such as tls://scheduler:8786")
        if self.cluster != "address" and self.address is not None:
            raise ValueError(
                f"address goes with cluster: address, and cluster is {self.cluster!r}: leave one of them out"
            )
        return self


Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Cost(Frozen):
    """Prices in any one currency, and the speed of a device, for `dsdit plan`; no run depends on them."""

    device_hour: Price | None = None
    """Price of one hour of the device that runs the network."""
    thousand_requests: Price | None = None
    """Price of a thousand requests to the object store."""
    gb_month: Price | None = None
    """Price of storing 10^9 bytes of the mosaic for a month."""
    seconds_per_tile: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Time in seconds that one device takes for a tile with all its network passes; by default as the last run
    measured it."""


SideM = Annotated[float, Field(ge=320, le=20_000)]


class SampleRegion(Frozen):
    """The synthetic region that the project makes by itself."""

    folder: str = "output/sample-region"
    """Folder of the region's catalog; made where it does not exist."""
    seed: Annotated[int, Field(ge=0)] = 7
    """Seed of the synthetic landscape."""
    size_m: tuple[SideM, SideM] = (2000.0, 2000.0)
    """Extent [y, x] in metres, multiples of 10."""


def utc(when: datetime) -> datetime:
    """An aware time in UTC; one without a zone is taken as UTC."""
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
