"""The same ground in a product before and after baseline 04.00 has one reflectance, however the offset is stated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from catalogs.item import scene_item
from catalogs.masks import VALID
from catalogs.measure.cover_and_fit import measure_fit
from catalogs.read.scene import read_bands, read_mask
from catalogs.search.usable_scenes import search_items
from catalogs.source import Source, load_source
from dsdit.errors import CatalogError
from dsdit.grid import Grid
from tests.catalogs.search.test_recorded import stored
from tests.catalogs.search.test_search import collection
from tests.support.stac import make_item, make_source

SHAPE = (96, 160)
PLACE = Affine(10, 0, 600_000, 0, -10, 5_330_000)
GEOBOX = GeoBox(SHAPE, PLACE, "EPSG:32632")
WORLD = box(-180, -90, 180, 90)
START, END = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


def ground() -> NDArray[np.float64]:
    """(3, y, x) reflectance from dark water, where products after 04.00 go below their offset, to cloud tops."""
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]]
    smooth = 0.17 + 0.1 * np.sin(rows / 11) + 0.05 * np.cos(cols / 7)
    smooth[:20, :30] = 0.0003
    smooth[40:50, 60:90] = 1.1
    return np.stack([smooth * band for band in (1.0, 0.8, 0.6)])


def stored_dn(offset: float, scale: float = 1e-4) -> NDArray[np.uint16]:
    """(3, y, x) dn of the ground, under reflectance = dn * scale + offset."""
    return np.clip(np.round((ground() - offset) / scale), 1, 65535).astype(np.uint16)


def write(path: Path, values: NDArray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    size = {"count": 1, "height": SHAPE[0], "width": SHAPE[1], "crs": "EPSG:32632", "transform": PLACE}
    with rasterio.open(path, "w", driver="COG", dtype=values.dtype.name, blocksize=128, **size) as file:
        file.write(values[None])


@dataclass(frozen=True)
class Way:
    """One catalog's way of stating scale and offset."""

    source: Callable[[], Source]
    item: Callable[[], dict[str, Any]]
    in_pixels: float
    """Offset that the pixels hold."""


def of_answer(name: str, number: int) -> Callable[[], dict[str, Any]]:
    return lambda: stored(name)[number]


def own(baseline: str | None, **properties: Any) -> Callable[[], dict[str, Any]]:
    return lambda: make_item("own", s2__processing_baseline=baseline, **properties)


def raster_2() -> dict[str, Any]:
    """Version 2 of the raster extension: scale and offset on the asset itself."""
    record = make_item("own", s2__processing_baseline=None)
    for key in ("red", "green", "blue"):
        record["assets"][key] |= {"raster:scale": 1e-4, "raster:offset": -0.1}
    return record


def shipped(name: str) -> Callable[[], Source]:
    return lambda: load_source(name)


ES, ES_OLD, PC = "earth-search-sentinel-2", "earth-search-sentinel-2-l2a", "planetary-computer-sentinel-2"
WAYS = {
    "Earth Search collection 1, before, offset in raster:bands": Way(shipped(ES), of_answer(ES, 0), -0.1),
    "Earth Search collection 1, after, offset in raster:bands": Way(shipped(ES), of_answer(ES, 1), -0.1),
    "Earth Search, before": Way(shipped(ES_OLD), of_answer(ES_OLD, 0), 0.0),
    "Earth Search, after, taken off though raster:bands has it": Way(shipped(ES_OLD), of_answer(ES_OLD, 1), 0.0),
    "Earth Search, after, not taken off": Way(shipped(ES_OLD), of_answer(ES_OLD, 2), -0.1),
    "Planetary Computer, before, by number": Way(shipped(PC), of_answer(PC, 0), 0.0),
    "Planetary Computer, after, by number": Way(shipped(PC), of_answer(PC, 1), -0.1),
    "by number, before": Way(make_source, own("03.01"), 0.0),
    "by number, after": Way(make_source, own("04.00"), -0.1),
    "by flag, taken off": Way(make_source, own("05.11", s2__boa_offset_applied=True), 0.0),
    "by flag, left on": Way(make_source, own("05.11", s2__boa_offset_applied=False), -0.1),
    "by raster 2": Way(make_source, raster_2, -0.1),
}


