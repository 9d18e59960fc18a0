"""publish: the pyramid, the group's visible attributes, one STAC item, one COG and one picture. Metadata last."""

from __future__ import annotations

import hashlib
import json
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import rasterio
import rasterio.shutil
from rasterio.windows import Window as RasterWindow

from dsdit.bands import BANDS
from dsdit.mosaic_group import level_url, mosaic_window
from dsdit.plan import Plan
from dsdit.radiometry import SR_ADD_OFFSET, SR_FILL, SR_SCALE_FACTOR
from dsdit.steps.picture import make_picture
from dsdit.steps.pyramid import build_pyramid
from dsdit.steps.report import Report
from dsdit.store import join, open_group, read_window, write_bytes, write_file, write_json
from dsdit.window import Window

PUBLISHED = {"mosaic": "mosaic.zarr", "picture": "picture.png", "item": "item.json", "cog": "sr.tif"}
"""What `publish` makes or completes, by its name below the folder."""
_MEDIA_TYPES = {".zarr": "application/vnd.zarr; version=3", ".icechunk": "application/vnd.zarr+icechunk"}


def publish(
    plan: Plan, folder: str, report: Report, when: datetime, mosaic: str | None = None, name: str = PUBLISHED["mosaic"]
) -> dict[str, str]:
    """Makes everything that readers see besides the shards of the mosaic; returns the locations.

    The mosaic lies at `mosaic`, by default in `folder`; readers find it as `name` beside what is written to `folder`.
    """
    places = {kind: join(folder, name) for kind, name in PUBLISHED.items()}
    places["mosaic"] = mosaic or places["mosaic"]
    levels = build_pyramid(plan, places["mosaic"])
    write_bytes(places["picture"], make_picture(plan, places["mosaic"]))
    write_cog(plan, places["mosaic"], places["cog"])
    write_json(places["item"], stac_item(plan, when, name).to_dict())
    root = open_group(places["mosaic"], "r+")
    root.attrs.update(group_attributes(plan, report, when, levels))
    return places


def group_attributes(plan: Plan, report: Report, when: datetime, levels: int) -> dict[str, Any]:
    """Attributes of the mosaic's root: what it is, of what it was made, and how. No locations, no secrets."""
    scales = [
        {"asset": str(k), "transform": {"scale": [2.0**k, 2.0**k], "translation": [0.0, 0.0]}} for k in range(levels)
    ]
    return {
        "title": f"Super-resolved mosaic of {plan.region.name}",
        "Conventions": "CF-1.11",
        "history": f"{when.isoformat()} published by dsdit",
        "comment": "Detail above the band limit of the low-resolution scenes is an estimate; "
        "see reference_weight, reference_age and residual in group lr.",
        "plan": plan.digest,
        "updated": when.isoformat(),
        "scale": plan.region.grid.scale,
        "gsd_m": plan.region.grid.gsd_m,
        "model": {"name": Path(plan.model.weights).name, "digest": plan.model.digest},
        "sampler": {
            "steps": plan.sampler.steps,
            "guidance_scale": plan.sampler.guidance_scale,
            "solver": plan.sampler.solver,
            "seed": plan.sampler.seed,
        },
        "items": [json.loads(name) for name in plan.item_names],
        "attribution": attributions(plan),
        "licence": sorted({str(s.get("licence", "")) for s in plan.sources.values()}),
        "jobs": report.jobs,
        "pixels": report.pixels,
        "multiscales": {"layout": scales, "resampling_method": "average"},
    }


def attributions(plan: Plan) -> list[str]:
    """What the sources ask to be said."""
    return sorted({str(s["attribution"]) for s in plan.sources.values() if s.get("attribution")})


def stac_item(plan: Plan, when: datetime, name: str = PUBLISHED["mosaic"]) -> pystac.Item:
    """One item that describes the mosaic, which lies beside it as `name`, with relative hrefs."""
    window = plan.region.window
    footprint = plan.region.lonlat()
    grid = plan.region.grid
    times = [datetime.fromisoformat(i["when"]) for i in plan.items] or [when]
    x0, y0, x1, y1 = grid.bounds_of(window, grid.gsd_m)
    lonlat = plan.region.lonlat(window)
    points = np.array(lonlat["coordinates"][0])  # type: ignore[index]
    item = pystac.Item(
        id=f"{plan.region.name}-sr",
        geometry=footprint,
        bbox=[float(v) for v in (*points.min(0), *points.max(0))],
        datetime=max(times),
        properties={
            "gsd": grid.gsd_m,
            "updated": when.isoformat(),
            "proj:code": grid.crs,
            "proj:bbox": [x0, y0, x1, y1],
            "proj:shape": list(window.shape),
            "proj:transform": [grid.gsd_m, 0.0, x0, 0.0, -grid.gsd_m, y1],
            "processing:software": {"dsdit": plan.model.digest[:12]},
            "providers": [],
        },
        stac_extensions=[
            "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
        ],
    )
    bands = [
        {"scale": SR_SCALE_FACTOR, "offset": SR_ADD_OFFSET, "nodata": int(SR_FILL), "data_type": "uint16"}
        for _ in BANDS
    ]
    item.add_asset("mosaic", pystac.Asset(f"./{name}", media_type=_MEDIA_TYPES[Path(name).suffix], roles=["data"]))
    item.add_asset(
        "sr",
        pystac.Asset("./sr.tif", media_type=pystac.MediaType.COG, roles=["data"], extra_fields={"raster:bands": bands}),
    )
    item.add_asset("picture", pystac.Asset("./picture.png", media_type=pystac.MediaType.PNG, roles=["overview"]))
    return item


def write_cog(plan: Plan, mosaic: str, url: str) -> None:
    """The region's window of level 0 as one COG (uint16, scale and offset tags), written block by block."""
    first, region = mosaic_window(plan), plan.region.window
    side = plan.lattice.shard_px
    grid = plan.region.grid
    profile = {
        "driver": "GTiff",
        "count": 3,
        "dtype": "uint16",
        "height": region.shape[0],
        "width": region.shape[1],
        "crs": grid.odc_crs.to_wkt(),
        "transform": grid.hr_geobox(region).transform,
        "nodata": int(SR_FILL),
        "tiled": True,
        "compress": "deflate",
        "photometric": "rgb",
        "bigtiff": "if_safer",
    }
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder) / "plain.tif", Path(folder) / "cog.tif"
        with rasterio.open(plain, "w", **profile) as file:
            for shard in region.coarsen(side).indices():
                part = plan.lattice.shard_window(shard).intersect(region)
                at = RasterWindow(part.col0 - region.col0, part.row0 - region.row0, part.shape[1], part.shape[0])
                file.write(read_window(level_url(mosaic, 0), "sr", first, part), window=at)
            file.scales, file.offsets = (SR_SCALE_FACTOR,) * 3, (SR_ADD_OFFSET,) * 3
            for number, name in enumerate(BANDS, 1):
                file.set_band_description(number, name)
        rasterio.shutil.copy(plain, packed, driver="COG", compress="deflate", overview_resampling="average")
        write_file(url, packed)


def mosaic_digest(plan: Plan, mosaic: str, window: Window | None = None) -> str:
    """sha256 of `sr` and `status` on a window of HR pixels (the region's by default)."""
    place = window or plan.region.window
    digest = hashlib.sha256()
    for name in ("sr", "status"):
        digest.update(
            np.ascontiguousarray(read_window(level_url(mosaic, 0), name, mosaic_window(plan), place)).tobytes()
        )
    return digest.hexdigest()
