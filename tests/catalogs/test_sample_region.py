"""The sample region: repeatable, anchored, seen through A, and lacking what it says is lacking."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.features import geometry_mask
from rasterio.warp import Resampling, reproject, transform_geom

from catalogs import sample_region
from catalogs.sample_region import make_sample_region
from catalogs.sample_region.frame import Frame
from dsdit.bands import BANDS
from dsdit.errors import RequestError, StoreError
from dsdit.imaging.sensor import EVALUATION_MTF, decimate

SIZE_M = (400.0, 600.0)
MARGIN_M = 300.0
SHADOW, CLOUDS = 3, (8, 9)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "region"
    assert make_sample_region(folder, size_m=SIZE_M, margin_m=MARGIN_M) == folder / "catalog.json"
    return folder


@pytest.fixture(scope="module")
def items(made: Path) -> dict[str, pystac.Item]:
    return {item.id: item for item in pystac.Catalog.from_file(str(made / "catalog.json")).get_items(recursive=True)}


def _digests(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*.*"))}


def _read(path: str | Path | None) -> tuple[NDArray, rasterio.DatasetReader]:
    assert path is not None
    with rasterio.open(path) as source:
        return source.read(), source


def _lr(item: pystac.Item) -> tuple[NDArray, NDArray, rasterio.DatasetReader]:
    """(dn, scl at 10 m, the red file)."""
    dn = np.concatenate([_read(item.assets[band].get_absolute_href())[0] for band in BANDS])
    scl = _read(item.assets["scl"].get_absolute_href())[0][0]
    return dn, scl.repeat(2, 0).repeat(2, 1), _read(item.assets["red"].get_absolute_href())[1]


def _truth(made: Path) -> tuple[NDArray, rasterio.DatasetReader]:
    dn, file = _read(made / "truth" / "hr.tif")
    return dn.astype(np.float32) * np.float32(1e-4), file


def _mosaic(made: Path, items: dict[str, pystac.Item], date: str) -> NDArray:
    """Red, green, blue of both flights of a date on the truth's grid; 0 where no reference is."""
    truth, file = _truth(made)
    out = np.zeros(truth.shape, np.uint8)
    for side in "we":
        dn, ref = _read(items[f"ref-{date}-{side}"].assets["image"].get_absolute_href())
        column = round((ref.transform.c - file.transform.c) / 1.25)
        here = out[:, :, column : column + dn.shape[2]]
        here[:] = np.where(dn[:3] > 0, dn[:3], here)
    return out


def _region(values: NDArray) -> NDArray:
    margin = round(MARGIN_M / 1.25)
    return values[..., margin : margin + round(SIZE_M[0] / 1.25), margin : margin + round(SIZE_M[1] / 1.25)]


def test_one_seed_gives_the_same_bytes_and_another_seed_another_land(made: Path, tmp_path: Path) -> None:
    again = make_sample_region(tmp_path / "again", size_m=SIZE_M, margin_m=MARGIN_M).parent
    assert _digests(again) == _digests(made)
    other = make_sample_region(tmp_path / "other", seed=8, size_m=SIZE_M, margin_m=MARGIN_M).parent
    difference = np.abs(_truth(other)[0] - _truth(made)[0])
    assert np.mean(difference > 0.01) > 0.4


def test_every_file_is_where_its_item_states_and_on_the_lattice(items: dict[str, pystac.Item]) -> None:
    assert len(items) == 6
    crs = set()
    for item in items.values():
        for asset in item.assets.values():
            assert asset.href.startswith("./")
            file = _read(asset.get_absolute_href())[1]
            assert file.crs.to_string() == item.properties["proj:code"]
            assert [file.height, file.width] == asset.extra_fields["proj:shape"]
            assert list(file.transform)[:6] == asset.extra_fields["proj:transform"]
            with rasterio.open(asset.get_absolute_href()) as source:
                assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            gsd = file.transform.a
            assert file.transform.e == -gsd
            assert file.transform.c % gsd == 0
            assert file.transform.f % gsd == 0
            crs.add((item.collection_id, item.properties["proj:code"]))
    assert crs == {("sample-lr", "EPSG:32632"), ("sample-lr", "EPSG:32633"), ("sample-ref", "EPSG:32632")}


