"""The request: what a person writes. Validated once at the door, frozen, unknown keys refused.

A request is a YAML file, or the name of one that ships (`sample`). Relative paths in it are relative to the folder in
which the command runs.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    ValidationError,
    field_validator,
    model_validator,
)
from shapely.geometry import mapping

from catalogs.footprint import bbox_shape, check_bbox
from dsdit.errors import RequestError
from dsdit.grid import Grid
from dsdit.region import Region

Positive = Annotated[int, Field(ge=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Period(_Frozen):
    """Fixed (`start`, `end`) or rolling (`latest_days` up to `end`, which is now by default)."""

    start: datetime | None = None
    end: datetime | None = None
    latest_days: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _either(self) -> Period:
        if (self.start is None) == (self.latest_days is None):
            raise ValueError("give either start (and end) or latest_days")
        if self.start and self.end and not _utc(self.start) < _utc(self.end):
            raise ValueError(f"start {self.start} is not before end {self.end}")
        return self

    @property
    def moves(self) -> bool:
        """Whether it depends on when the run begins."""
        return self.end is None

    def resolve(self, now: datetime) -> tuple[datetime, datetime]:
        """(start, end), aware, in UTC."""
        end = _utc(self.end) if self.end else now
        start = _utc(self.start) if self.start else end - timedelta(days=self.latest_days or 0)
        return start, end


class SourceChoice(_Frozen):
    """A source by name, or by the path of a YAML file of one's own."""

    source: str
    endpoint: str | None = None
    """Replaces the source's endpoint: another API, or a local catalog."""


class References(SourceChoice):
    """Where references come from and how old they may be."""

    max_age_days: Annotated[float, Field(gt=0)] = 3650.0


class Scenes(SourceChoice):
    """Where LR scenes come from and which one a cell takes."""

    rule: Literal["latest_clear", "least_cloudy"] = "latest_clear"


class ModelSettings(_Frozen):
    """Which network runs where."""

    weights: str = "dsdit-tiny"
    device: Annotated[str, Field(pattern=r"^(cpu|cuda)$")] = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"


