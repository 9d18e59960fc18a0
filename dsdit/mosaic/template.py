"""The mosaic group: its empty template, its coordinates and the attributes that readers look for.

Template first, shards next, visible metadata last. x and y are pixel centres; CF `grid_mapping` stands in
`spatial_ref`, and each array names the GeoZarr conventions' `proj:code` and `spatial:transform`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import zarr

from dsdit.bands import BANDS
from dsdit.errors import StoreError
from dsdit.imaging.radiometry import SR_ADD_OFFSET, SR_FILL, SR_SCALE_FACTOR
from dsdit.mosaic.versions import mosaic_store
from dsdit.plan.item_table import item_name
from dsdit.plan.plan import Plan
from dsdit.status import PixelStatus
from dsdit.store.arrays import create_array, forget_arrays, open_group
from dsdit.store.objects import join
from dsdit.window import Window

REFLECTANCE = {
    "units": "1",
    "standard_name": "surface_bidirectional_reflectance",
    "scale_factor": SR_SCALE_FACTOR,
    "add_offset": SR_ADD_OFFSET,
    "_FillValue": int(SR_FILL),
}
STATUS = {
    "flag_values": [int(s) for s in PixelStatus],
    "flag_meanings": " ".join(s.name.lower() for s in PixelStatus),
    "long_name": "what became of the pixel",
}
LR_ARRAYS: dict[str, tuple[int, str, Any, dict[str, Any]]] = {
    "lr": (
        3,
        "uint16",
        int(SR_FILL),
        {**REFLECTANCE, "long_name": "low-resolution reflectance: what was true"},
    ),
    "residual": (
        3,
        "float32",
        float("nan"),
        {"units": "1", "long_name": "lr - A(sr) before restoring: what restoring had to correct"},
    ),
    "reference_weight": (
        0,
        "float32",
        float("nan"),
        {
            "units": "1",
            "long_name": "share of the reference in patch-level weighting; 0 where there was none",
        },
    ),
    "reference_age": (
        0,
        "float32",
        float("nan"),
        {"units": "days", "long_name": "from the reference's date to the low-resolution scene's"},
    ),
    "lr_item": (0, "int32", -1, {"long_name": "number of the scene in the group's `items`"}),
    "ref_item": (0, "int32", -1, {"long_name": "number of the reference in the group's `items`"}),
}
"""Arrays of group `lr`: bands (0 for none), dtype, fill, attributes."""


def mosaic_window(plan: Plan) -> Window:
    """HR pixels of the mosaic's arrays: whole shards around the region."""
    return plan.layout.mosaic_jobs_window.refine(plan.lattice.shard_px)


def level_count(plan: Plan) -> int:
    """Levels of the pyramid: halved until a side is under one chunk, while chunks stay whole."""
    side, levels = max(mosaic_window(plan).shape), 1
    while side > 512 and plan.lattice.shard_px % 2**levels == 0 and levels < 8:
        side, levels = side // 2, levels + 1
    return levels


