"""The request: one YAML file, checked once as it is loaded, then frozen. Unknown keys are refused.

A request is a file, or the name of one that ships (`sample`). Relative paths in a file are relative to the folder of
that file; those of a request that ships, and those of overrides, are relative to the working folder.
"""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StrictInt, ValidationError, field_validator, model_validator

from dsdit.errors import RequestError
from dsdit.grid import Grid
from dsdit.imaging.shift import SEARCH_LR
from dsdit.lonlat import check_bbox
from dsdit.region import Region
from dsdit.store.options import check_storage, use_storage
from dsdit.yaml_text import parse_yaml, read_yaml
from flows.request.messages import hint, sentence
from flows.request.paths import resolve_paths
from flows.request.settings import (
    Compute,
    Cost,
    Frozen,
    ModelSettings,
    Period,
    References,
    SampleRegion,
    Sampling,
    Scenes,
    Tiling,
)


class Request(Frozen):
    """One region: its footprint, its catalogs, its settings, and where results are written."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    """Name of the region: letters, digits, dash and underscore, at most 64. Example: `alps`."""
    bbox: tuple[float, float, float, float] | None = None
    """Footprint as [west, south, east, north] in degrees; west greater than east crosses the antimeridian. Give one of
    `bbox`, `bounds` and `geojson`. Example: `[11.5, 47.9, 11.7, 48.1]`."""
    bounds: tuple[float, float, float, float] | None = None
    """Footprint as [x0, y0, x1, y1] in the units of `crs`. Example: `[690000, 5310000, 700000, 5320000]`."""
    geojson: str | None = None
    """Footprint as the path of a GeoJSON file in degrees, with one polygon, multipolygon, feature, or collection of one
    feature."""
    land: str | None = None
    """Path of a GeoJSON file with any number of polygons, in degrees. Shards that touch none of them are left out."""
    crs: str
    """CRS of the target grid: projected, in metres. Example: `EPSG:32632`."""
    gsd_m: Annotated[float, Field(gt=0)]
    """Pixel size of the target grid, in metres. Example: `1.25`."""
    scale: StrictInt
    """HR pixels per LR pixel along a side, 4 to 16. `gsd_m` times `scale` should be the pixel size of the LR source."""
    period: Period
    """Time span from which scenes are taken."""
    lr: Scenes
    """Where low-resolution scenes come from."""
    ref: References | None = None
    """Where high-resolution references come from; without this key the run has no references."""
    search: Literal["keep", "replay"] = "keep"
    """`keep` queries the catalogs and stores their answers in `output`; `replay` uses the stored answers and sends no
    query."""
    output: str
    """Folder or `s3://` URL for the mosaic and everything beside it."""
    scratch: str | None = None
    """Folder or `s3://` URL for intermediate arrays, by default a folder in `output`. It may be shared: each output has
    its own folder in it."""
    keep_scratch: bool = False
    """Keeps intermediate arrays after the run, for debugging."""
    keep_reference: bool = False
    """Writes the harmonised reference as a layer of the mosaic, for pictures and notebooks."""
    store: Literal["zarr", "icechunk"] = "zarr"
    """How versions of the mosaic are stored: `zarr` in folders of plain Zarr, `icechunk` in an Icechunk repository."""
    storage_options: dict[str, Any] = Field(default_factory=dict)
    """Options of s3fs for the object store of output and scratch, such as encryption. Credentials are refused here:
    they come from the environment. Example: `{requester_pays: true}`."""
    commit_every_s: Annotated[float, Field(ge=0.1, le=60)] = 20.0
    """With `store: icechunk`: longest time in seconds between two commits of a run."""
    cog: Literal["auto", "always", "never"] = "auto"
    """Whether the mosaic is also written as a COG, `sr.tif`; `auto` does so for regions of up to 2**31 pixels."""
    keep_versions: Annotated[int, Field(ge=2)] = 2
    """Number of published versions that stay readable, the newest included."""
    on_conflict: Literal["refuse", "wait"] = "refuse"
    """What a run does while another run writes to the same output."""
    lease_expire_s: Annotated[float, Field(ge=1, le=60)] = 45.0
    """Time in seconds without a sign of life after which a run counts as dead and another one may take over."""
    model: ModelSettings = ModelSettings()
    """Weights and device."""
    sampling: Sampling = Sampling()
    """How the network is sampled."""
    tiling: Tiling = Tiling()
    """Sizes of tiles, chunks and shards."""
    compute: Compute = Compute()
    """The Dask cluster."""
    cost: Cost = Cost()
    """Prices and speed for `dsdit plan`."""
    sample_region: SampleRegion | None = None
    """Makes the synthetic sample region first where it does not exist yet; for the request `sample` and for tests."""

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

    @model_validator(mode="after")
    def _findable_shift(self) -> Request:
        most = SEARCH_LR * self.scale
        if self.ref is not None and (self.ref.max_shift_px or 0) > most:
            raise ValueError(
                f"ref.max_shift_px is {self.ref.max_shift_px:g}: shifts are looked for up to {most} HR pixels at scale "
                f"{self.scale}, give that or less"
            )
        return self

    @model_validator(mode="after")
    def _storage(self) -> Request:
        check_storage(self.storage_options)
        unsupported = sorted(self.storage_options.keys() - {"requester_pays"})
        if self.store == "icechunk" and unsupported:
            raise ValueError(
                f"storage_options: a repository's own client sends no {', '.join(unsupported)}: "
                "set it as the bucket's default, or take store: zarr"
            )
        return self

    @property
    def scratch_url(self) -> str:
        """See `scratch_of`."""
        return scratch_of(self.output, self.scratch)

    def grid(self) -> Grid:
        """Raises RequestError for a CRS or scale that cannot be used."""
        return Grid(self.crs, self.gsd_m, self.scale)

    def region(self) -> Region:
        """The footprint on the grid. Raises RequestError."""
        grid = self.grid()
        if self.bounds is not None:
            return Region.from_bounds(self.name, grid, self.bounds)
        if self.bbox is not None:
            return Region.from_bbox(self.name, grid, self.bbox)
        assert self.geojson is not None
        return Region.from_geojson(self.name, grid, self.geojson)


def region_names() -> list[str]:
    """Requests that ship."""
    folder = resources.files("infra") / "regions"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_request(region: str, overrides: dict[str, Any] | None = None) -> Request:
    """A request by shipped name or YAML path; `overrides` replace top-level keys, or keys within them.

    Its `storage_options` become those of this process. Raises RequestError with a sentence for each wrong key.
    """
    shipped = region in region_names()
    record = _read(region, shipped)
    if not shipped:
        record = resolve_paths(record, Path(region).parent)
    request = make_request(_merged(record, overrides or {}), region)
    use_storage(request.storage_options)
    return request


def make_request(record: dict[str, Any], where: str = "request") -> Request:
    """Validates a record, whose paths are taken as they are. Raises RequestError."""
    try:
        request = Request.model_validate(record)
    except ValidationError as error:
        raise RequestError(f"{where}: " + "; ".join(sentence(e, Request) for e in error.errors())) from error
    request.grid()
    return request


def replace_keys(request: Request, overrides: dict[str, Any]) -> Request:
    """A request with keys replaced, or keys within them. Raises RequestError."""
    return make_request(_merged(request.model_dump(exclude_unset=True), overrides)) if overrides else request


def _read(region: str, shipped: bool) -> dict[str, Any]:
    try:
        if shipped:
            record = parse_yaml((resources.files("infra") / "regions" / f"{region}.yaml").read_text())
        else:
            record = read_yaml(Path(region))
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(
            f"region {region!r} is neither a name that ships ({hint(region, region_names())}) "
            f"nor a file that can be read: {getattr(error, 'strerror', None) or error}{_looked_in(region)}"
        ) from error

    except ValueError as error:
        raise RequestError(f"{region} is not YAML that can be used: {error}") from error
    if not isinstance(record, dict):
        raise RequestError(f"{region} does not hold a mapping of settings")
    return record


def _looked_in(region: str) -> str:
    """For a relative path: the folder from which it was taken, which a Prefect worker has of its own."""
    return "" if Path(region).is_absolute() else f", looked for in {Path.cwd()}: give an absolute path"


def scratch_of(output: str, scratch: str | None) -> str:
    """Location of the intermediate arrays of an output.

    It is removed after the run, hence a folder of this output's own within `scratch`.
    """
    output = output.rstrip("/")
    if scratch is None:
        return f"{output}/scratch"
    whole = output if "://" in output else str(Path(output).absolute())
    name = f"{whole.rpartition('/')[2]}-{hashlib.sha256(whole.encode()).hexdigest()[:12]}"
    return f"{scratch.rstrip('/')}/{name}"


def _merged(record: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    merged = dict(record)
    for key, value in overrides.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
