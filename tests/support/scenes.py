"""Plans by hand over a few LR scenes: what staging reads of them, without search or network."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import rasterio
from rasterio.warp import transform_bounds
from shapely.geometry import box, mapping

from catalogs.item import SceneItem
from catalogs.source import Source
from dsdit.grid import Grid
from dsdit.lattice.tiling import Lattice
from dsdit.plan.candidates import CellChoice, Cells, Items
from dsdit.plan.plan import ModelChoice, Plan
from dsdit.plan.sampler_settings import SamplerSettings
from dsdit.region import Region
from dsdit.window import Index, Window
from tests.support.stac import make_source

LATTICE = Lattice(scale=8, token_px=8, tile_px=128, overlap_px=32, chunk_strides=2, shard_chunks=2, halo_px=120)
SCALE = 1e-4


def image_source(folder: Path | str, **changes: Any) -> Source:
    """A source of three-band files below `folder`, in reflectance * 10,000, without a mask."""
    bands = {band: {"asset": "image", "index": k} for k, band in enumerate(("red", "green", "blue"), 1)}
    rule = {"kind": "fixed", "scale": SCALE}
    return make_source(folder, **{"bands": bands, "rule": rule, "mask": {"kind": "none"}, **changes})


def image_item(path: Path, folder: Path, day: int, href: str | None = None) -> SceneItem:
    """The scene of one file, so many days into 2024."""
    with rasterio.open(path) as file:
        lonlat = box(*transform_bounds(file.crs, "EPSG:4326", *file.bounds))
    return SceneItem(
        source="scenes", id=path.stem, collection="scenes", when=datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day),
        footprint=mapping(lonlat), bbox=lonlat.bounds, hrefs={"image": href or str(path.relative_to(folder))},
        scale=(SCALE,) * 3, offset=(0.0,) * 3, crs=None, cloud_cover=None, gsd_m=None, updated=None, platform=None,
        tile=None, digest=path.stem,
    )  # fmt: skip


def scenes_plan(
    source: Source, items: list[SceneItem], grid: Grid, window: Window, cells: dict[Index, CellChoice], **more: Any
) -> Plan:
    """A plan of these choices over a window of LR pixels."""
    region = Region.from_bounds("scenes", grid, grid.bounds_of(window, grid.lr_gsd_m))
    return Plan(
        region=region, lattice=LATTICE, sampler=SamplerSettings(), model=ModelChoice("none", "0" * 64),
        mtf_nyquist=source.mtf_nyquist, sources={source.name: source.model_dump(mode="json")},
        items=Items.of([item.to_dict() for item in items]), cells=Cells.of(cells), **more,
    )  # fmt: skip