def test_the_collection_of_items_says_the_same_as_the_catalog(made: Path, items: dict[str, pystac.Item]) -> None:
    found = json.loads((made / "items.json").read_text())["features"]
    assert {record["id"] for record in found} == set(items)
    for record in found:
        assert record["collection"] == items[record["id"]].collection_id
        for name, asset in record["assets"].items():
            assert (made / asset["href"]).resolve() == Path(items[record["id"]].assets[name].get_absolute_href() or "")


def test_the_region_is_as_large_as_requested_and_not_square(made: Path) -> None:
    feature = json.loads((made / "region.geojson").read_text())["features"][0]
    west, south, east, north = feature["properties"]["bounds"]
    assert (north - south, east - west) == SIZE_M
    assert feature["properties"]["shape"] == [320, 480]
    truth, file = _truth(made)
    assert truth.shape == (3, 800, 960)
    assert (file.bounds.left, file.bounds.top) == (west - MARGIN_M, north + MARGIN_M)
    lon = [x for x, _ in feature["geometry"]["coordinates"][0]]
    assert 11.94 < min(lon) < max(lon) < 11.98


def test_lr_is_the_truth_seen_through_the_sensor(made: Path, items: dict[str, pystac.Item]) -> None:
    truth, file = _truth(made)
    for name, gain in (("s2-t32upu-20240706", (1.0, 1.0, 1.0)), ("s2-t33utp-20240711", (1.01, 1.006, 0.992))):
        dn, scl, lr = _lr(items[name])
        hr = truth
        if lr.crs != file.crs:
            fine = lr.transform @ rasterio.Affine.scale(1 / 8)
            hr = np.zeros((3, lr.height * 8, lr.width * 8), np.float32)
            reproject(truth, hr, src_transform=file.transform, src_crs=file.crs, dst_crs=lr.crs, tolerance=0,
                      dst_transform=fine, resampling=Resampling.cubic)  # fmt: skip
        clear = (scl > 0) & (scl != SHADOW) & ~np.isin(scl, CLOUDS)
        assert clear.mean() > 0.4
        seen = decimate(hr, 8, EVALUATION_MTF) * np.array(gain, np.float32)[:, None, None]
        error = (dn.astype(np.float32) * 1e-4 - 0.1 - seen)[:, clear]
        assert np.abs(error.mean()) < 1e-4
        assert error.std() == pytest.approx(0.001, rel=0.1)
        assert np.abs(error).max() < 0.007


def test_clouds_and_shadows_are_flagged_and_counted(items: dict[str, pystac.Item]) -> None:
    cloudy = {}
    for name in ("s2-t32upu-20240706", "s2-t33utp-20240711"):
        dn, scl, _ = _lr(items[name])
        reflectance = dn * 1e-4 - 0.1
        assert reflectance[:, scl == 9].mean() > 0.4
        assert reflectance[:, scl == SHADOW].mean() < reflectance[:, np.isin(scl, (4, 5))].mean()
        assert set(np.unique(scl)) <= {0, 3, 4, 5, 6, 8, 9}
        share = 100 * np.isin(scl, CLOUDS).sum() / (scl > 0).sum()
        assert items[name].properties["eo:cloud_cover"] == pytest.approx(share, abs=0.01)
        assert 1 < share < 30
        cloudy[name] = np.isin(scl, CLOUDS)
    assert len({mask.sum() for mask in cloudy.values()}) == 2


def test_a_small_place_is_cloudy_in_both_scenes(items: dict[str, pystac.Item]) -> None:
    _, first, file = _lr(items["s2-t32upu-20240706"])
    _, second, other = _lr(items["s2-t33utp-20240711"])
    moved = np.zeros_like(first)
    reproject(second, moved, src_transform=other.transform, src_crs=other.crs, dst_transform=file.transform,
              dst_crs=file.crs, resampling=Resampling.nearest)  # fmt: skip
    both = np.isin(first, CLOUDS) & np.isin(moved, CLOUDS)
    assert 4 < both.sum() < 0.5 * np.isin(first, CLOUDS).sum()


