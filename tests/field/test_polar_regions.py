"""Regions and footprints around the poles, where both axes of a CRS run one way, and CRSs whose metres are off."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import shapely
from shapely.geometry import shape

from dsdit.errors import RequestError
from dsdit.grid import Grid
from dsdit.lonlat import within_180
from dsdit.region import Region
from flows.plan.ground_scale import check_ground_scale, ground_scale

NORTH = (3413, 3411, 3995, 3996, 32661, 5041, 3571, 3573, 3574, 5936, 5938, 6931)
SOUTH = (3031, 3976, 3412, 32761, 5042, 6932)
CODES = [(code, 1) for code in NORTH] + [(code, -1) for code in SOUTH]


def to_metres(code: int, lon: float, lat: float) -> tuple[float, float]:
    return pyproj.Transformer.from_crs(4326, code, always_xy=True).transform(lon, lat)


@pytest.mark.parametrize(("code", "sign"), CODES)
def test_a_cap_is_one_polygon_without_a_slit(code: int, sign: int) -> None:
    south, north = sorted((sign * 85.0, sign * 90.0))
    region = Region.from_bbox("cap", Grid(f"EPSG:{code}", 100.0, 8), (-180, south, 180, north))
    assert region.footprint.geom_type == "Polygon" and region.footprint.is_valid
    assert not region.footprint.interiors
    for lon in (-180, -91, 0, 179.999):
        for lat in (85.01, 89.99, 90):
            assert region.footprint.contains(shapely.Point(to_metres(code, lon, sign * lat))), (lon, lat)
        assert not region.footprint.intersects(shapely.Point(to_metres(code, lon, sign * 84.99)))
    around = shape(region.lonlat())
    assert around.is_valid and around.bounds == pytest.approx((-180, south, 180, north), abs=0.02)
    assert around.area == pytest.approx(360 * 5, rel=2e-3)


@pytest.mark.parametrize(("code", "sign"), CODES)
def test_a_square_on_a_pole_keeps_its_place_in_degrees_and_back(code: int, sign: int) -> None:
    grid = Grid(f"EPSG:{code}", 1.0, 8)
    x, y = to_metres(code, 0, sign * 90)
    square = Region.from_bounds("pole", grid, (x - 1000, y - 1000, x + 1000, y + 1000))
    again = Region.from_geojson("pole", grid, square.lonlat())
    assert again.footprint.symmetric_difference(square.footprint).area < 0.001 * square.footprint.area
    assert again.window == square.window


@pytest.mark.parametrize("code", [3413, 5041])
def test_parts_on_both_sides_of_the_antimeridian_are_one_in_the_plane(code: int) -> None:
    region = Region.from_bbox("wrangel", Grid(f"EPSG:{code}", 10.0, 8), (178, 75, -178, 76))
    assert region.footprint.geom_type == "Polygon" and region.footprint.is_valid
    back = shape(region.lonlat())
    assert back.geom_type == "MultiPolygon" and back.area == pytest.approx(4, rel=1e-3)


@pytest.mark.parametrize("turn", [1, -1])
@pytest.mark.parametrize(("lat", "bounds"), [(80, (-180, 80, 180, 90)), (-70, (-180, -90, 180, -70))])
@pytest.mark.parametrize("first", [0.0, 37.0, 180.0])
def test_a_scene_whose_ring_runs_around_a_pole_holds_it(
    first: float, lat: float, bounds: tuple[float, ...], turn: int
) -> None:
    lon = (first + turn * np.arange(0, 360, 30) + 180) % 360 - 180
    ring = shapely.Polygon([(one, lat) for one in lon])
    assert within_180(ring).bounds == pytest.approx(bounds)
    assert within_180(ring).area == pytest.approx(360 * (90 - abs(lat)))


@pytest.mark.parametrize("code", [2180, 5514, 2054, 32661, 32761])
def test_axes_in_another_order_are_metres(code: int) -> None:
    assert Grid(f"EPSG:{code}", 1.25, 8).crs == f"EPSG:{code}"


def region(crs: str, west: float, south: float, size: float = 0.05) -> Region:
    return Region.from_bbox("field", Grid(crs, 1.25, 8), (west, south, west + size, south + size))


def test_metres_that_are_off_are_reported_then_refused() -> None:
    assert check_ground_scale(region("EPSG:32632", 11.95, 48.0)) is None
    assert ground_scale(region("EPSG:32632", 9.0, 48.0)) == pytest.approx((0.9996**-1, 0.9996**-1), abs=2e-6)
    assert "EPSG:32632" in (check_ground_scale(region("EPSG:32632", 15.5, 48.0)) or "")
    assert "EPSG:3413" in (check_ground_scale(region("EPSG:3413", -45.0, 80.0)) or "")
    with pytest.raises(RequestError, match=r"1 m of EPSG:3857 is 0\.66.* UTM zone"):
        check_ground_scale(region("EPSG:3857", 11.95, 48.0))


def test_bounds_that_are_not_on_earth_are_refused() -> None:
    place = Region.from_bounds("far", Grid("EPSG:6931", 1.25, 8), (3e7, 3e7, 3.001e7, 3.001e7))
    with pytest.raises(RequestError, match="not on Earth"):
        check_ground_scale(place)
