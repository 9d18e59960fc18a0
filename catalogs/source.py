"""Source: the description of one STAC collection, as data.

It names the endpoint of the collection, the asset of each band, the calibration rule, the cloud mask, the schemes,
hosts and drivers that may be used, and the licence of the pixels. Sources are YAML files; a user's own file is used
like the shipped ones. A local catalog is a source whose endpoint is a path, which the request may give.
"""

from __future__ import annotations

import hashlib
import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, model_validator

from catalogs.calibration import Rule
from catalogs.cql2_filter import check_filter
from catalogs.frozen import Frozen
from catalogs.masks import Mask, NoMask
from dsdit.bands import BANDS
from dsdit.errors import RequestError
from dsdit.imaging.sensor import BOX_MTF, EVALUATION_MTF
from dsdit.plan.licences import YEAR
from dsdit.yaml_text import read_yaml

SOURCES_FOLDER = Path(__file__).parent / "sources"
_PLACEHOLDER = re.compile(r"\{[^}]*\}")
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Band(Frozen):
    """Where one band is stored."""

    asset: str
    """Key of the asset in the STAC item."""
    index: int = Field(default=1, ge=1)
    """Band of the file, from 1."""


class Source(Frozen):
    """One STAC collection. Raises pydantic's ValidationError; `load_source` turns it into a sentence."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    """Name of the source: lower-case letters, digits and dashes."""
    role: Literal["lr", "ref"]
    """Whether it has low-resolution scenes (`lr`) or high-resolution references (`ref`)."""
    endpoint: str | None = None
    """STAC API (https); items.json, items.parquet or catalog.json (https or a path); a folder; None: the request's."""
    collection: str | None = None
    """Id of the collection; None takes every item of a local catalog."""
    bands: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")], Band]
    """Red, green, blue, and any other band by a name of its own."""
    rule: Rule
    """How dn become reflectance."""
    mask: Mask = NoMask()
    """What is cloud, and what holds no value."""
    where: str | None = None
    """CQL2 text that items must satisfy, to keep out another instrument or product; never to choose between scenes."""
    alternate: str | None = None
    """Name in the alternate-assets extension whose href is taken, where an asset has it."""
    nodata: float | None = None
    """dn of bands without data, whatever their files declare; None: each file's own, as a mask's file always has."""
    alpha: bool = True
    """Whether a band that the file calls alpha takes pixels away; NAIP's near infrared is often called so."""
    gsd_m: float = Field(gt=0)
    """Pixel size of its images, in metres."""
    mtf_nyquist: float = Field(default=EVALUATION_MTF, gt=0, lt=BOX_MTF)
    """Total MTF at the LR Nyquist frequency (of an `lr` source)."""
    schemes: tuple[Literal["https", "http", "s3"], ...] = ("https",)
    """Schemes of assets that may be followed; http only to this machine."""
    hosts: tuple[str, ...] = ()
    """Hosts of assets, exact or `*.domain`; for s3 the buckets."""
    folders: tuple[str, ...] = ()
    """Folders outside a local catalog's own whose files it may name; relative ones to the source's file."""
    drivers: tuple[Literal["GTiff", "COG", "JP2OpenJPEG"], ...] = ("GTiff", "COG")
    """What GDAL may take a file for."""
    signing: Literal["none", "planetary-computer", "aws"] = "none"
    """How URLs or requests are signed; aws takes the environment's credentials to the source's own buckets."""
    requester_pays: bool = False
    """Whether you pay for requests to its buckets; needs AWS credentials in the environment."""
    licence: str
    """Licence of the pixels, as text or SPDX identifier."""
    attribution: str
    """Credit that users of the pixels must give; {year} is replaced by the years of the items that were used."""
    derivatives: Literal["yes", "no", "non-commercial"]
    """Whether the licence permits derived images such as a mosaic."""

    @model_validator(mode="after")
    def _check(self) -> Source:
        if self.where is not None:
            check_filter(self.where)
        if strange := set(_PLACEHOLDER.findall(self.attribution)) - {YEAR}:
            raise ValueError(f"attribution has {', '.join(sorted(strange))}: only {YEAR} is filled in")
        if missing := [band for band in BANDS if band not in self.bands]:
            raise ValueError(f"bands lack {', '.join(missing)}: {', '.join(BANDS)} are needed")
        url = urlsplit(self.endpoint or "")
        if self.is_local:
            if url.scheme and not (self.endpoint or "").startswith("/"):
                raise ValueError(f"endpoint {self.endpoint!r} is neither https nor a path")
        elif url.username or url.password or url.query:
            raise ValueError(f"endpoint on {url.hostname} carries a login or query: give the plain address")
        elif url.scheme == "http" and not ("http" in self.schemes and url.hostname in LOOPBACK):
            raise ValueError(f"endpoint {self.endpoint} is http: only https, or http to 127.0.0.1 with schemes [http]")
        if not self.is_local and not self.collection:
            raise ValueError("collection is missing: a query to a STAC API names one collection")
        return self

    @property
    def is_local(self) -> bool:
        """Whether the catalog is on this machine."""
        return not (self.endpoint or "").startswith(("https://", "http://"))

    @property
    def root(self) -> Path:
        """Folder that contains every file of a local catalog. Raises RequestError where no endpoint is given."""
        if self.endpoint is None or not self.is_local:
            raise RequestError(f"source {self.name} has no local endpoint: name its items.json, catalog.json or folder")
        path = Path(self.endpoint)
        return path if path.is_dir() else path.parent

    @property
    def band_names(self) -> tuple[str, ...]:
        """Red, green and blue, then the other bands in the record's order: that of an item's `scale` and `offset`."""
        return (*BANDS, *(name for name in self.bands if name not in BANDS))

    @property
    def assets(self) -> tuple[str, ...]:
        """Keys of all assets that are read, mask included, each once, in a fixed order."""
        return tuple(dict.fromkeys([*(self.bands[band].asset for band in self.band_names), *self.mask.assets]))

    @cached_property
    def digest(self) -> str:
        """sha256 of what decides pixels: bands, rule, masks, nodata, MTF; neither endpoint, hosts nor licence."""
        content = self.model_dump_json(include={"bands", "rule", "mask", "nodata", "alpha", "mtf_nyquist"})
        return hashlib.sha256(content.encode()).hexdigest()

    def at(self, endpoint: str | Path, base: Path | None = None) -> Source:
        """The same source at another endpoint; a path is relative to `base`, or to the working folder. RequestError."""
        text = str(endpoint)
        if not text.startswith(("https://", "http://")):
            text = str(((base or Path.cwd()) / text).absolute())
        return _validated({**self.model_dump(), "endpoint": text}, self.name)