def create_mosaic(plan: Plan, url: str) -> None:
    """Makes the empty template, or checks that the one that is there fits the plan."""
    forget_arrays()
    lattice, scale = plan.lattice, plan.lattice.scale
    window = mosaic_window(plan)
    root = open_group(url, "a")
    side, chunk = lattice.shard_px, lattice.chunk_px
    group = root.require_group("0")
    create_level(group, window.shape, chunk, side)
    write_coordinates(group, plan, window, plan.region.grid.gsd_m)
    if plan.keep_reference:
        ref = root.require_group("ref")
        create_array(
            ref,
            "ref",
            (3, *window.shape),
            (3, chunk, chunk),
            (3, side, side),
            "uint16",
            int(SR_FILL),
            ("band", "y", "x"),
            {**REFLECTANCE, "grid_mapping": "spatial_ref", "long_name": "reference in the radiometry of LR"},
        )
        write_coordinates(ref, plan, window, plan.region.grid.gsd_m)
    lr = root.require_group("lr")
    rows, cols = window.coarsen(scale).shape
    for name, (bands, dtype, fill, attributes) in LR_ARRAYS.items():
        lead = (bands,) if bands else ()
        create_array(
            lr,
            name,
            (*lead, rows, cols),
            (*lead, chunk // scale, chunk // scale),
            (*lead, side // scale, side // scale),
            dtype,
            fill,
            ("band", "y", "x") if bands else ("y", "x"),
            {**attributes, "grid_mapping": "spatial_ref"},
        )
    write_coordinates(lr, plan, window.coarsen(scale), plan.region.grid.lr_gsd_m)


def create_level(group: zarr.Group, shape: tuple[int, int], chunk: int, shard: int) -> None:
    """`sr` and `status` of one level."""
    create_array(
        group,
        "sr",
        (3, *shape),
        (3, chunk, chunk),
        (3, shard, shard),
        "uint16",
        int(SR_FILL),
        ("band", "y", "x"),
        {
            **REFLECTANCE,
            "grid_mapping": "spatial_ref",
            "long_name": "super-resolved reflectance; detail is an estimate",
        },
    )
    create_array(
        group,
        "status",
        shape,
        (chunk, chunk),
        (shard, shard),
        "uint8",
        0,
        ("y", "x"),
        {**STATUS, "grid_mapping": "spatial_ref"},
    )


def write_coordinates(group: zarr.Group, plan: Plan, window: Window, gsd_m: float) -> None:
    """x and y of pixel centres, band names, and the grid mapping; conventions on the group and on each array."""
    grid = plan.region.grid
    rows, cols = window.shape
    x0, y0 = window.col0 * gsd_m, -window.row0 * gsd_m
    transform = [gsd_m, 0.0, x0, 0.0, -gsd_m, y0]
    there = group.attrs.get("spatial:transform")
    if there is not None and there != transform:
        raise StoreError(
            f"{group.store_path} lies elsewhere ({there}) than this run would write ({transform}): "
            "choose another output, or remove this one"
        )
    x = x0 + (np.arange(cols) + 0.5) * gsd_m
    y = y0 - (np.arange(rows) + 0.5) * gsd_m
    _coordinate(group, "x", x, {"standard_name": "projection_x_coordinate", "units": "m", "axis": "X"})
    _coordinate(group, "y", y, {"standard_name": "projection_y_coordinate", "units": "m", "axis": "Y"})
    if "band" not in group:
        bands = group.create_array("band", shape=(len(BANDS),), dtype="string", dimension_names=("band",))
        bands[...] = np.array(BANDS, dtype=object)
    crs = grid.odc_crs
    mapping = {
        **crs.proj.to_cf(),
        "spatial_ref": crs.to_wkt(),
        "GeoTransform": " ".join(repr(float(v)) for v in (x0, gsd_m, 0.0, y0, 0.0, -gsd_m)),
    }
    if "spatial_ref" not in group:
        group.create_array("spatial_ref", shape=(), dtype="int32", attributes=mapping, fill_value=0)
    epsg = crs.to_epsg()
    code = {"proj:code": f"EPSG:{epsg}"} if epsg else {"proj:wkt2": crs.to_wkt()}
    spatial: dict[str, Any] = {
        **code,
        "spatial:dimensions": ["y", "x"],
        "spatial:transform": transform,
        "spatial:shape": [rows, cols],
        "spatial:bbox": [x0, y0 - rows * gsd_m, x0 + cols * gsd_m, y0],
    }
    group.attrs.update({**spatial, "coordinates": "spatial_ref"})
    for _, array in group.arrays():
        if array.ndim >= 2:
            array.attrs.update(spatial)


def _coordinate(group: zarr.Group, name: str, values: np.ndarray, attributes: dict[str, Any]) -> None:
    if name in group:
        return
    array = group.create_array(
        name,
        shape=values.shape,
        chunks=values.shape,
        dtype=values.dtype,
        dimension_names=(name,),
        attributes=attributes,
    )
    array[...] = values


def published_names(output: str) -> tuple[str, ...]:
    """Names of the items whose numbers a published mosaic's arrays hold; none where nothing is published."""
    try:
        with mosaic_store(output).reading() as mosaic:
            items: Any = open_group(mosaic, "r").attrs.get("items", [])
    except StoreError:
        return ()
    return tuple(map(item_name, items))


def level_url(output: str, level: int) -> str:
    """Location of one level of the pyramid."""
    return join(output, str(level))
