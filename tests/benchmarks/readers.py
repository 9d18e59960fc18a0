"""Windows a second: our reader, rasterio, odc-stac and stackstac, from COGs on disk and through HTTP with a wait.

A window is what staging reads of a scene: three bands and the class mask over a cell, 256 x 256 pixels of 10 m, either
on the files' own grid or across a border of UTM zones. Each reader gets the same windows in the same order, and in
every round paths of its own, so that none finds open files or what another has left in GDAL's caches. Within a round
our reader keeps its files open, and so does `rasterio-kept`; `rasterio` opens them for each window. Rounds alternate;
the best of each is reported.
"""

from __future__ import annotations

import math
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import odc.stac
import pystac
import rasterio
import requests
import shapely
import stackstac
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RasterWindow

from catalogs.item import SceneItem
from catalogs.masks import VALID
from catalogs.read.scene import read_scene
from catalogs.source import Source
from dsdit.bands import BANDS
from tests.benchmarks.waiting_files import waiting_server
from tests.support.stac import make_source

SIDE, LATENCY_S, ROUNDS = 256, 0.03, 2
FILE_PX = 2048
OWN, OTHER = "EPSG:32632", "EPSG:32633"
PLACE = Affine(10, 0, 700_000, 0, -10, 5_340_000)
CLOUD = (3, 8, 9, 10)


def make_scene(folder: Path) -> None:
    """Three bands and a mask as COGs, in the middle of a UTM zone's eastern half."""
    rng = np.random.default_rng(3)
    rows, cols = np.mgrid[:FILE_PX, :FILE_PX]
    smooth = 2500 + 900 * np.sin(rows / 31) * np.cos(cols / 47)
    for name in (*BANDS, "scl"):
        values = smooth + rng.integers(0, 250, smooth.shape) if name != "scl" else rng.integers(4, 8, smooth.shape)
        dtype, step = ("uint8", 2) if name == "scl" else ("uint16", 1)
        stored = values[::step, ::step].astype(dtype)
        place = {"crs": OWN, "transform": PLACE @ Affine.scale(step), "height": len(stored), "width": len(stored)}
        with rasterio.open(folder / f"{name}.tif", "w", driver="COG", dtype=dtype, count=1, nodata=0, **place) as file:
            file.write(stored, 1)


class Place(NamedTuple):
    """Where a reader finds the scene: a folder or a URL."""

    root: str
    source: Source
    item: SceneItem


def place_of(root: str) -> Place:
    """The scene below `root`."""
    web = root.startswith("http")
    source = make_source("https://catalog.example" if web else root, hosts=["127.0.0.1"], nodata=0)
    hrefs = {name: f"{root}/{name}.tif" if web else f"{name}.tif" for name in (*BANDS, "scl")}
    item = SceneItem(
        source="scenes", id="scene", collection="scenes", when=datetime(2024, 6, 1, tzinfo=UTC), footprint={},
        bbox=(0, 0, 0, 0), hrefs=hrefs, scale=(1e-4,) * 3, offset=(-0.1,) * 3, crs=OWN, cloud_cover=None, gsd_m=None,
        updated=None, platform=None, tile=None, digest="0",
    )  # fmt: skip
    return Place(root, source, item)


def windows(crs: str, count: int) -> list[GeoBox]:
    """Cells of the 10 m lattice of a CRS at random, all inside the scene."""
    pick = random.Random(11)
    west, south, east, north = rasterio.warp.transform_bounds(
        OWN, crs, PLACE.c, PLACE.f - FILE_PX * 10, PLACE.c + FILE_PX * 10, PLACE.f
    )
    edge, side = (0, SIDE * 10) if crs == OWN else (1500, SIDE * 10)
    cols = range(math.ceil((west + edge) / side), math.floor((east - edge) / side))
    rows = range(math.ceil((edge - north) / side), math.floor((-south - edge) / side))
    cells = [(pick.choice(rows) * SIDE, pick.choice(cols) * SIDE) for _ in range(count)]
    return [GeoBox((SIDE, SIDE), Affine(10, 0, col * 10, 0, -10, -row * 10), crs) for row, col in cells]


