"""Calibration rules: how the stored numbers (dn) of an item become reflectance.

A rule is a class with a `kind`, its settings and `scale_and_offset`. A new rule is one class here, and its name in
`Rule`; a source's YAML then selects it with `rule: {kind: ...}`.

Sentinel-2 L2A is stored as (reflectance + 0.1) * 10000 since processing baseline 04.00 and as reflectance * 10000
before it. Catalogs state this in different ways, and some contradict themselves: an item whose catalog has removed the
offset may still state it in its raster extension, and generic tools write the defaults of a file, scale 1 and offset 0.
The flag that the offset was removed comes first, then plausible values of the raster extension, then the number of the
baseline.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import pystac
from pydantic import Field

from catalogs.frozen import Frozen, kinds_of
from catalogs.json_fields import number_of
from dsdit.errors import CatalogError
from dsdit.imaging.radiometry import DEFAULT_CURVE, Curve

SENTINEL2_SCALE, SENTINEL2_OFFSET = 1e-4, -0.1
SENTINEL2_SCALES, SENTINEL2_OFFSETS = (1e-5, 1e-3), (-1.0, 0.0)
"""Smallest and largest values of the raster extension that are accepted for Sentinel-2."""
_BASELINE_WITH_OFFSET = 4
_OFFSET_REMOVED = ("earthsearch:boa_offset_applied", "s2:boa_offset_applied", "sentinel:boa_offset_applied")
_BASELINES = ("s2:processing_baseline", "processing:version", "sentinel:processing_baseline")
_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_DOTTED, _JOINED = re.compile(r"N?(\d{1,2})(\.\d+)*", re.IGNORECASE), re.compile(r"N?(\d{1,2})\d\d", re.IGNORECASE)

OnIgnored = Callable[[str, str], None]
"""Called with the name of a field that is left out, and the reason."""


def _unreported(field: str, reason: str) -> None:
    """Reports nothing."""


class FixedRule(Frozen):
    """reflectance = dn * scale + offset, the same for every item."""

    kind: Literal["fixed"] = "fixed"
    scale: float = Field(gt=0, allow_inf_nan=False)
    """Reflectance of one dn."""
    offset: float = Field(default=0.0, allow_inf_nan=False)
    """Reflectance of dn 0."""

    def scale_and_offset(
        self, item: pystac.Item, asset: str, index: int = 1, on_ignored: OnIgnored = _unreported
    ) -> tuple[float, float]:
        """(scale, offset) of band `index` (from 1) of an asset, in reflectance."""
        return self.scale, self.offset


class StatedRule(Frozen):
    """reflectance = dn * scale + offset as each item states them in the raster extension, whose defaults are 1 and 0.

    An item that states neither is left out.
    """

    kind: Literal["stated"]

    def scale_and_offset(
        self, item: pystac.Item, asset: str, index: int = 1, on_ignored: OnIgnored = _unreported
    ) -> tuple[float, float]:
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

    def scale_and_offset(
        self, item: pystac.Item, asset: str, index: int = 1, on_ignored: OnIgnored = _unreported
    ) -> tuple[float, float]:
        """(scale, offset) of band `index` (from 1) of an asset. Raises CatalogError where the item states neither."""
        if _offset_removed(item.properties, on_ignored):
            return SENTINEL2_SCALE, 0.0
        scale, offset = stated_scale_and_offset(item.assets[asset], index)
        reason = _implausible(item.assets[asset], index)
        if scale is not None and offset is not None and reason is None:
            return scale, offset
        if reason is not None:
            on_ignored(f"raster:bands of {asset}", f"{reason}: the processing baseline decides")
        baseline = _baseline(item.properties, on_ignored)
        if baseline is None:
            raise CatalogError(
                "it states neither an offset nor a processing baseline" + (f"; {reason}" if reason else "")
            )
        return SENTINEL2_SCALE, SENTINEL2_OFFSET if baseline >= _BASELINE_WITH_OFFSET else 0.0


def _offset_removed(properties: Mapping[str, Any], on_ignored: OnIgnored) -> bool:
    """Whether the first flag that is true or false, as JSON's own, a number or text, is true."""
    for key in _OFFSET_REMOVED:
        value = _given(properties.get(key))
        flag = _FLAGS.get(str(value).strip().lower().removesuffix(".0"))
        if flag is not None:
            return flag
        if value is not None:
            on_ignored(key, f"{key} is {ascii(value)[:40]}, neither true nor false: left out")
    return False


def _baseline(properties: Mapping[str, Any], on_ignored: OnIgnored) -> int | None:
    """Major number of the first baseline that can be read, such as 4 of "04.00", "N0400", 4.0 and "0400"."""
    for key in _BASELINES:
        value = _given(properties.get(key))
        text = "" if isinstance(value, bool) else str(value).strip()
        if found := _DOTTED.fullmatch(text) or _JOINED.fullmatch(text):
            return int(found[1])
        if value:
            on_ignored(key, f"{key} is {ascii(value)[:40]}, no processing baseline: left out")
    return None


def _implausible(asset: pystac.Asset, index: int) -> str | None:
    """Why scale and offset of a band of Sentinel-2 are not used; None where they can be, or where there are none."""
    scale, offset = stated_scale_and_offset(asset, index)
    if scale is None and offset is None:
        return None
    for name, value, (least, most) in (("scale", scale, SENTINEL2_SCALES), ("offset", offset, SENTINEL2_OFFSETS)):
        if value is not None and not least <= value <= most:
            return f"it states {name} {value:g}, which is not from {least:g} to {most:g}"
    entries = _bands(asset.extra_fields, "raster:bands")
    stated = {tuple(number_of(entry, key) for key in ("scale", "offset")) for entry in entries} - {(None, None)}
    if len(stated) > 1:
        return f"it states {len(stated)} different scales and offsets for the bands of one asset"
    return None


class DisplayRule(Frozen):
    """8-bit display images, by the inverse of the model's curve: 255 becomes `maximum`. This is an assumption."""

    kind: Literal["display"]
    maximum: float = Field(default=DEFAULT_CURVE.maximum, gt=0, allow_inf_nan=False)
    """Reflectance of value 255."""

    def scale_and_offset(
        self, item: pystac.Item, asset: str, index: int = 1, on_ignored: OnIgnored = _unreported
    ) -> tuple[float, float]:
        """(scale, offset) of band `index` (from 1) of an asset, in reflectance."""
        return Curve(self.maximum).maximum / 255.0, 0.0


def check_dtype(rule: Rule, dtype: str, scale: float, offset: float) -> None:
    """Raises ValueError where pixels of this type certainly are no reflectance under the rule's scale and offset."""
    if isinstance(rule, DisplayRule) and dtype != "uint8":
        raise ValueError(
            f"its pixels are {dtype}, and rule display is for 8-bit pictures: use rule fixed with the scale of {dtype}"
        )
    if dtype == "uint8" and (most := 255 * scale + offset) < LEAST_MAXIMUM:
        raise ValueError(
            f"its pixels are uint8, which under scale {scale:g} and offset {offset:g} reach {most:.3g} in reflectance "
            "at most: is it a picture for display (rule display)?"
        )


LEAST_MAXIMUM = 0.05
"""Reflectance of value 255 under which an 8-bit file holds no picture of the ground."""

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