def read(way: Way, folder: Path) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(reflectance, valid) of the ground, searched and read by the package from COGs that the item names."""
    source, record = way.source(), way.item()
    pixels = dict(zip((source.bands[b].asset for b in ("red", "green", "blue")), stored_dn(way.in_pixels), strict=True))
    pixels[source.assets[-1]] = np.full(SHAPE, 4, np.uint8)
    for key, values in pixels.items():
        record["assets"][key]["href"] = f"{key}.tif"
        write(folder / f"{key}.tif", values)
    (folder / "items.json").write_text(collection([record]))
    at = source.at(folder / "items.json")
    (item,) = search_items(at, WORLD, START, END).items
    assert (read_mask(item, at, GEOBOX) == VALID).all()
    return read_bands(item, at, GEOBOX, "nearest")


@pytest.mark.parametrize("name", WAYS)
def test_the_same_ground_has_one_reflectance(name: str, tmp_path: Path) -> None:
    values, valid = read(WAYS[name], tmp_path)
    assert valid.all()
    limit = np.where(ground() >= 1e-4, 0.51e-4, 1.1e-4)
    assert (np.abs(values - ground()) <= limit).all()


def test_before_and_after_need_no_fit_between_them(tmp_path: Path) -> None:
    made = []
    for name, offset in (("before", 0.0), ("after", -0.1)):
        folder = tmp_path / name
        record = make_item(name, s2__processing_baseline="03.01" if offset == 0 else "05.11", host=".")
        for key, values in zip(("red", "green", "blue"), stored_dn(offset), strict=True):
            write(folder / name / f"{key}.tif", values)
        write(folder / name / "scl.tif", np.full(SHAPE, 4, np.uint8))
        (folder / "items.json").write_text(collection([record]))
        source = make_source(folder / "items.json")
        made.append((search_items(source, WORLD, START, END).items[0], source))
    fit = measure_fit(*made[0], *made[1], Grid("EPSG:32632", 1.25, 8))
    assert fit.samples == 240
    np.testing.assert_allclose(fit.gain, 1.0, atol=1e-3)
    np.testing.assert_allclose(fit.offset, 0.0, atol=1e-4)


def bands_of(**fields: Any) -> list[tuple[float, float]]:
    """(scale, offset) of red, green and blue in one asset of these fields, under the rule `stated`."""
    record = make_item("own")
    record["assets"]["red"] |= fields
    bands = {band: {"asset": "red", "index": k} for k, band in enumerate(("red", "green", "blue"), 1)}
    source = make_source("https://catalog.example", bands=bands, rule={"kind": "stated"}, mask={"kind": "none"})
    item = scene_item(pystac.Item.from_dict(record), source)
    return list(zip(item.scale, item.offset, strict=True))


EACH = [{"scale": 0.1, "offset": 1.0}, {"scale": 0.2, "offset": 2.0}, {"scale": 0.3, "offset": 3.0}]
V2 = [{f"raster:{key}": value for key, value in entry.items()} for entry in EACH]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"raster:bands": EACH}, [(0.1, 1.0), (0.2, 2.0), (0.3, 3.0)]),
        ({"bands": V2}, [(0.1, 1.0), (0.2, 2.0), (0.3, 3.0)]),
        ({"raster:bands": [{"scale": 0.1}] * 3}, [(0.1, 0.0)] * 3),
        ({"raster:bands": [{"offset": -0.5}] * 3}, [(1.0, -0.5)] * 3),
        ({"raster:scale": 0.1}, [(0.1, 0.0)] * 3),
        ({"bands": [{}, {"raster:offset": 7}, {}], "raster:scale": 0.1}, [(0.1, 0.0), (0.1, 7.0), (0.1, 0.0)]),
        ({"bands": [{"name": "a"}] * 3, "raster:scale": 0.1, "raster:offset": 4}, [(0.1, 4.0)] * 3),
    ],
)
def test_each_band_of_a_file_has_its_own_scale_and_offset(
    fields: dict[str, Any], expected: list[tuple[float, float]]
) -> None:
    assert bands_of(**fields) == expected


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"raster:bands": EACH[:1]}, "states no scale and offset of band 2"),
        ({"raster:bands": [{"nodata": 0}] * 3}, "states no scale and offset of band 1"),
        ({"raster:bands": [EACH[0], EACH[1], {"scale": -0.5, "offset": 0}]}, "states scale -0.5 of band 3"),
        ({"raster:bands": {"scale": 0.1}, "bands": "all"}, "a list of bands is expected"),
    ],
)
def test_a_band_that_states_nothing_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(CatalogError, match=said):
        bands_of(**fields)


def test_a_scale_alone_says_nothing_of_the_offset_of_a_baseline() -> None:
    record = make_item("own", s2__processing_baseline="05.10")
    for key in ("red", "green", "blue"):
        record["assets"][key]["raster:bands"] = [{"scale": 1e-4}]
    assert scene_item(pystac.Item.from_dict(record), make_source("https://catalog.example")).offset == (-0.1,) * 3


def test_landsat_has_one_rule_for_all(tmp_path: Path) -> None:
    name = "planetary-computer-landsat"
    record = stored(name)[0]
    for key, values in zip(("red", "green", "blue"), stored_dn(-0.2, 2.75e-5), strict=True):
        record["assets"][key]["href"] = f"{key}.tif"
        write(tmp_path / f"{key}.tif", values)
    record["assets"]["qa_pixel"]["href"] = "qa.tif"
    write(tmp_path / "qa.tif", np.full(SHAPE, 21824, np.uint16))
    (tmp_path / "items.json").write_text(collection([record]))
    source = load_source(name).at(tmp_path / "items.json")
    (item,) = search_items(source, WORLD, START, END).items
    values, valid = read_bands(item, source, GEOBOX, "nearest")
    assert valid.all()
    assert (read_mask(item, source, GEOBOX) == VALID).all()
    assert np.abs(values - ground()).max() <= 1.4e-5