Read = Callable[[Place, GeoBox], tuple[NDArray, NDArray]]


def ours(place: Place, geobox: GeoBox) -> tuple[NDArray, NDArray]:
    """As staging reads: checked, exact, the same in every window."""
    values, valid, mask = read_scene(place.item, place.source, geobox, "cubic")
    return values, valid & (mask == VALID)


def window_of(file: rasterio.DatasetReader, geobox: GeoBox, resampling: Resampling) -> NDArray:
    """A window of the file where it is on the same grid, else a WarpedVRT; GDAL as it is set by default."""
    if file.crs.to_epsg() == geobox.crs.epsg and file.res == (10, 10):
        col, row = ~file.transform @ (geobox.affine.c, geobox.affine.f)
        return file.read(1, window=RasterWindow(round(col), round(row), SIDE, SIDE))
    size = {"height": SIDE, "width": SIDE, "transform": geobox.affine, "crs": f"EPSG:{geobox.crs.epsg}"}
    with WarpedVRT(file, resampling=resampling, **size) as warped:
        return warped.read(1)


def by_rasterio(
    opened: Callable[[str], AbstractContextManager[rasterio.DatasetReader]], place: Place, geobox: GeoBox
) -> tuple[NDArray, NDArray]:
    """One file after the other, each as `opened` gives it."""

    def one(name: str, resampling: Resampling) -> NDArray:
        with opened(f"{place.root}/{name}.tif") as file:
            return window_of(file, geobox, resampling)

    return finish(np.stack([one(name, Resampling.cubic) for name in BANDS]), one("scl", Resampling.nearest))


@cache
def kept_open(path: str) -> AbstractContextManager[rasterio.DatasetReader]:
    """A file that stays open from window to window, until the cache is cleared; never entered, since that would keep
    rasterio's settings on this thread, and odc-stac would read under them instead of its own.
    """
    return nullcontext(rasterio.open(path))


def stac_record(place: Place) -> dict[str, Any]:
    """The scene as a STAC item."""
    box = rasterio.warp.transform_bounds(
        OWN, "EPSG:4326", PLACE.c, PLACE.f - FILE_PX * 10, PLACE.c + FILE_PX * 10, PLACE.f
    )
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": "scene", "collection": "scenes", "links": [],
        "stac_extensions": ["https://stac-extensions.github.io/projection/v1.0.0/schema.json"],
        "bbox": list(box), "geometry": shapely.geometry.mapping(shapely.box(*box)),
        "properties": {
            "datetime": "2024-06-01T00:00:00Z", "proj:epsg": 32632, "proj:shape": [FILE_PX, FILE_PX],
            "proj:transform": list(PLACE)[:6],
        },
        "assets": {
            name: {"href": f"{place.root}/{name}.tif", "type": "image/tiff", "roles": ["data"]}
            for name in (*BANDS, "scl")
        },
    }  # fmt: skip


def by_odc_stac(place: Place, geobox: GeoBox) -> tuple[NDArray, NDArray]:
    """One load a window, its files read by four threads."""
    kinds = {name: {"data_type": "uint8" if name == "scl" else "uint16", "nodata": 0} for name in (*BANDS, "scl")}
    found = odc.stac.load(
        [pystac.Item.from_dict(stac_record(place))], bands=[*BANDS, "scl"], geobox=geobox, pool=4,
        resampling={"*": "cubic", "scl": "nearest"}, stac_cfg={"scenes": {"assets": kinds}},
    )  # fmt: skip
    return finish(np.stack([found[name].values[0] for name in BANDS]), found["scl"].values[0])


