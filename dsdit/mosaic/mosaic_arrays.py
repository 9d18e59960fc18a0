"""The arrays of a mosaic: name, group, lattice, type, fill and attributes of each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dsdit.imaging.radiometry import SR_ADD_OFFSET, SR_FILL, SR_SCALE_FACTOR
from dsdit.plan.plan import Plan
from dsdit.status import PixelStatus
from dsdit.store.array_spec import BAND_PIXELS, PIXELS, ArraySpec

_NAN = float("nan")
_FILL = int(SR_FILL)
_MAPPED = {"grid_mapping": "spatial_ref"}
_REFLECTANCE: dict[str, Any] = {
    "units": "1",
    "standard_name": "surface_bidirectional_reflectance",
    "scale_factor": SR_SCALE_FACTOR,
    "add_offset": SR_ADD_OFFSET,
    "_FillValue": _FILL,
}


def _of_lr(name: str, dims: tuple[str, ...], dtype: str, fill: float | int, attributes: dict[str, Any]) -> ArraySpec:
    return ArraySpec(name, "lr", "lr", dims, dtype, fill, {**attributes, **_MAPPED})


SR = ArraySpec(
    "sr",
    "0",
    "hr",
    BAND_PIXELS,
    "uint16",
    _FILL,
    {**_REFLECTANCE, **_MAPPED, "long_name": "super-resolved reflectance; detail is an estimate"},
)
STATUS = ArraySpec(
    "status",
    "0",
    "hr",
    PIXELS,
    "uint8",
    int(PixelStatus.OUTSIDE),
    {
        "flag_values": [int(s) for s in PixelStatus],
        "flag_meanings": " ".join(s.name.lower() for s in PixelStatus),
        "long_name": "what became of the pixel",
        **_MAPPED,
    },
)
REF = ArraySpec(
    "ref",
    "ref",
    "hr",
    BAND_PIXELS,
    "uint16",
    _FILL,
    {**_REFLECTANCE, **_MAPPED, "long_name": "reference in the radiometry of LR"},
)
LR = _of_lr(
    "lr",
    BAND_PIXELS,
    "uint16",
    _FILL,
    {**_REFLECTANCE, "long_name": "low-resolution reflectance: what was true"},
)
RESIDUAL = _of_lr(
    "residual",
    BAND_PIXELS,
    "float32",
    _NAN,
    {"units": "1", "long_name": "lr - A(sr) before restoring: what restoring had to correct"},
)
REFERENCE_WEIGHT = _of_lr(
    "reference_weight",
    PIXELS,
    "float32",
    _NAN,
    {"units": "1", "long_name": "share of the reference in patch-level weighting; 0 where there was none"},
)
REFERENCE_AGE = _of_lr(
    "reference_age",
    PIXELS,
    "float32",
    _NAN,
    {"units": "days", "long_name": "from the reference's date to the low-resolution scene's"},
)
LR_ITEM = _of_lr("lr_item", PIXELS, "int32", -1, {"long_name": "number of the scene in the group's `items`"})
REF_ITEM = _of_lr("ref_item", PIXELS, "int32", -1, {"long_name": "number of the reference in the group's `items`"})

LEVEL_ARRAYS = (SR, STATUS)
"""Arrays of level 0, and of each coarser level; see `on_level`."""
LR_ARRAYS = (LR, RESIDUAL, REFERENCE_WEIGHT, REFERENCE_AGE, LR_ITEM, REF_ITEM)
"""Arrays of group `lr`."""


def shard_specs(plan: Plan) -> tuple[ArraySpec, ...]:
    """Every array of which a mosaic job writes a shard: level 0, group `lr`, and group `ref` where it is kept."""
    return (*LEVEL_ARRAYS, *((REF,) if plan.keep_reference else ()), *LR_ARRAYS)


def on_level(spec: ArraySpec, level: int) -> ArraySpec:
    """`SR` or `STATUS` on a level of the pyramid."""
    return replace(spec, group=str(level))
