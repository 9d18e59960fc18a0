"""Reading: the same in every window, without what is no data, and loud when a file is broken."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds

from catalogs.item import SceneItem
from catalogs.masks import CLOUD, NO_DATA, VALID
from catalogs.read import window as stored_pixels
from catalogs.read.scene import read_bands, read_mask
from catalogs.source import Source
from dsdit.errors import ReadError
from tests.support.stac import make_source

UTM, OTHER_UTM = "EPSG:32632", "EPSG:32633"
ORIGIN = Affine(10, 0, 500_000, 0, -10, 5_300_000)


def scene(endpoint: Path | str, href: str, asset: str = "image", **changes: Any) -> tuple[SceneItem, Source]:
    """An item of one three-band file, whose reflectance is its dn."""
    bands = {band: {"asset": asset, "index": k} for k, band in enumerate(("red", "green", "blue"), 1)}
    known: dict[str, Any] = {"bands": bands, "rule": {"kind": "fixed", "scale": 1.0}, "mask": {"kind": "none"}}
    source = make_source(endpoint, **known | {"nodata": None} | changes)
    unit, zero = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
    item = SceneItem(
        source="scenes", id="a-scene", collection="scenes", when=datetime(2024, 6, 1, tzinfo=UTC), footprint={},
        bbox=(0, 0, 0, 0), hrefs={asset: href, "scl": "scl.tif"}, scale=unit, offset=zero, crs=None, cloud_cover=None,
        gsd_m=None, updated=None, platform=None, tile=None, digest="0",
    )  # fmt: skip
    return item, source


def write(path: Path, values: NDArray, transform: Affine = ORIGIN, crs: str = UTM, **profile: Any) -> Path:
    options = {"driver": "GTiff", "tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"} | profile
    count, height, width = values.shape
    place = {"count": count, "height": height, "width": width, "crs": crs, "transform": transform}
    with rasterio.open(path, "w", dtype=values.dtype.name, **place, **options) as file:
        file.write(values)
    return path


def picture(height: int = 210, width: int = 330, seed: int = 1) -> NDArray[np.uint16]:
    """(3, y, x) uint16 without zeros, smooth with some noise."""
    rows, cols = np.mgrid[:height, :width]
    noise = np.random.default_rng(seed).integers(0, 200, (3, height, width))
    smooth = 3000 + 900 * np.sin(rows / 9) + 700 * np.cos(cols / 13)
    return (smooth + noise).astype(np.uint16)


def lattice(path: Path, crs: str, gsd_m: float, edge: int = 3) -> tuple[int, int, int, int]:
    """(row, col, height, width) of global pixels that cover a file, `edge` more on each side."""
    with rasterio.open(path) as file:
        west, south, east, north = transform_bounds(file.crs, crs, *file.bounds)
    row, col = math.floor(-north / gsd_m) - edge, math.floor(west / gsd_m) - edge
    return row, col, math.ceil(-south / gsd_m) + edge - row, math.ceil(east / gsd_m) + edge - col


def box_on(crs: str, gsd_m: float, row: int, col: int, height: int, width: int) -> GeoBox:
    return GeoBox((height, width), Affine(gsd_m, 0, col * gsd_m, 0, -gsd_m, -row * gsd_m), crs)


@pytest.mark.shared
def test_a_real_mask_takes_pixels_away(shared: Path) -> None:
    path = shared / "geo/nasty/cog_rgb_mask.tif"
    item, source = scene(path.parent, path.name)
    with rasterio.open(path) as file:
        geobox = GeoBox(file.shape, file.transform, str(file.crs))
        stored, mask = file.read(), file.dataset_mask() > 0
    values, valid = read_bands(item, source, geobox, "cubic")
    assert 0 < mask.mean() < 1
    assert (valid == mask).all()
    assert (values[:, valid] == stored[:, valid]).all()


@pytest.mark.shared
def test_a_real_corrupt_file_is_an_error(shared: Path) -> None:
    item, source = scene(shared / "geo/nasty", "corrupt_image.TIF")
    with pytest.raises(ReadError, match="a-scene, asset image"):
        read_bands(item, source, GeoBox((8, 8), ORIGIN, UTM), "cubic")


@pytest.mark.parametrize("gsd_m", [10.0, 1.25, 5 / 3, 8 / 7, 37.0])
@pytest.mark.parametrize("crs", [UTM, OTHER_UTM])
@pytest.mark.parametrize("resampling", ["cubic", "bilinear", "average", "nearest"])
def test_every_window_reads_the_same(tmp_path: Path, crs: str, gsd_m: float, resampling: str) -> None:
    stored = picture(70, 110)
    stored[:, 20:26, 30:33] = 0
    place = ORIGIN @ Affine.translation(0.3, -0.2)
    path = write(tmp_path / "a.tif", stored, place, nodata=0)
    item, source = scene(tmp_path, "a.tif")
    row, col, height, width = lattice(path, crs, gsd_m)
    whole, valid = read_bands(item, source, box_on(crs, gsd_m, row, col, height, width), resampling)
    rng = np.random.default_rng(3)
    for _ in range(3):
        high, wide = max(2, height // 4), max(2, width // 3)
        y, x = int(rng.integers(0, height - high)), int(rng.integers(0, width - wide))
        part, seen = read_bands(item, source, box_on(crs, gsd_m, row + y, col + x, high, wide), resampling)
        assert (seen == valid[y : y + high, x : x + wide]).all()
        np.testing.assert_array_equal(part, whole[:, y : y + high, x : x + wide])


@pytest.mark.parametrize("resampling", ["cubic", "bilinear", "average", "nearest"])
@pytest.mark.parametrize("gsd_m", [10.0, 0.6])
def test_the_same_lattice_comes_out_as_stored(tmp_path: Path, resampling: str, gsd_m: float) -> None:
    stored = picture()
    stored[:, 50:60, 70:71] = 0
    stored[0, 5, 6] = 0
    write(tmp_path / "a.tif", stored, Affine(gsd_m, 0, 83_333 * gsd_m, 0, -gsd_m, 777_777 * gsd_m), nodata=0)
    item, source = scene(tmp_path, "a.tif")
    geobox = box_on(UTM, gsd_m, -777_777 - 20, 83_333 - 30, 250, 390)
    values, valid = read_bands(item, source, geobox, resampling)
    inside = (slice(20, 230), slice(30, 360))
    data = (stored != 0).any(axis=0)
    assert (valid[inside] == data).all()
    assert valid.sum() == data.sum()
    assert (values[(..., *inside)][:, data] == stored[:, data]).all()
    assert np.isnan(values[:, ~valid]).all()


@pytest.mark.parametrize("crs", [UTM, OTHER_UTM])
@pytest.mark.parametrize("gsd_m", [8.0, 25.0])
@pytest.mark.parametrize("resampling", ["cubic", "bilinear", "average"])
def test_nodata_is_not_mixed_in(tmp_path: Path, crs: str, gsd_m: float, resampling: str) -> None:
    stored = np.full((3, 80, 120), 5000, np.uint16)
    stored[:, 30:45, 40:70] = 0
    path = write(tmp_path / "a.tif", stored, ORIGIN @ Affine.translation(0.4, 0.4))
    item, source = scene(tmp_path, "a.tif", nodata=0)
    values, valid = read_bands(item, source, box_on(crs, gsd_m, *lattice(path, crs, gsd_m)), resampling)
    assert 0.5 < valid.mean() < 0.97
    np.testing.assert_allclose(values[:, valid], 5000, rtol=1e-5)


def test_a_nodata_that_the_file_does_not_state_is_not_mixed_in_by_a_coarse_read(tmp_path: Path) -> None:
    """Neither by GDAL's averages nor by overviews; with the value stated all is as it is without."""
    stored = picture(512, 704)
    stored[:, 130:201, 260:333], stored[:, 400:, 600:] = 0, 0
    place = {"stated": 0, "untold": None}
    for name, nodata in place.items():
        path = write(tmp_path / f"{name}.tif", stored, ORIGIN @ Affine.translation(0.4, 0.4), nodata=nodata)
        with rasterio.open(path, "r+") as file:
            file.build_overviews([2, 4, 8], Resampling.average)
    for crs, gsd_m in ((UTM, 40.0), (OTHER_UTM, 42.0), (UTM, 320.0)):
        row, col, height, width = lattice(path, crs, gsd_m)
        geobox = box_on(crs, gsd_m, row, col, height, width)
        (values, valid), (expected, seen) = (
            read_bands(*scene(tmp_path, f"{name}.tif", nodata=0), geobox, "average") for name in reversed(place)
        )
        assert 0.4 < valid.mean() < 0.97
        assert values[:, valid].min() > 1300
        assert (valid ^ seen).mean() < 0.01
        apart = np.abs(values - expected)[:, valid & seen]
        assert apart.max() < (1 if gsd_m < 100 else 100) and apart.mean() < 2
        part, known = read_bands(
            *scene(tmp_path, "untold.tif", nodata=0), box_on(crs, gsd_m, row + 3, col + 2, 5, 7), "average"
        )
        np.testing.assert_array_equal(part, values[:, 3:8, 2:9])
        np.testing.assert_array_equal(known, valid[3:8, 2:9])


