"""COGs and a static STAC catalog of the sample region, with relative links only.

The proportions of real catalogs are kept: single-band assets at two resolutions with scale and offset like
Sentinel-2's, one multi-band asset like NAIP's, and the second version of the projection extension.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import rasterio
from affine import Affine
from numpy.typing import NDArray
from shapely.geometry import Polygon, box, shape

from catalogs.sample_region.flights import Flight
from catalogs.sample_region.frame import CRS, GSD_M, LR_GSD_M, SCALE, Frame, lonlat
from catalogs.sample_region.scenes import LrScene
from dsdit.bands import BANDS

LR_COLLECTION, REF_COLLECTION = "sample-lr", "sample-ref"
_EXTENSIONS = [
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
    "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
]


def write_cog(
    path: Path,
    values: NDArray[Any],
    crs: str,
    grid: Affine,
    nodata: int | None,
    overviews: str = "average",
    rules: tuple[float, float] | None = None,
) -> None:
    """`values` (bands, rows, columns) as a COG; `rules` are the scale and offset in the file's metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="COG", height=values.shape[1], width=values.shape[2], count=values.shape[0],
        dtype=values.dtype.name, crs=crs, transform=grid, nodata=nodata, compress="DEFLATE", level=1, predictor=2,
        blocksize=256, overview_resampling=overviews,
    ) as target:  # fmt: skip
        target.write(values)
        if rules:
            target.scales = [rules[0]] * values.shape[0]
            target.offsets = [rules[1]] * values.shape[0]


def write_truth(folder: Path, truth: NDArray[Any], frame: Frame) -> None:
    """`truth/hr.tif`: reflectance times 10000, red, green, blue, the whole landscape."""
    dn = np.clip(np.rint(truth[:3] * 10_000), 0, 65535).astype(np.uint16)
    write_cog(folder / "truth" / "hr.tif", dn, CRS, frame.affine(GSD_M), None, rules=(1e-4, 0.0))


def write_lr(folder: Path, scene: LrScene) -> pystac.Item:
    """Files and item of one LR scene."""
    place = folder / LR_COLLECTION / scene.id
    geometry = lonlat(scene.crs, scene.valid)
    properties = {"eo:cloud_cover": scene.cloud_cover, "platform": "sample", "gsd": LR_GSD_M,
                  "s2:processing_baseline": "05.10"}  # fmt: skip
    item = _item(scene.id, geometry, scene.when, scene.crs, properties)
    for name, band in zip(BANDS, scene.dn, strict=True):
        write_cog(place / f"{name}.tif", band[None], scene.crs, scene.grid, 0)
        rule = {"nodata": 0, "data_type": "uint16", "spatial_resolution": LR_GSD_M, "scale": 1e-4, "offset": -0.1}
        fields = {"eo:bands": [{"name": name, "common_name": name}], "raster:bands": [rule], "gsd": LR_GSD_M}
        item.add_asset(name, _asset(f"{name}.tif", name.capitalize(), fields, scene.grid, band.shape))
    coarse = scene.grid @ Affine.scale(2)
    write_cog(place / "scl.tif", scene.scl[None], scene.crs, coarse, 0, "mode")
    fields = {"raster:bands": [{"nodata": 0, "data_type": "uint8", "spatial_resolution": 2 * LR_GSD_M}]}
    item.add_asset("scl", _asset("scl.tif", "Scene classification", fields, coarse, scene.scl.shape))
    return item


def write_flight(folder: Path, flight: Flight, frame: Frame) -> pystac.Item:
    """File and item of one reference."""
    place = folder / REF_COLLECTION / flight.id
    item = _item(flight.id, frame.lonlat(flight.valid), flight.when, CRS, {"gsd": GSD_M})
    write_cog(place / "image.tif", flight.dn, CRS, flight.grid, 0)
    names = [*BANDS, "nir"]
    fields = {
        "eo:bands": [{"name": name, "common_name": name} for name in names],
        "raster:bands": [{"nodata": 0, "data_type": "uint8", "spatial_resolution": GSD_M} for _ in names],
        "gsd": GSD_M,
    }
    item.add_asset("image", _asset("image.tif", "RGBIR", fields, flight.grid, flight.dn.shape[1:]))
    return item


def _item(
    identifier: str, geometry: dict[str, Any], when: datetime, crs: str, properties: dict[str, Any]
) -> pystac.Item:
    bbox = [round(value, 7) for value in shape(geometry).bounds]
    item = pystac.Item(identifier, geometry, bbox, when, {"proj:code": crs, **properties})
    item.stac_extensions = list(_EXTENSIONS)
    return item


def _asset(name: str, title: str, fields: dict[str, Any], grid: Affine, size: tuple[int, ...]) -> pystac.Asset:
    fields = {**fields, "proj:shape": list(size), "proj:transform": list(grid)[:6]}
    return pystac.Asset(f"./{name}", title, media_type=pystac.MediaType.COG, roles=["data"], extra_fields=fields)


def write_catalog(folder: Path, lr: list[pystac.Item], ref: list[pystac.Item]) -> None:
    """`catalog.json` with collections and items beneath, and `items.json` with all items at once."""
    catalog = pystac.Catalog("sample-region", "A drawn landscape, LR scenes of it and earlier references")
    described = (
        (LR_COLLECTION, "Drawn scenes like Sentinel-2 L2A", lr),
        (REF_COLLECTION, "Drawn images like NAIP", ref),
    )
    for name, description, items in described:
        boxes = np.array([item.bbox for item in items])
        extent = [*boxes[:, :2].min(0).tolist(), *boxes[:, 2:].max(0).tolist()]
        times = sorted(item.datetime for item in items if item.datetime)
        collection = pystac.Collection(
            name,
            description,
            pystac.Extent(pystac.SpatialExtent([extent]), pystac.TemporalExtent([[times[0], times[-1]]])),
            license="CC0-1.0",
        )
        collection.add_items(items)
        catalog.add_child(collection)
    catalog.normalize_hrefs(str(folder))
    catalog.save(pystac.CatalogType.SELF_CONTAINED)
    features = []
    for item in [*lr, *ref]:
        record = item.to_dict(include_self_link=False)
        record["links"] = []
        for asset in record["assets"].values():
            asset["href"] = f"./{item.collection_id}/{item.id}/{Path(asset['href']).name}"
        features.append(record)
    write_json(folder / "items.json", {"type": "FeatureCollection", "features": features})


def write_region(folder: Path, frame: Frame, seed: int) -> None:
    """`region.geojson`: the footprint, and what a request needs to know."""
    geometry = lonlat(CRS, box(*frame.bounds))
    west, south, east, north = Polygon(geometry["coordinates"][0]).bounds
    known = {"crs": CRS, "bounds": list(frame.bounds), "gsd_m": GSD_M, "scale": SCALE, "seed": seed,
             "shape": [round(side / GSD_M) for side in frame.size_m],
             "period": ["2024-07-01", "2024-07-15"]}  # fmt: skip
    feature = {"type": "Feature", "bbox": [west, south, east, north], "properties": known, "geometry": geometry}
    write_json(folder / "region.geojson", {"type": "FeatureCollection", "features": [feature]})


def write_json(path: Path, record: dict[str, Any]) -> None:
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
