"""Calibration rules: how the stored numbers (dn) of an item become reflectance.

A rule is a class with a `kind`, its settings and `scale_and_offset`. A new rule is one class here, and its name in
`Rule`; a source's YAML then selects it with `rule: {kind: ...}`.

Sentinel-2 L2A is stored as (reflectance + 0.1) * 10000 since processing baseline 04.00 and as reflectance * 10000
before it. Catalogs state this in different ways, and some contradict themselves: an item whose catalog has removed the
offset may still state it in its raster extension. The flag that the offset was removed comes first, then the raster
extension, then the number of the baseline.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pystac
from pydantic import Field

from catalogs.frozen import Frozen, kinds_of
from catalogs.json_fields import number_of
from dsdit.errors import CatalogError
from dsdit.imaging.radiometry import DEFAULT_CURVE, Curve

SENTINEL2_SCALE, SENTINEL2_OFFSET = 1e-4, -0.1
_BASELINE_WITH_OFFSET = 4
_OFFSET_REMOVED = ("earthsearch:boa_offset_applied", "s2:boa_offset_applied", "sentinel:boa_offset_applied")
_BASELINES = ("s2:processing_baseline", "processing:version", "sentinel:processing_baseline")


class FixedRule(Frozen):
    """reflectance = dn * scale + offset, the same for every item."""

    kind: Literal["fixed"] = "fixed"
    scale: float = Field(gt=0, allow_inf_nan=False)
    """Reflectance of one dn."""
    offset: float = Field(default=0.0, allow_inf_nan=False)
    """Reflectance of dn 0."""

    def scale_and_offset(self, item: pystac.Item, asset: str, index: int = 1) -> tuple[float, float]:
        """(scale, offset) of band `index` (from 1) of an asset, in reflectance."""
        return self.scale, self.offset


class StatedRule(Frozen):
    """reflectance = dn * scale + offset as each item states them in the raster extension, whose defaults are 1 and 0.

    An item that states neither is left out.
    """

    kind: Literal["stated"]

    def scale_and_offset(self, item: pystac.Item, asset: str, index: int = 1) -> tuple[float, float]:
        """(scale, offset) of band `index` (from 1) of an asset. Raises CatalogError where the item states neither."""
        scale, offset = stated_scale_and_offset(item.assets[asset], index)
        if scale is None and offset is None:
            raise CatalogError(
                f"asset {asset} states no scale and offset of band {index} (raster:scale, raster:offset)"
            )
        if scale is not None and scale <= 0:
            raise CatalogError(f"asset {asset} states scale {scale:g} of band {index}: it must be above 0")
        return 1.0 if scale is None else scale, offset or 0.0


class Sentinel2Rule(Frozen):
    """Sentinel-2 L2A: dn * 1e-4, and -0.1 since processing baseline 04.00 unless the catalog has removed the offset."""

    kind: Literal["sentinel2"]

    def scale_and_offset(self, item: pystac.Item, asset: str, index: int = 1) -> tuple[float, float]:
        """(scale, offset) of band `index` (from 1) of an asset. Raises CatalogError where the item states neither."""
        flags = [flag for key in _OFFSET_REMOVED if (flag := _given(item.properties.get(key))) is not None]
        scale, offset = stated_scale_and_offset(item.assets[asset], index)
        if flags and flags[0] is True:
            return SENTINEL2_SCALE, 0.0
        if scale is not None and offset is not None and scale > 0:
            return scale, offset
        baseline = next((value for key in _BASELINES if (value := _given(item.properties.get(key)))), None)
        try:
            major, *_ = (int(part) for part in str(baseline).split("."))
        except ValueError as error:
            raise CatalogError("it states neither an offset nor a processing baseline") from error
        return SENTINEL2_SCALE, SENTINEL2_OFFSET if major >= _BASELINE_WITH_OFFSET else 0.0


class DisplayRule(Frozen):
    """8-bit display images, by the inverse of the model's curve: 255 becomes `maximum`. This is an assumption."""

    kind: Literal["display"]
    maximum: float = Field(default=DEFAULT_CURVE.maximum, gt=0, allow_inf_nan=False)
    """Reflectance of value 255."""

    def scale_and_offset(self, item: pystac.Item, asset: str, index: int = 1) -> tuple[float, float]:
        """(scale, offset) of band `index` (from 1) of an asset, in reflectance."""
        return Curve(self.maximum).maximum / 255.0, 0.0


Rule = Annotated[FixedRule | StatedRule | Sentinel2Rule | DisplayRule, Field(discriminator="kind")]


def rule_kinds() -> dict[str, type[Frozen]]:
    """The rules that a source can name, by kind."""
    return kinds_of(Rule)


def stated_scale_and_offset(asset: pystac.Asset, index: int) -> tuple[float | None, float | None]:
    """Scale and offset of band `index` in the raster extension, each None where it is not stated.

    Version 1 has an entry of `raster:bands` for each band; in version 2 an entry of `bands` comes before the asset.
    Raises CatalogError where either is no list: it could have held the rule.
    """
    fields = asset.extra_fields
    version1, version2 = (_entry(_bands(fields, key), index) for key in ("raster:bands", "bands"))
    of_asset = {key: value for key, value in fields.items() if key.startswith("raster:")}
    for records in ([version1], [version2, of_asset]):
        scale, offset = (_first_number(records, key) for key in ("scale", "offset"))
        if scale is not None or offset is not None:
            return scale, offset
    return None, None


def _first_number(records: list[Mapping[str, Any]], key: str) -> float | None:
    """The first number that one of the records holds under the key, with the extension's prefix or without."""
    found = (number_of(record, prefix + key) for record in records for prefix in ("", "raster:"))
    return next((number for number in found if number is not None), None)


def _entry(bands: list[Any], index: int) -> Mapping[str, Any]:
    """The entry of band `index` (from 1); empty where the list is shorter or holds something else."""
    found = bands[index - 1] if len(bands) >= index else None
    return found if isinstance(found, Mapping) else {}


def _bands(fields: Mapping[str, Any], key: str) -> list[Any]:
    """The list under `key`, empty where there is none. Raises CatalogError for a value of another type."""
    bands = _given(fields.get(key))
    if bands is not None and not isinstance(bands, list):
        raise CatalogError(f"its {key} is {ascii(bands)[:80]}: a list of bands is expected")
    return bands or []


def _given(value: Any) -> Any:
    """The value; None for a number that is not finite, which a saved answer holds as null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