def known_sources() -> tuple[str, ...]:
    """Names of the shipped sources."""
    return tuple(sorted(path.stem for path in SOURCES_FOLDER.glob("*.yaml")))


def load_source(name_or_path: str | Path, base: Path | None = None) -> Source:
    """A shipped source by name, or a user's YAML by path, relative to `base` or to the working folder.

    An endpoint that is a path is relative to the folder of the YAML file; in a source that ships, to the working
    folder. Raises RequestError with the names that are known.
    """
    text = str(name_or_path)
    if text in known_sources():
        path, folder = SOURCES_FOLDER / f"{text}.yaml", Path.cwd()
    else:
        path = (base or Path.cwd()) / text
        folder = path.parent
        if not text.endswith((".yaml", ".yml")) or not path.is_file():
            raise RequestError(f"source {text!r} is not known: use a YAML file or one of {', '.join(known_sources())}")
    try:
        record = read_yaml(path)
    except (OSError, ValueError) as error:
        raise RequestError(f"source {text!r} cannot be read: {error}") from error
    if not isinstance(record, dict):
        raise RequestError(f"source {text!r} is no mapping: see the shipped ones in catalogs/sources")
    if isinstance(folders := record.get("folders"), list) and all(isinstance(one, str) for one in folders):
        record["folders"] = [str((folder / one).absolute()) for one in folders]
    source = _validated(record, text)
    return source if source.endpoint is None or not source.is_local else source.at(source.endpoint, folder)


def _validated(record: dict[str, object], name: str) -> Source:
    try:
        return Source.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise RequestError(f"source {name!r}, {key or 'record'}: {first['msg']}") from error