def by_stackstac(place: Place, geobox: GeoBox) -> tuple[NDArray, NDArray]:
    """One stack a window, read by Dask's threads."""
    record = stac_record(place)
    box = geobox.boundingbox
    options: dict[str, Any] = {
        "epsg": geobox.crs.epsg, "resolution": 10, "bounds": (box.left, box.bottom, box.right, box.top),
        "snap_bounds": False, "dtype": np.dtype("uint16"), "fill_value": np.uint16(0), "rescale": False,
        "xy_coords": False, "properties": False, "band_coords": False, "chunksize": SIDE,
    }  # fmt: skip
    bands = stackstac.stack([record], assets=list(BANDS), resampling=Resampling.cubic, **options)
    classes = stackstac.stack([record], assets=["scl"], resampling=Resampling.nearest, **options)
    import dask

    values, mask = dask.compute(bands.data, classes.data)
    return finish(values[0], mask[0, 0])


def finish(dn: NDArray, classes: NDArray) -> tuple[NDArray, NDArray]:
    """Reflectance and validity, as our reader gives them."""
    return dn * np.float32(1e-4) + np.float32(-0.1), (dn != 0).all(axis=0) & ~np.isin(classes, CLOUD) & (classes > 1)


READERS: dict[str, Read] = {
    "ours": ours,
    "rasterio": partial(by_rasterio, rasterio.open),
    "rasterio-kept": partial(by_rasterio, kept_open),
    "odc-stac": by_odc_stac,
    "stackstac": by_stackstac,
}


def linked(folder: Path, name: str) -> str:
    """A folder with links to the scene's files: other files to whoever keeps them open."""
    here = folder / name
    here.mkdir(exist_ok=True)
    for path in folder.glob("*.tif"):
        (here / path.name).hardlink_to(path)
    return str(here)


@contextmanager
def places(folder: Path, web: bool) -> Iterator[tuple[Callable[[str], Place], Callable[[], dict[str, int]]]]:
    """Where each reader, by name and round, finds the scene; and over HTTP how many requests each made."""
    if not web:
        yield lambda name: place_of(linked(folder, name)), dict
        return
    with waiting_server(folder, LATENCY_S) as url:
        yield lambda name: place_of(f"{url}/{name}"), lambda: requests.get(f"{url}/requested", timeout=60).json()


def agree(folder: Path) -> None:
    """All readers see the same: to a DN on one grid, and within what their transforms may differ by across zones."""
    place = place_of(str(folder))
    for crs, limit in ((OWN, 1.01e-4), (OTHER, 60e-4)):
        geobox = windows(crs, 1)[0]
        values, valid = ours(place, geobox)
        for name, read in READERS.items():
            other, other_valid = read(place, geobox)
            both = valid & other_valid
            assert both.mean() > 0.99
            assert np.abs(values - other)[:, both].max() < limit, (crs, name, np.abs(values - other)[:, both].max())


def measure() -> Iterator[str]:
    """Windows a second of every reader in every case."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_scene(folder)
        agree(folder)
        for web, count in ((False, 12), (True, 6)):
            for crs in (OWN, OTHER):
                best = dict.fromkeys(READERS, 0.0)
                boxes = windows(crs, count)
                with places(folder, web) as (place, request_counts):
                    for turn in range(ROUNDS):
                        for reader, read in READERS.items():
                            where = place(f"{reader}.{turn}{crs[5:]}")
                            started = time.monotonic()
                            for box in boxes:
                                read(where, box)
                            best[reader] = max(best[reader], count / (time.monotonic() - started))
                        kept_open.cache_clear()
                    counts = request_counts()
                kind = f"HTTP, {LATENCY_S * 1000:.0f} ms a request" if web else "disk"
                grid = "own grid" if crs == OWN else "across zones"
                rates = ", ".join(f"{reader} {rate:.1f}" for reader, rate in best.items())
                shares = (
                    f"{r} {sum(n for k, n in counts.items() if k.startswith(f'{r}.')) / ROUNDS / count:.1f}"
                    for r in READERS
                )
                requests_note = f"; requests a window: {', '.join(shares)}" if web else ""
                yield f"{kind}, {grid}, windows a second: {rates}{requests_note}"


if __name__ == "__main__":
    for line in measure():
        print(line, flush=True)