def test_parts_of_a_coarse_read_are_one_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = picture(300, 420).astype(np.float32) / 7
    stored[:, 50:90, 100:160] = 0
    write(tmp_path / "a.tif", stored)
    item = scene(tmp_path, "a.tif", nodata=0)
    geobox = box_on(UTM, 80.0, *lattice(tmp_path / "a.tif", UTM, 80.0))
    whole, _ = read_bands(*item, geobox, "average")
    for side in (4, 12, 100):
        monkeypatch.setattr(stored_pixels, "PART_PX", side)
        np.testing.assert_array_equal(read_bands(*item, geobox, "average")[0], whole)
    monkeypatch.setattr(stored_pixels, "PART_PX", 2)
    with pytest.raises(ReadError, match=r"4 x 4 px of the file fall into one, and its nodata \(0.0\) is not stated"):
        read_bands(*item, geobox, "average")


def test_an_infrared_band_called_alpha_blackens_no_coarse_read(tmp_path: Path) -> None:
    stored = np.full((4, 256, 384), 100, np.uint8)
    stored[3, :, :200] = 0
    write(tmp_path / "a.tif", stored, photometric="RGB", alpha="YES")
    for gsd_m in (40.0, 160.0):
        geobox = box_on(UTM, gsd_m, *lattice(tmp_path / "a.tif", UTM, gsd_m))
        values, valid = read_bands(*scene(tmp_path, "a.tif", alpha=False), geobox, "average")
        assert valid.mean() > 0.3
        np.testing.assert_allclose(values[:, valid], 100, rtol=1e-5)
        _, masked = read_bands(*scene(tmp_path, "a.tif"), geobox, "average")
        assert 0.3 < masked.sum() / valid.sum() < 0.7


