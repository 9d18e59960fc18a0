"""The request: what a person writes. Validated once at the door, frozen, unknown keys refused.

A request is a YAML file, or the name of one that ships (`sample`). Relative paths in it are relative to the folder in
which the command runs.
"""

from __future__ import annotations

import difflib
import hashlib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    Field,
    StrictInt,
    ValidationError,
    field_validator,
    model_validator,
)

from dsdit.errors import RequestError
from dsdit.grid import Grid
from dsdit.imaging.shift import SEARCH_LR
from dsdit.lonlat import check_bbox
from dsdit.region import Region
from dsdit.store.options import check_storage, use_storage
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
    """One region, its catalogs, its settings, its places."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    bbox: tuple[float, float, float, float] | None = None
    """west, south, east, north in degrees; west over east crosses the antimeridian."""
    bounds: tuple[float, float, float, float] | None = None
    """x0, y0, x1, y1 in the units of `crs`."""
    geojson: str | None = None
    """Path of a file with one polygon, multipolygon, feature or collection, in degrees."""
    land: str | None = None
    """Path of a GeoJSON file with polygons, in degrees: shards that touch none of them are left out."""
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
    """A folder that may be shared: each output has one of its own in it. By default a folder in `output`."""
    keep_scratch: bool = False
    keep_reference: bool = False
    """Keeps the harmonised reference beside the mosaic, for pictures and notebooks."""
    store: Literal["zarr", "icechunk"] = "zarr"
    """Where the versions of the mosaic lie: in folders of plain Zarr, or in an Icechunk repository."""
    storage_options: dict[str, Any] = Field(default_factory=dict)
    """What s3fs tells the object store of output and scratch with each request, such as encryption; no login."""
    commit_every_s: Annotated[float, Field(ge=0.1, le=60)] = 20.0
    """How long what a run wrote may wait for its commit, with store: icechunk."""
    cog: Literal["auto", "always", "never"] = "auto"
    """Whether sr.tif is written beside the mosaic: auto does for a region of up to 2**31 px."""
    keep_versions: Annotated[int, Field(ge=2)] = 2
    """Published versions of a mosaic that are kept: a reader of the one before is not cut off."""
    on_conflict: Literal["refuse", "wait"] = "refuse"
    """What a run does while another one writes to the output."""
    lease_expire_s: Annotated[float, Field(ge=1, le=60)] = 45.0
    """How long a run must give no sign of life before another one takes its place."""
    model: ModelSettings = ModelSettings()
    sampling: Sampling = Sampling()
    tiling: Tiling = Tiling()
    compute: Compute = Compute()
    cost: Cost = Cost()
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
        unheard = sorted(self.storage_options.keys() - {"requester_pays"})
        if self.store == "icechunk" and unheard:
            raise ValueError(
                f"storage_options: a repository's own client sends no {', '.join(unheard)}: "
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

    Its `storage_options` are those of this process from then on.
    Raises RequestError with one sentence for each thing that is wrong.
    """
    if region in region_names():
        text = (resources.files("infra") / "regions" / f"{region}.yaml").read_text()
    else:
        try:
            text = Path(region).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise RequestError(
                f"region {region!r} is neither a name that ships ({_hint(region, region_names())}) "
                f"nor a file that can be read: {getattr(error, 'strerror', None) or error}"
            ) from error
    try:
        record = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RequestError(f"{region} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(record, dict):
        raise RequestError(f"{region} does not hold a mapping of settings")
    request = make_request(_merged(record, overrides or {}), region)
    use_storage(request.storage_options)
    return request


def make_request(record: dict[str, Any], where: str = "request") -> Request:
    """Validates a record. Raises RequestError."""
    try:
        request = Request.model_validate(record)
    except ValidationError as error:
        raise RequestError(f"{where}: " + "; ".join(map(_sentence, error.errors()))) from error
    request.grid()
    return request


def _sentence(error: Any) -> str:
    """What is wrong with which key; the value only where the words do not show it already."""
    place = ".".join(map(str, error["loc"])) or "request"
    if error["type"] == "extra_forbidden":
        return f"{place}: this key is not known{_meant(error['loc'])}"
    message, shown = error["msg"].removeprefix("Value error, "), error.get("input")
    if message.startswith(f"{place} "):
        return str(message)
    return f"{place}: {message}" if isinstance(shown, dict) else f"{place}: {message} (given {shown!r})"


def _meant(place: tuple[Any, ...]) -> str:
    """What may have been meant by a wrong key, as the rest of a sentence."""
    model: Any = Request
    for part in place[:-1]:
        field = model.model_fields.get(part) if hasattr(model, "model_fields") else None
        if field is None:
            return ""
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        model = next((kind for kind in kinds if hasattr(kind, "model_fields")), None)
    known = list(getattr(model, "model_fields", ()))
    return f": {_hint(str(place[-1]), known)}" if known else ""


def _hint(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, 1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"


def scratch_of(output: str, scratch: str | None) -> str:
    """Where staged pixels and tiles lie while a run needs them.

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
