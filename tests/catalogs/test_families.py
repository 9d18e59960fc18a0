"""What every shipped source makes of its catalog's answer: bands, dn to reflectance, mask, pixel size and licence.

The answers are written to the collections' published schemas (tests/data/stac/README.md); the NAIP file is a real one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp

from catalogs.item import scene_item
from catalogs.masks import VALID
from catalogs.read.scene import read_scene
from catalogs.search.parsing import BadItem, read_item
from catalogs.source import load_source
from dsdit.bands import BANDS
from tests.catalogs.search.test_recorded import SHIPPED, scenes

OWN = {band: (band, 1) for band in BANDS}
ONE_FILE = {band: ("image", index) for index, band in enumerate(BANDS, 1)}
SCL, QA = ("scl", (3, 8, 9, 10), (0, 1)), ("bits", (1, 2, 3, 4), (0,))
FAMILIES: dict[str, dict[str, Any]] = {
    "earth-search-sentinel-2": {
        "bands": OWN, "mask": (*SCL, "scl"), "gsd_m": 10, "scale": 1e-4, "licence": "Copernicus",
    },
    "earth-search-sentinel-2-l2a": {
        "bands": OWN, "mask": (*SCL, "scl"), "gsd_m": 10, "scale": 1e-4, "licence": "Copernicus",
    },
    "planetary-computer-sentinel-2": {
        "bands": {"red": ("B04", 1), "green": ("B03", 1), "blue": ("B02", 1)}, "mask": (*SCL, "SCL"), "gsd_m": 10,
        "scale": 1e-4, "licence": "Copernicus",
    },
    "earth-search-landsat": {"bands": OWN, "mask": (*QA, "qa_pixel"), "gsd_m": 30, "scale": 2.75e-5, "licence": "USGS"},
    "planetary-computer-landsat": {
        "bands": OWN, "mask": (*QA, "qa_pixel"), "gsd_m": 30, "scale": 2.75e-5, "licence": "USGS",
    },
    "earth-search-naip": {"bands": ONE_FILE, "mask": None, "gsd_m": 0.6, "scale": 0.4 / 255, "licence": "USDA"},
    "planetary-computer-naip": {"bands": ONE_FILE, "mask": None, "gsd_m": 0.6, "scale": 0.4 / 255, "licence": "USDA"},
}  # fmt: skip


def test_every_shipped_source_is_of_a_family() -> None:
    assert set(FAMILIES) == set(SHIPPED)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_source_reads_its_family(name: str) -> None:
    source, expected = load_source(name), FAMILIES[name]
    assert {band: (place.asset, place.index) for band, place in source.bands.items()} == expected["bands"]
    mask: Any = source.mask
    found = None if mask.kind == "none" else (mask.kind, mask.cloud, mask.nodata, mask.asset)
    assert found == expected["mask"]
    assert source.gsd_m == expected["gsd_m"]
    assert expected["licence"] in source.licence
    assert source.derivatives == "yes"
    assert source.attribution
    for item in scenes(name).values():
        assert item.gsd_m in (None, expected["gsd_m"])
        np.testing.assert_allclose(item.scale, expected["scale"], rtol=1e-12)
        assert set(item.hrefs) == {asset for asset, _ in expected["bands"].values()} | (
            {expected["mask"][-1]} if expected["mask"] else set()
        )


@pytest.mark.shared
@pytest.mark.parametrize("name", ["earth-search-naip", "planetary-computer-naip"])
def test_a_real_naip_file_is_read_whole_though_it_calls_its_infrared_alpha(name: str, shared: Path) -> None:
    path = shared / "geo/naip_06m/m_3211605_ne_11_060_20200415.json"
    source = load_source(name).at(path)
    record = read_item(json.loads(path.read_text()))
    assert not isinstance(record, BadItem)
    item = scene_item(record, source)
    with rasterio.open(path.with_suffix(".tif")) as file:
        assert file.colorinterp[3] == ColorInterp.alpha
        stored, geobox = file.read([1, 2, 3]), GeoBox(file.shape, file.transform, file.crs.to_wkt())
    values, valid, mask = read_scene(item, source, geobox, "bilinear")
    assert (item.gsd_m, item.crs) == (0.6, "EPSG:26911")
    assert valid.all()
    assert (mask == VALID).all()
    np.testing.assert_allclose(values, stored * (0.4 / 255), rtol=1e-6)