def test_nan_is_no_data(tmp_path: Path) -> None:
    stored = picture().astype(np.float32)
    stored[1, 10, 20] = np.nan
    write(tmp_path / "a.tif", stored)
    item, source = scene(tmp_path, "a.tif")
    _, valid = read_bands(item, source, GeoBox((210, 330), ORIGIN, UTM), "cubic")
    assert np.argwhere(~valid).tolist() == [[10, 20]]


def test_an_alpha_band_masks_unless_the_source_says_it_is_none(tmp_path: Path) -> None:
    stored = np.full((4, 64, 96), 100, np.uint8)
    stored[3, :, :40] = 0
    write(tmp_path / "a.tif", stored, photometric="RGB", alpha="YES")
    for geobox in (GeoBox((64, 96), ORIGIN, UTM), GeoBox((64, 96), ORIGIN @ Affine.translation(0.5, 0), UTM)):
        for alpha in (True, False):
            item, source = scene(tmp_path, "a.tif", alpha=alpha)
            values, valid = read_bands(item, source, geobox, "bilinear")
            assert valid[:, :39].any() != alpha
            assert valid[:, 42:94].all()
            assert (values[:, valid] == 100).all()


def test_reducing_does_not_alias_and_a_coarse_read_keeps_the_mean(tmp_path: Path) -> None:
    rows, cols = np.mgrid[:512, :768]
    stripes = np.where((rows // 2 + cols // 2) % 2, 100, 200).astype(np.uint8)
    fine = Affine(0.6, 0, 500_000, 0, -0.6, 5_300_000)
    path = write(tmp_path / "a.tif", np.stack([stripes] * 3), fine)
    item, source = scene(tmp_path, "a.tif")
    for gsd_m in (5.0, 20.0):
        values, valid = read_bands(item, source, box_on(UTM, gsd_m, *lattice(path, UTM, gsd_m)), "average")
        assert valid.mean() > 0.3
        assert np.abs(values[:, valid] - 150).max() < 12
    values, valid = read_bands(item, source, box_on(UTM, 2.4, *lattice(path, UTM, 2.4)), "bilinear")
    assert values[:, valid].std() < 15


def test_a_bright_point_stays_where_it_is(tmp_path: Path) -> None:
    stored = np.full((3, 100, 140), 1000, np.uint16)
    stored[:, 40, 90] = 60000
    path = write(tmp_path / "a.tif", stored)
    x, y = ORIGIN @ (90.5, 40.5)
    item, source = scene(tmp_path, "a.tif")
    for crs, gsd_m in ((UTM, 1.25), (OTHER_UTM, 1.25), (OTHER_UTM, 10.0)):
        geobox = box_on(crs, gsd_m, *lattice(path, crs, gsd_m))
        values, _ = read_bands(item, source, geobox, "bilinear")
        row, col = np.unravel_index(np.nanargmax(values[0]), geobox.shape)
        found = geobox.affine @ (col + 0.5, row + 0.5)
        xs, ys = rasterio.warp.transform(UTM, crs, [x], [y])
        assert math.hypot(found[0] - xs[0], found[1] - ys[0]) <= 0.75 * gsd_m


def test_masks_by_class(tmp_path: Path) -> None:
    classes = np.full((1, 30, 40), 4, np.uint8)
    classes[0, :5], classes[0, 5:9], classes[0, 9:12] = 0, 9, 3
    write(tmp_path / "scl.tif", classes, ORIGIN @ Affine.scale(2), nodata=0)
    item, source = scene(tmp_path, "a.tif", mask={"kind": "scl"})
    mask = read_mask(item, source, GeoBox((70, 80), ORIGIN, UTM))
    expected = [NO_DATA] * 10 + [CLOUD] * 14 + [VALID] * 36 + [NO_DATA] * 10
    assert (mask == np.array(expected)[:, None]).all()


def test_masks_by_bits_as_in_qa_pixel(tmp_path: Path) -> None:
    clear, fill, dilated, cloud, shadow, snow = 21824, 1, 21826, 22280, 23888, 30048
    flags = np.full((1, 30, 40), clear, np.uint16)
    for row, value in enumerate((fill, dilated, cloud, shadow, snow)):
        flags[0, row] = value
    write(tmp_path / "scl.tif", flags, nodata=1)
    item, source = scene(tmp_path, "a.tif", mask={"kind": "bits", "asset": "scl"}, nodata=0)
    mask = read_mask(item, source, GeoBox((32, 40), ORIGIN, UTM))
    expected = [NO_DATA, CLOUD, CLOUD, CLOUD, VALID] + [VALID] * 25 + [NO_DATA] * 2
    assert (mask == np.array(expected)[:, None]).all()


@pytest.mark.parametrize("nodata", [0, -9999])
def test_the_nodata_of_bands_is_not_that_of_the_mask(tmp_path: Path, nodata: int) -> None:
    """As in HLS: 0 is a clear pixel of Fmask, whose own nodata is 255."""
    flags = np.zeros((1, 30, 40), np.uint8)
    flags[0, 0], flags[0, 1], flags[0, 2] = 255, 2, 64
    write(tmp_path / "scl.tif", flags, nodata=255)
    for kind in ({"kind": "bits", "cloud": [1, 3], "nodata": []}, {"kind": "scl", "cloud": [2], "nodata": []}):
        item, source = scene(tmp_path, "a.tif", mask={**kind, "asset": "scl"}, nodata=nodata)
        mask = read_mask(item, source, GeoBox((30, 40), ORIGIN, UTM))
        assert (mask == np.array([NO_DATA, CLOUD] + [VALID] * 28)[:, None]).all()


def test_without_a_mask_the_nodata_of_bands_holds(tmp_path: Path) -> None:
    stored = picture(60, 80)
    stored[:, :, :7] = 0
    write(tmp_path / "a.tif", stored)
    item, source = scene(tmp_path, "a.tif", nodata=0)
    mask = read_mask(item, source, GeoBox((60, 80), ORIGIN, UTM))
    assert (mask == np.where(np.arange(80) >= 7, VALID, NO_DATA)).all()


def test_without_a_mask_the_file_itself_says_where_data_is(tmp_path: Path) -> None:
    stored = picture(60, 80)
    stored[:, :, :7] = 0
    write(tmp_path / "a.tif", stored, nodata=0)
    item, source = scene(tmp_path, "a.tif")
    mask = read_mask(item, source, GeoBox((60, 90), ORIGIN, UTM))
    assert (mask == np.where((np.arange(90) >= 7) & (np.arange(90) < 80), VALID, NO_DATA)).all()


@pytest.mark.parametrize("compress", ["deflate", "jpeg"])
def test_a_corrupt_block_is_an_error_and_the_rest_is_readable(tmp_path: Path, compress: str) -> None:
    stored = (picture(256, 384) // 32).astype(np.uint8)
    extra: dict[str, Any] = {"photometric": "YCBCR", "interleave": "pixel"} if compress == "jpeg" else {}
    path = write(tmp_path / "a.tif", stored, compress=compress, **extra)
    size = path.stat().st_size
    content = bytearray(path.read_bytes())
    content[size // 2 : size // 2 + 400] = b"\x13\xf7" * 200
    path.write_bytes(bytes(content))
    item, source = scene(tmp_path, "a.tif")
    for geobox in (GeoBox((256, 384), ORIGIN, UTM), box_on(OTHER_UTM, 10.0, *lattice(path, OTHER_UTM, 10.0))):
        with pytest.raises(ReadError, match="a-scene, asset image"):
            read_bands(item, source, geobox, "cubic")
    _, valid = read_bands(item, source, GeoBox((40, 60), ORIGIN, UTM), "cubic")
    assert valid.all()


def test_a_file_cut_short_or_missing_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", picture(256, 384))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for href in ("a.tif", "none.tif"):
        item, source = scene(tmp_path, href)
        with pytest.raises(ReadError, match="a-scene, asset image"):
            read_bands(item, source, GeoBox((256, 384), ORIGIN, UTM), "cubic")
    with pytest.raises(ReadError, match=r"scl"):
        read_mask(item, make_source(tmp_path), GeoBox((8, 8), ORIGIN, UTM))


def test_a_vrt_that_calls_itself_tif_is_not_opened(tmp_path: Path) -> None:
    write(tmp_path / "real.tif", picture())
    with rasterio.open(tmp_path / "real.tif") as file, WarpedVRT(file, crs=OTHER_UTM) as warped:
        rasterio.shutil.copy(warped, tmp_path / "a.tif", driver="VRT")
    assert b"<VRTDataset" in (tmp_path / "a.tif").read_bytes()
    item, source = scene(tmp_path, "a.tif")
    with pytest.raises(ReadError, match="not recognized"):
        read_bands(item, source, GeoBox((8, 8), ORIGIN, UTM), "cubic")


def test_absurd_sizes_are_refused(tmp_path: Path) -> None:
    place = {"count": 3, "height": 900_000, "width": 900_000, "crs": UTM, "transform": ORIGIN}
    options = {"driver": "GTiff", "tiled": True, "sparse_ok": True, "bigtiff": "YES", "compress": "deflate"}
    shape = {"blockxsize": 32768, "blockysize": 32768}
    with rasterio.open(tmp_path / "a.tif", "w", dtype="uint8", **place, **options, **shape):
        pass
    item, source = scene(tmp_path, "a.tif")
    with pytest.raises(ReadError, match="more than the limit"):
        read_bands(item, source, GeoBox((8, 8), ORIGIN, UTM), "cubic")


def test_a_file_without_crs_or_band_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "one.tif", picture()[:1])
    with rasterio.open(tmp_path / "bare.tif", "w", driver="GTiff", dtype="uint8", count=3, height=8, width=8) as file:
        file.write(np.ones((3, 8, 8), np.uint8))
    for href, said in (("one.tif", "band 3"), ("bare.tif", "no CRS")):
        item, source = scene(tmp_path, href)
        with pytest.raises(ReadError, match=said):
            read_bands(item, source, GeoBox((8, 8), ORIGIN, UTM), "cubic")


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A server of files below tmp_path, on this machine."""

    class Ranges(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            path = Path(self.translate_path(self.path))
            if not path.is_file():
                self.send_error(404)
                return
            content, requested = path.read_bytes(), self.headers.get("range", "")
            first, _, last = requested.removeprefix("bytes=").partition("-")
            start, stop = int(first or 0), min(int(last or len(content)), len(content) - 1)
            self.send_response(206 if requested else 200)
            self.send_header("content-range", f"bytes {start}-{stop}/{len(content)}")
            self.send_header("content-length", str(stop + 1 - start))
            self.end_headers()
            self.wfile.write(content[start : stop + 1])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Ranges, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_remote_files_read_as_local_ones(web: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", picture())
    geobox = box_on(OTHER_UTM, 10.0, *lattice(path, OTHER_UTM, 10.0))
    here, _ = read_bands(*scene(tmp_path, "a.tif"), geobox, "cubic")
    there, _ = read_bands(*scene(web, f"{web}/a.tif", hosts=["127.0.0.1"]), geobox, "cubic")
    np.testing.assert_array_equal(here, there)
    with pytest.raises(ReadError, match="404"):
        read_bands(*scene(web, f"{web}/none.tif", hosts=["127.0.0.1"]), geobox, "cubic")


def test_a_remote_item_reads_no_local_file(web: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", picture())
    geobox = GeoBox((8, 8), ORIGIN, UTM)
    for href in (str(path), f"file://{path}", f"/vsimem/../{path}", "a.tif", f"/vsicurl/{web}/a.tif"):
        with pytest.raises(ReadError, match="href"):
            read_bands(*scene(web, href, hosts=["127.0.0.1"]), geobox, "cubic")
    with pytest.raises(ReadError, match="host"):
        read_bands(*scene(web, f"{web}/a.tif", hosts=["data.example"]), geobox, "cubic")