def test_one_scene_ends_at_a_slanted_edge_of_its_swath(items: dict[str, pystac.Item]) -> None:
    dn, scl, file = _lr(items["s2-t33utp-20240711"])
    assert not dn[:, scl == 0].all()
    inside = geometry_mask(
        [transform_geom("EPSG:4326", file.crs, items["s2-t33utp-20240711"].geometry)], dn.shape[1:], file.transform
    )
    assert np.mean((dn[0] > 0) == ~inside) > 0.99
    last = [np.flatnonzero(row)[-1] for row in (dn[0] > 0) if row.sum() > 20]
    assert np.ptp(last[3:-3]) > 3
    whole, _, _ = _lr(items["s2-t32upu-20240706"])
    assert (whole > 0).all()


def test_a_corner_has_no_reference_and_the_west_only_the_older(made: Path, items: dict[str, pystac.Item]) -> None:
    newer, older = (_region(_mosaic(made, items, date)[0] > 0) for date in ("20230704", "20210812"))
    assert np.mean(~newer & ~older) == pytest.approx(0.15, abs=0.005)
    assert not (newer | older)[-20:, -20:].any()
    assert 0.05 < np.mean(older & ~newer) < 0.2
    assert not np.any(newer & ~older)


def test_the_land_has_changed_since_the_references(made: Path, items: dict[str, pystac.Item]) -> None:
    from catalogs.sample_region.landscape import draw_landscape

    frame = Frame.of(SIZE_M, MARGIN_M)
    land = draw_landscape(frame.landscape_m, frame.inner, np.random.Generator(np.random.Philox(key=[7, 0])))
    truth, _ = _truth(made)
    newer = _mosaic(made, items, "20230704") * np.float32(0.4 / 255)
    here = rasterio.Affine(1.25, 0, 0, 0, 1.25, 0)
    felled = ~geometry_mask([land.clearing.buffer(-20)], truth.shape[1:], here) & (newer[0] > 0)
    assert felled.sum() > 100
    assert truth[0, felled].mean() > 0.09
    assert newer[0, felled].mean() < 0.06
    red = (land.buildings.built == 2024) & (land.buildings.roof == 0) & (land.buildings.length_m > 10)
    roofs = [roof for roof, chosen in zip(land.buildings.footprints(-2.5), red, strict=True) if chosen]
    new = ~geometry_mask(roofs, truth.shape[1:], here) & (newer[0] > 0)
    assert new.sum() > 50
    assert np.mean(truth[0, new] - truth[1, new]) > 0.04
    assert np.mean(newer[0, new] - newer[1, new]) < 0


def test_a_bright_point_is_in_truth_and_references(tmp_path: Path) -> None:
    at = (720_101.0, 5_321_877.0)
    folder = make_sample_region(tmp_path / "x", size_m=(260.0, 400.0), margin_m=100.0, bright_points=[at]).parent
    for path in (folder / "truth" / "hr.tif", folder / "sample-ref" / "ref-20210812-w" / "image.tif"):
        values, file = _read(path)
        row, column = file.index(*at)
        near = values[0, row - 8 : row + 9, column - 8 : column + 9].astype(float)
        assert near[8, 8] == near.max()
        assert near[8, 8] > 1.5 * near[0, 0]


def test_nothing_half_made_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(sample_region, "write_region", broken)
    with pytest.raises(OSError, match="disk full"):
        make_sample_region(tmp_path / "x", size_m=(200.0, 300.0), margin_m=100.0)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(StoreError, match="no sample region"):
        make_sample_region(tmp_path)
    assert (tmp_path / "letter.txt").read_text() == "dear"


@pytest.mark.parametrize("size_m", [(405.0, 600.0), (400.0, 100.0), (400.0, 20_000.0)])
def test_a_size_that_cannot_be_had_is_refused(tmp_path: Path, size_m: tuple[float, float]) -> None:
    with pytest.raises(RequestError, match="size_m"):
        make_sample_region(tmp_path / "x", size_m=size_m)
