"""The mosaic's empty template: groups, arrays, coordinates and the attributes that readers look for.

Template first, shards next, visible metadata last. x and y are pixel centres; the CF grid mapping is `spatial_ref`,
and each array has the GeoZarr conventions' `proj:code` and `spatial:transform`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from dsdit.errors import StoreError
from dsdit.mosaic.mosaic_arrays import REF, shard_specs
from dsdit.mosaic.versions import mosaic_store
from dsdit.plan.item_table import item_name
from dsdit.plan.plan import Plan
from dsdit.store.arrays import create_spec, forget_arrays, open_group
from dsdit.store.objects import join
from dsdit.window import Window


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
    """Creates the empty template, or checks that an existing one fits the plan: raises StoreError where it does not.

    Removes the group of references where the plan does not keep them.
    """
    forget_arrays()
    root, grid, window = open_group(url, "a"), plan.region.grid, mosaic_window(plan)
    specs = shard_specs(plan)
    lattices = {spec.group: spec.lattice for spec in specs}
    if REF.group in root and REF.group not in lattices:  # an earlier run kept the reference
        del root[REF.group]
    groups = {name: root.require_group(name) for name in lattices}
    for spec in specs:
        create_spec(groups[spec.group], spec, plan.lattice, len(plan.bands), plan.layout.mosaic_jobs_window.shape)
    for name, group in groups.items():
        if lattices[name] == "lr":
            write_coordinates(group, plan, window.coarsen(plan.lattice.scale), grid.lr_gsd_m)
        else:
            write_coordinates(group, plan, window, grid.gsd_m)


def write_coordinates(group: zarr.Group, plan: Plan, window: Window, gsd_m: float) -> None:
    """x and y of pixel centres, band names, and the grid mapping; conventions on the group and on each array."""
    grid = plan.region.grid
    rows, cols = window.shape
    x0, y0 = window.col0 * gsd_m, -window.row0 * gsd_m
    transform = [gsd_m, 0.0, x0, 0.0, -gsd_m, y0]
    there = group.attrs.get("spatial:transform")
    if there is not None and there != transform:
        raise StoreError(
            f"{group.store_path} covers another place ({there}) than this run would write ({transform}): "
            "choose another output, or remove this one"
        )
    _check_crs(group, plan)
    x = x0 + (np.arange(cols) + 0.5) * gsd_m
    y = y0 - (np.arange(rows) + 0.5) * gsd_m
    _coordinate(group, "x", x, {"standard_name": "projection_x_coordinate", "units": "m", "axis": "X"})
    _coordinate(group, "y", y, {"standard_name": "projection_y_coordinate", "units": "m", "axis": "Y"})
    _write_bands(group, plan.bands)
    crs = grid.odc_crs
    mapping = {
        **crs.proj.to_cf(),
        "spatial_ref": crs.to_wkt(),
        "GeoTransform": " ".join(repr(float(v)) for v in (x0, gsd_m, 0.0, y0, 0.0, -gsd_m)),
    }
    if "spatial_ref" not in group:
        group.create_array("spatial_ref", shape=(), dtype="int32", attributes=mapping, fill_value=0)
    spatial: dict[str, Any] = {
        **grid.crs_fields,
        "spatial:dimensions": ["y", "x"],
        "spatial:transform": transform,
        "spatial:shape": [rows, cols],
        "spatial:bbox": [x0, y0 - rows * gsd_m, x0 + cols * gsd_m, y0],
    }
    group.attrs.update({**spatial, "coordinates": "spatial_ref"})
    for _, array in group.arrays():
        if array.ndim >= 2:
            array.attrs.update(spatial)


def _check_crs(group: zarr.Group, plan: Plan) -> None:
    """Raises StoreError where the group's pixels are in another CRS.

    They are not written anew in the same output: versions that are kept, and readers that have one open, take its
    coordinates from this CRS, as they take its place and pixel size, which are refused in the same way.
    """
    if "spatial_ref" not in group:
        return
    wkt = str(group["spatial_ref"].attrs.get("spatial_ref", ""))
    if not plan.region.grid.same_crs(wkt):
        name = wkt.partition('"')[2].partition('"')[0]
        raise StoreError(
            f"{group.store_path} is in CRS {name!r}, and this run would write {plan.region.grid.odc_crs.proj.name!r} "
            f"(crs: {plan.region.grid.crs}): choose another output, or remove this one"
        )


def _coordinate(group: zarr.Group, name: str, values: NDArray[np.floating[Any]], attributes: dict[str, Any]) -> None:
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


def _write_bands(group: zarr.Group, bands: tuple[str, ...]) -> None:
    """The coordinate `band`. Raises StoreError where the group has other bands."""
    if "band" not in group:
        array = group.create_array("band", shape=(len(bands),), dtype="string", dimension_names=("band",))
        array[...] = np.array(bands, dtype=object)
        return
    there: Any = group["band"]
    if (names := tuple(map(str, there[...]))) != bands:
        raise StoreError(
            f"{group.store_path} has bands {', '.join(names)} where this run writes {', '.join(bands)}: "
            "choose another output, or remove this one"
        )


def published_names(output: str) -> tuple[str, ...]:
    """Names of the items whose numbers are in a published mosaic's arrays; none where nothing is published."""
    try:
        with mosaic_store(output).reading() as mosaic:
            items: Any = open_group(mosaic, "r").attrs.get("items", [])
    except StoreError:
        return ()
    return tuple(map(item_name, items))


def level_url(output: str, level: int) -> str:
    """Location of one level of the pyramid."""
    return join(output, str(level))