class Sampling(_Frozen):
    """How it is run. What is left out follows from the weights' own setting of the name."""

    setting: Literal["default", "faithful"] = "default"
    """default has the reference's detail; faithful aims at the smallest expected error, and is softer."""
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    solver: Literal["euler", "heun", "dpmpp_2m"] | None = None
    guidance_scale: Annotated[float, Field(ge=0, le=10)] | None = None
    guidance_from: Literal["ref_scale", "no_reference"] | None = None
    """What guidance leads away from: the pass with ref_scale 0, or the tile as if it had no reference."""
    guidance_interval: tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]] | None = None
    """Noise levels (low, high) at which guidance acts."""
    start_sigma: Annotated[float, Field(gt=0, le=1)] | None = None
    """Noise level at which sampling starts: below 1 it starts from the LR picture under noise."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    batch: Annotated[int, Field(ge=1, le=1024)] = 8

    @field_validator("guidance_interval")
    @classmethod
    def _ordered(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not value[0] <= value[1]:
            raise ValueError(f"guidance_interval {list(value)} is not low, high")
        return value


class Tiling(_Frozen):
    """Sizes in HR pixels; what is left out follows from scale, network and region."""

    tile_px: Positive | None = None
    overlap_px: Positive | None = None
    chunk_strides: Positive | None = None
    shard_chunks: Positive | None = None


class Compute(_Frozen):
    """The Dask cluster."""

    cluster: Literal["local", "cuda", "address"] = "local"
    workers: Positive = 2
    """Of a local cluster."""
    address: str | None = None
    """Of a running scheduler, for cluster: address."""
    memory_limit_bytes: Annotated[int, Field(ge=500_000_000)] | None = None
    """A local worker is restarted above it."""
    futures_per_worker: Annotated[int, Field(ge=1, le=4)] = 4

    @model_validator(mode="after")
    def _address(self) -> Compute:
        if (self.cluster == "address") != (self.address is not None):
            raise ValueError("address goes with cluster: address, and with no other")
        return self


class SampleRegion(_Frozen):
    """The region that the project makes by itself; made if it is not there."""

    folder: str = "output/sample-region"
    seed: Annotated[int, Field(ge=0)] = 7
    size_m: tuple[Annotated[float, Field(ge=320)], Annotated[float, Field(ge=320)]] = (2000.0, 2000.0)
    """(y, x)."""


class Request(_Frozen):
    """One region, its catalogs, its settings, its places."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    bbox: tuple[float, float, float, float] | None = None
    """west, south, east, north in degrees; west over east crosses the antimeridian."""
    bounds: tuple[float, float, float, float] | None = None
    """x0, y0, x1, y1 in the units of `crs`."""
    geojson: str | None = None
    """Path of a file with one polygon, multipolygon, feature or collection, in degrees."""
    crs: str
    gsd_m: Annotated[float, Field(gt=0)]
    """Target GSD."""
    scale: StrictInt
    period: Period
    lr: Scenes
    ref: References | None = None
    """None runs without references."""
    search: Literal["keep", "replay"] = "keep"
    """keep asks the catalogs and keeps their answers in `output`; replay takes the kept ones and asks nobody."""
    output: str
    scratch: str | None = None
    """By default a folder in `output`."""
    keep_scratch: bool = False
    keep_reference: bool = False
    """Keeps the harmonised reference beside the mosaic, for pictures and notebooks."""
    keep_versions: Annotated[int, Field(ge=2)] = 2
    """Published versions of a mosaic in a folder that are kept: a reader of the one before is not cut off."""
    on_conflict: Literal["refuse", "wait"] = "refuse"
    """What a run does while another one writes to the output."""
    lease_expire_s: Annotated[float, Field(ge=1, le=60)] = 45.0
    """How long a run must give no sign of life before another one takes its place."""
    model: ModelSettings = ModelSettings()
    sampling: Sampling = Sampling()
    tiling: Tiling = Tiling()
    compute: Compute = Compute()
    sample_region: SampleRegion | None = None

    @field_validator("bbox")
    @classmethod
    def _bbox(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None:
            check_bbox(value)
        return value

    @model_validator(mode="after")
    def _one_footprint(self) -> Request:
        given = [n for n in ("bbox", "bounds", "geojson") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of bbox, bounds and geojson; given are {given or 'none'}")
        return self

    @property
    def scratch_url(self) -> str:
        """Where staged pixels and tiles lie while the run needs them."""
        return self.scratch or f"{self.output.rstrip('/')}/scratch"

    def grid(self) -> Grid:
        """Raises RequestError for a CRS or scale that cannot be used."""
        return Grid(self.crs, self.gsd_m, self.scale)

    def region(self) -> Region:
        """The footprint on the grid. Raises RequestError."""
        grid = self.grid()
        if self.bounds is not None:
            return Region.from_bounds(self.name, grid, self.bounds)
        if self.bbox is not None:
            w, s, e, n = self.bbox
            ring = [[w, s], [e, s], [e, n], [w, n], [w, s]]
            plain: dict[str, object] = {"type": "Polygon", "coordinates": [ring]}
            return Region.from_lonlat(self.name, grid, plain if w < e else dict(mapping(bbox_shape([w, s, e, n]))))
        assert self.geojson is not None
        return Region.from_lonlat(self.name, grid, _read_geojson(Path(self.geojson)))


def _utc(when: datetime) -> datetime:
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def _read_geojson(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RequestError(f"geojson {str(path)!r} cannot be read: {error}") from error
    if isinstance(record, dict) and record.get("type") == "FeatureCollection":
        features = record.get("features") or []
        if len(features) != 1:
            raise RequestError(f"geojson {str(path)!r} has {len(features)} features: give one, such as a multipolygon")
        record = features[0]
    if isinstance(record, dict) and record.get("type") == "Feature":
        record = record.get("geometry")
    if not isinstance(record, dict):
        raise RequestError(f"geojson {str(path)!r} holds no geometry")
    return record


def region_names() -> list[str]:
    """Requests that ship."""
    folder = resources.files("infra") / "regions"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_request(region: str, overrides: dict[str, Any] | None = None) -> Request:
    """A request by shipped name or YAML path; `overrides` replace top-level keys, or keys within them.

    Raises RequestError with one sentence for each thing that is wrong.
    """
    if region in region_names():
        text = (resources.files("infra") / "regions" / f"{region}.yaml").read_text()
    else:
        try:
            text = Path(region).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise RequestError(
                f"region {region!r} is neither a file that can be read nor one of {region_names()}: {error}"
            ) from error
    try:
        record = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RequestError(f"{region} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(record, dict):
        raise RequestError(f"{region} does not hold a mapping of settings")
    return make_request(_merged(record, overrides or {}), region)


def make_request(record: dict[str, Any], where: str = "request") -> Request:
    """Validates a record. Raises RequestError."""
    try:
        request = Request.model_validate(record)
    except ValidationError as error:
        parts = [f"{'.'.join(map(str, e['loc'])) or 'request'}: {_sentence(e)}" for e in error.errors()]
        raise RequestError(f"{where}: " + "; ".join(parts)) from error
    request.grid()
    return request


def _sentence(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "this key is not known"
    message = error["msg"].removeprefix("Value error, ")
    shown = error.get("input")
    return message if isinstance(shown, dict) else f"{message} (given {shown!r})"


def _merged(record: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    merged = dict(record)
    for key, value in overrides.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
