"""How dn become reflectance and what masks clouds: the rules that a source can state, and what they say of one item.

Sentinel-2 L2A is stored as (reflectance + 0.1) * 10000 since processing baseline 04.00 and as reflectance * 10000
before it. Catalogs tell this in unlike ways, and some contradict themselves: an item whose catalog took the offset off
may still carry it in its raster extension. What was done to the pixels is believed first, then the raster extension,
then the number of the baseline.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pystac
from pydantic import BaseModel, ConfigDict, Field

from catalogs.json_fields import number_of
from dsdit.errors import CatalogError
from dsdit.imaging.radiometry import DEFAULT_CURVE, Curve

SENTINEL2_SCALE, SENTINEL2_OFFSET = 1e-4, -0.1
_BASELINE_WITH_OFFSET = 4
_APPLIED = ("earthsearch:boa_offset_applied", "s2:boa_offset_applied", "sentinel:boa_offset_applied")
_BASELINES = ("s2:processing_baseline", "processing:version", "sentinel:processing_baseline")


class Record(BaseModel):
    """What a person writes: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FixedRule(Record):
    """reflectance = dn * scale + offset, the same for every item."""

    kind: Literal["fixed"] = "fixed"
    scale: float = Field(gt=0)
    offset: float = 0.0


class StatedRule(Record):
    """reflectance = dn * scale + offset as each item states them in the raster extension, whose defaults are 1 and 0.

    An item that states neither is left.
    """

    kind: Literal["stated"]


class Sentinel2Rule(Record):
    """Sentinel-2 L2A: dn * 1e-4, and -0.1 since processing baseline 04.00 unless the catalog took it off already."""

    kind: Literal["sentinel2"]


class DisplayRule(Record):
    """8-bit display images, by the inverse of the model's curve: 255 becomes `maximum`. An assumption, and said so."""

    kind: Literal["display"]
    maximum: float = Field(default=DEFAULT_CURVE.maximum, gt=0)
    """Reflectance of value 255."""


class SclMask(Record):
    """Sentinel-2's scene classification, or any image of integer classes."""

    kind: Literal["scl"]
    asset: str = "scl"
    cloud: tuple[int, ...] = (3, 8, 9, 10)
    """Classes that are cloud or its shadow."""
    nodata: tuple[int, ...] = (0, 1)
    """Classes that hold no usable value."""


Bit = Annotated[int, Field(ge=0, lt=16)]


class BitMask(Record):
    """Landsat's QA_PIXEL, or any image whose bits are flags."""

    kind: Literal["bits"]
    asset: str = "qa_pixel"
    cloud: tuple[Bit, ...] = (1, 2, 3, 4)
    """Bits of cloud or its shadow: dilated cloud, cirrus, cloud, cloud shadow."""
    nodata: tuple[Bit, ...] = (0,)
    """Bits of pixels that hold no usable value: fill."""


class NoMask(Record):
    """The source has no cloud mask: every pixel with data is taken as clear."""

    kind: Literal["none"] = "none"


Rule = Annotated[FixedRule | StatedRule | Sentinel2Rule | DisplayRule, Field(discriminator="kind")]
Mask = Annotated[SclMask | BitMask | NoMask, Field(discriminator="kind")]


def scale_and_offset(rule: Rule, item: pystac.Item, asset: str, index: int = 1) -> tuple[float, float]:
    """(scale, offset) of band `index` (from 1) of an asset. Raises CatalogError where the item does not tell."""
    if isinstance(rule, FixedRule):
        return rule.scale, rule.offset
    if isinstance(rule, DisplayRule):
        return Curve(rule.maximum).maximum / 255.0, 0.0
    scale, offset = _stated(item.assets[asset], index)
    if isinstance(rule, StatedRule):
        if scale is None and offset is None:
            raise CatalogError(
                f"asset {asset} states no scale and offset of band {index} (raster:scale, raster:offset)"
            )
        if scale is not None and scale <= 0:
            raise CatalogError(f"asset {asset} states scale {scale:g} of band {index}: it must be above 0")
        return 1.0 if scale is None else scale, offset or 0.0
    properties = item.properties
    if next((v for key in _APPLIED if (v := _given(properties.get(key))) is not None), None) is True:
        return SENTINEL2_SCALE, 0.0
    if scale is not None and offset is not None and scale > 0:
        return scale, offset
    baseline = next((v for key in _BASELINES if (v := _given(properties.get(key)))), None)
    try:
        first, *_ = (int(part) for part in str(baseline).split("."))
    except ValueError as error:
        raise CatalogError("it states neither an offset nor a processing baseline") from error
    return SENTINEL2_SCALE, SENTINEL2_OFFSET if first >= _BASELINE_WITH_OFFSET else 0.0


def _stated(asset: pystac.Asset, index: int) -> tuple[float | None, float | None]:
    """Scale and offset of band `index` in the raster extension, each None where it is not stated.

    Version 1 has an entry of `raster:bands` for each band; in version 2 an entry of `bands` comes before the asset.
    """
    fields = asset.extra_fields
    own, later = (_entry(_bands(fields, key), index) for key in ("raster:bands", "bands"))
    for places in ([own], [later, {k: v for k, v in fields.items() if k.startswith("raster:")}]):
        scale, offset = (
            next((n for place in places for p in ("", "raster:") if (n := number_of(place, p + key)) is not None), None)
            for key in ("scale", "offset")
        )
        if scale is not None or offset is not None:
            return scale, offset
    return None, None


def _entry(bands: list[Any], index: int) -> Mapping[str, Any]:
    """What a list of bands says of band `index`: nothing where it is shorter."""
    found = bands[index - 1] if len(bands) >= index else None
    return found if isinstance(found, Mapping) else {}


def _bands(fields: Mapping[str, Any], key: str) -> list[Any]:
    """The list below `key`. Raises CatalogError where something else stands there: it could have held the rule."""
    bands = _given(fields.get(key))
    if bands is not None and not isinstance(bands, list):
        raise CatalogError(f"its {key} is {ascii(bands)[:80]}: a list of bands is expected")
    return bands or []


def _given(value: Any) -> Any:
    """The value; None for a number that is not finite, which is kept as null in an answer."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
