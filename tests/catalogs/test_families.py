"""What each family of collections becomes: bands, offsets, mask, pixel, terms; and real NAIP quads through its sources.

The answers below tests/data/stac are written to the published schemas of the two catalogs.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from catalogs.load import VALID, read_bands, read_mask
from catalogs.records import read_item
from catalogs.rules import BitMask, SclMask
from catalogs.search import clean, search
from catalogs.source import load_source
from dsdit.bands import BANDS

STORED = Path(__file__).parent.parent / "data" / "stac"
WORLD, START, END = box(-180, -90, 180, 90), datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


class Family(NamedTuple):
    """What a person would read in the documentation of a collection."""

    collection: str
    places: tuple[tuple[str, int], ...]
    """(asset, index) of red, green and blue."""
    mask: str | None
    """Asset of the mask."""
    gsd_m: float
    crs: str
    scales: set[float]
    offsets: set[float]
    licence: str
    attribution: str


def _assets(*names: str) -> tuple[tuple[str, int], ...]:
    return tuple((name, 1) for name in names)


IMAGE = (("image", 1), ("image", 2), ("image", 3))
COPERNICUS = ("Copernicus Sentinel data terms (free, full and open)", "Contains modified Copernicus Sentinel data")
USGS = ("public domain (USGS)", "Landsat courtesy of the U.S. Geological Survey")
USDA = ("public domain (USDA)", "USDA National Agriculture Imagery Program")
RGB = _assets("red", "green", "blue")
UTM32, UTM10 = "EPSG:32632", "EPSG:26910"
FAMILIES = {
    "earth-search-sentinel-2": Family("sentinel-2-c1-l2a", RGB, "scl", 10, UTM32, {1e-4}, {-0.1}, *COPERNICUS),
    "earth-search-sentinel-2-l2a": Family("sentinel-2-l2a", RGB, "scl", 10, UTM32, {1e-4}, {0.0, -0.1}, *COPERNICUS),
    "planetary-computer-sentinel-2": Family(
        "sentinel-2-l2a", _assets("B04", "B03", "B02"), "SCL", 10, UTM32, {1e-4}, {0.0, -0.1}, *COPERNICUS
    ),
    "earth-search-landsat": Family("landsat-c2-l2", RGB, "qa_pixel", 30, UTM32, {2.75e-5}, {-0.2}, *USGS),
    "planetary-computer-landsat": Family("landsat-c2-l2", RGB, "qa_pixel", 30, UTM32, {2.75e-5}, {-0.2}, *USGS),
    "earth-search-naip": Family("naip", IMAGE, None, 0.6, UTM10, {0.4 / 255}, {0.0}, *USDA),
    "planetary-computer-naip": Family("naip", IMAGE, None, 0.6, UTM10, {0.4 / 255}, {0.0}, *USDA),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_collection_is_read_as_its_documentation_says(name: str) -> None:
    source, family = load_source(name), FAMILIES[name]
    assert source.collection == family.collection
    assert tuple((source.bands[band].asset, source.bands[band].index) for band in BANDS) == family.places
    asset = source.mask.asset if isinstance(source.mask, SclMask | BitMask) else None
    assert (asset, source.gsd_m, source.derivatives) == (family.mask, family.gsd_m, "yes")
    assert (source.licence, source.attribution) == (family.licence, family.attribution)
    records = json.loads((STORED / f"{name}.json").read_text())["features"]
    found = clean(map(read_item, records), source, WORLD, START, END).items
    assert len(found) == len(records) > 0
    assert {item.crs for item in found} == {family.crs}
    assert {item.collection for item in found} == {family.collection}
    assert {v for item in found for v in item.scale} == family.scales
    assert {v for item in found for v in item.offset} == family.offsets
    assert {item.gsd_m for item in found} <= {None, family.gsd_m}


def test_masks_of_the_families_take_away_what_their_classes_say() -> None:
    for name in FAMILIES:
        mask = load_source(name).mask
        if isinstance(mask, SclMask):
            assert {3, 8, 9, 10} <= set(mask.cloud) and 0 in mask.nodata and not {4, 5, 6} & set(mask.cloud)
        elif isinstance(mask, BitMask):
            assert (set(mask.cloud), set(mask.nodata)) == ({1, 2, 3, 4}, {0})


QUADS = {
    "naip_06m/m_3211605_ne_11_060_20200415": ("EPSG:26911", 0.6),
    "naip_06m/m_4208701_ne_16_060_20200902": ("EPSG:26916", 0.6),
    "naip_nd/m_4709963_se_14_1_20150926": ("EPSG:26914", 5.0),
}


@pytest.mark.shared
@pytest.mark.parametrize("name", ["earth-search-naip", "planetary-computer-naip"])
@pytest.mark.parametrize("quad", QUADS)
def test_a_real_quad_is_read_through_the_sources_of_naip(quad: str, name: str, shared: Path, tmp_path: Path) -> None:
    """Its item and its pixels; the collection is written in, as both catalogs do."""
    crs, gsd_m = QUADS[quad]
    record: dict[str, Any] = json.loads((shared / "geo" / f"{quad}.json").read_text()) | {"collection": "naip"}
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": [record]}))
    path = tmp_path / Path(record["assets"]["image"]["href"]).name
    path.write_bytes((shared / "geo" / f"{quad}.tif").read_bytes())
    source = load_source(name).at(tmp_path / "items.json")
    found = search(source, WORLD, START, END)
    assert found.dropped == ()
    (item,) = found.items
    assert (item.crs, item.gsd_m) == (crs, gsd_m)
    assert item.when.strftime("%Y%m%d") == quad.rpartition("_")[2]
    with rasterio.open(path) as file:
        assert file.count == 4
        dn, geobox = file.read([1, 2, 3]), GeoBox(file.shape, file.transform, file.crs.to_wkt())
        nodata = file.nodata
    values, valid = read_bands(item, source, geobox, "bilinear")
    data = np.ones(dn.shape[1:], bool) if nodata is None else (dn != nodata).any(axis=0)
    np.testing.assert_array_equal(valid, data)
    np.testing.assert_array_equal(read_mask(item, source, geobox) == VALID, data)
    for band in range(3):
        scaled = dn[band] * np.float32(item.scale[band]) + np.float32(item.offset[band])
        np.testing.assert_array_equal(values[band][data], scaled[data])
