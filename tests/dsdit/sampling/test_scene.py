"""`dsdit.super_resolve`: DataArrays in and out, LR truth, gaps, references, and sentences for what cannot be used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rioxarray
import xarray as xr

import dsdit
from dsdit.errors import RequestError
from dsdit.imaging.bounds import reflectance_bounds, restore_within
from dsdit.imaging.radiometry import Curve
from dsdit.imaging.sensor import EVALUATION_MTF, decimate, restored_lr, upsample
from dsdit.imaging.shift import moved
from dsdit.model.weights import Weights, load_weights
from dsdit.plan.sampler_settings import SamplerDefaults
from dsdit.sampling import picture
from dsdit.sampling.scene_reference import match, register

SHAPE = (256, 328)
ORIGIN = (300_000.0, 5_000_000.0)


def ground(seed: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """(3, y, x) reflectance with structure of 32, 8 and 2 px; bands differ."""
    rng = np.random.default_rng(seed)
    out = np.array([0.12, 0.15, 0.1], np.float32)[:, None, None] + np.zeros((3, *shape), np.float32)
    for factor, strength in ((32, 0.03), (8, 0.02), (2, 0.01)):
        layer = rng.normal(0, strength, (1, -(-shape[0] // factor), -(-shape[1] // factor))).astype(np.float32)
        out += upsample(layer, factor)[:, : shape[0], : shape[1]]
    return out


def raster(values: np.ndarray, px: float, corner: tuple[float, float] = ORIGIN, crs: str | None = "EPSG:32632") -> Any:
    coords = {
        "band": ["red", "green", "blue"],
        "y": corner[1] - px * (np.arange(values.shape[1]) + 0.5),
        "x": corner[0] + px * (np.arange(values.shape[2]) + 0.5),
    }
    array = xr.DataArray(values, coords, ("band", "y", "x"))
    return array if crs is None else array.rio.write_crs(crs)


@pytest.fixture(scope="module")
def loaded() -> Weights:
    """The shipped weights, in one pass a tile: fast."""
    weights = load_weights("dsdit-tiny")
    one = SamplerDefaults()
    return replace(weights, config=replace(weights.config, sampler=one, faithful=replace(one, ensemble=2)))


@pytest.fixture(scope="module")
def lr() -> np.ndarray:
    return decimate(ground(0), 8, EVALUATION_MTF)


def test_the_result_is_a_dataarray_of_reflectance_on_the_fine_grid(loaded: Weights, lr: np.ndarray) -> None:
    scene = raster(lr, 10.0).assign_coords(time=np.datetime64("2024-07-01", "ns"))
    out = dsdit.super_resolve(scene, raster(ground(0), 1.25), weights=loaded)
    assert (out.dims, out.shape, out.dtype, out.name) == (("band", "y", "x"), (3, *SHAPE), np.float32, "sr")
    assert out.band.values.tolist() == ["red", "green", "blue"] and out.attrs["units"] == "1"
    assert out.rio.crs == scene.rio.crs and out.rio.resolution() == (1.25, -1.25)
    assert out.rio.bounds() == scene.rio.bounds() and out.time == scene.time
    assert np.abs(decimate(out.values, 8, EVALUATION_MTF) - lr).mean() <= 0.001
    # The reference is the truth itself: most of what LR cannot resolve is found again.
    smooth = np.abs(restored_lr(lr, 8, EVALUATION_MTF) - ground(0)).mean()
    assert np.abs(out.values - ground(0)).mean() < 0.7 * smooth


@pytest.mark.parametrize("with_ref", [True, False])
def test_tiles_and_blending_are_those_of_a_picture(loaded: Weights, lr: np.ndarray, with_ref: bool) -> None:
    truth = ground(0)
    curve = Curve(loaded.config.curve_maximum)
    ref = match(lr, np.ones(lr.shape[1:], bool), truth, np.ones(SHAPE, bool), 8) if with_ref else None
    scaled = None if ref is None else curve.forward(ref)
    drawn = picture.super_resolve(loaded, curve.forward(lr), 8, scaled)
    bounds = reflectance_bounds(lr, 8, np.full(SHAPE, with_ref))
    expected = restore_within(curve.inverse(drawn), lr, 8, EVALUATION_MTF, bounds)
    given = raster(truth, 1.25) if with_ref else None
    out = dsdit.super_resolve(raster(lr, 10.0), given, weights=loaded, register=False)
    assert np.array_equal(out.values, expected)


@pytest.mark.parametrize("scale", [4, 10])
def test_other_scales_and_oblong_scenes(loaded: Weights, scale: int) -> None:
    values = decimate(ground(1, (scale * 11, scale * 37)), scale, EVALUATION_MTF)
    out = dsdit.super_resolve(raster(values, 10.0), weights=loaded, scale=scale)
    assert out.shape == (3, scale * 11, scale * 37)
    assert np.abs(decimate(out.values, scale, EVALUATION_MTF) - values).mean() <= 0.001


def test_gaps_stay_and_harm_nothing_around(loaded: Weights, lr: np.ndarray) -> None:
    gaps = lr.copy()
    gaps[:, 10:13, 20:22] = np.nan
    gaps[0, 25, 7] = np.nan
    ref = raster(ground(0), 1.25)
    whole = dsdit.super_resolve(raster(lr, 10.0), ref, weights=loaded).values
    out = dsdit.super_resolve(raster(gaps, 10.0), ref, weights=loaded).values
    missing = np.repeat(np.repeat(np.isnan(gaps).any(0), 8, 0), 8, 1)
    assert np.array_equal(np.isnan(out), np.broadcast_to(missing, out.shape))
    error = [np.abs(p - ground(0))[:, ~missing] for p in (out, whole)]
    assert error[0].mean() < 1.1 * error[1].mean() and error[0].max() < error[1].max() + 0.05


def test_no_value_at_all_is_no_value_at_all(loaded: Weights) -> None:
    out = dsdit.super_resolve(raster(np.full((3, 9, 12), np.nan, np.float32), 10.0), weights=loaded)
    assert out.shape == (3, 72, 96) and out.isnull().all()


def test_a_reference_may_cover_a_part_and_have_gaps(loaded: Weights, lr: np.ndarray) -> None:
    part = ground(0)[:, 64:, :160].copy()
    part[:, 40:80, 40:80] = np.nan
    without = dsdit.super_resolve(raster(lr, 10.0), weights=loaded).values
    scene, piece = raster(lr, 10.0), raster(part, 1.25, (ORIGIN[0], ORIGIN[1] - 80.0))
    out = dsdit.super_resolve(scene, piece, weights=loaded).values
    truth, covered, bare = ground(0), (slice(None), slice(150, 256), slice(0, 130)), (slice(None), slice(0, 50))
    assert np.isfinite(out).all()
    assert np.abs(out - truth)[covered].mean() < 0.85 * np.abs(without - truth)[covered].mean()
    assert np.abs(out - truth)[bare].mean() < 1.1 * np.abs(without - truth)[bare].mean()


def test_a_displaced_reference_of_other_light_is_brought_to_lr() -> None:
    truth = ground(2, (512, 520))
    lr, valid = decimate(truth, 8, EVALUATION_MTF), np.ones((64, 65), bool)
    ref = moved(truth, 1.5, -2.25) * np.float32(0.6) + np.float32(0.05)
    back, clear = register(lr, valid, ref, np.ones(truth.shape[1:], bool), 8, EVALUATION_MTF)
    inner = (slice(None), slice(16, -16), slice(16, -16))
    matched = match(lr, valid, back, clear, 8)
    assert np.abs(matched - truth)[inner].mean() < 0.25 * np.abs(ref - truth)[inner].mean()
    assert not clear[:, -1].all() and clear[inner[1:]].all()


def test_seed_and_setting(loaded: Weights, lr: np.ndarray) -> None:
    two = replace(loaded, config=replace(loaded.config, sampler=SamplerDefaults(steps=2)))
    scene = raster(lr[:, :16, :16], 10.0)
    one, same, other = (dsdit.super_resolve(scene, weights=two, seed=seed).values for seed in (1, 1, 2))
    assert np.array_equal(one, same) and np.abs(one - other).max() > 1e-5
    faithful = dsdit.super_resolve(scene, weights=loaded, setting="faithful").values
    assert np.abs(faithful - dsdit.super_resolve(scene, weights=loaded).values).max() > 1e-5


def test_bands_may_be_numbered_or_in_another_order(loaded: Weights, lr: np.ndarray) -> None:
    scene = raster(lr[:, :16, :16], 10.0)
    expected = dsdit.super_resolve(scene, weights=loaded).values
    turned = scene.sel(band=["blue", "red", "green"])
    for given in (turned, scene.assign_coords(band=[1, 2, 3]), scene.drop_vars("band")):
        assert np.array_equal(dsdit.super_resolve(given, weights=loaded).values, expected)


SCENE = ground(3, (16, 24))
FINE = ground(3, (128, 192))
REFUSED: dict[str, tuple[Any, Any, dict[str, Any], str]] = {
    "bands": (raster(SCENE, 10.0).isel(band=[0, 1]), None, {}, r"lr has bands \['red', 'green'\]: select red, green"),
    "names": (raster(SCENE, 10.0).assign_coords(band=["a", "b", "c"]), None, {}, r"\['a', 'b', 'c'\]"),
    "dimensions": (raster(SCENE, 10.0).transpose("y", "x", "band"), None, {}, r"\('y', 'x', 'band'\): transpose"),
    "small": (raster(SCENE[:, :7], 10.0), None, {}, r"lr has 7 x 24 pixels \(y, x\): it needs 8 x 8"),
    "dn": (raster(SCENE * 10000, 10.0), None, {}, r"lr has values up to \d+.*divide by 10000\?"),
    "dn of ref": (raster(SCENE, 10.0), raster(FINE * 10000, 1.25), {}, "ref has values up to"),
    "no crs": (raster(SCENE, 10.0, crs=None), None, {}, r"lr has no CRS: set it, for example with lr.rio.write_crs"),
    "no coordinates": (raster(SCENE, 10.0).drop_vars("y"), None, {}, "lr has no coordinate 'y'"),
    "uneven": (raster(SCENE, 10.0).isel(x=[0, 1, 2, 4, 5, 6, 7, 8, 9]), None, {}, "evenly spaced along 'x'"),
    "south up": (raster(SCENE, 10.0).isel(y=slice(None, None, -1)), None, {}, "lr is not north-up"),
    "crs": (raster(SCENE, 10.0), raster(FINE, 1.25, crs="EPSG:32633"), {}, "EPSG:32632 and ref in EPSG:32633"),
    "ratio": (raster(SCENE, 10.0), raster(FINE, 1.5), {}, r"a ratio of 6.66667: .*whole number from 4 to 16"),
    "large ratio": (raster(SCENE, 10.0), raster(FINE, 0.5), {}, "a ratio of 20"),
    "two scales": (raster(SCENE, 10.0), raster(FINE, 1.25), {"scale": 4}, "scale is 4 .* ratio 8: leave scale out"),
    "scale": (raster(SCENE, 10.0), None, {"scale": 3}, "scale is 3: it must be a whole number from 4 to 16"),
    "fraction": (raster(SCENE, 10.0), None, {"scale": 7.5}, "scale is 7.5"),
    "off the grid": (raster(SCENE, 10.0), raster(FINE, 1.25, (ORIGIN[0] + 0.5, ORIGIN[1])), {}, "aligned.* 0.400"),
    "elsewhere": (raster(SCENE, 10.0), raster(FINE, 1.25, (ORIGIN[0] + 1e4, ORIGIN[1])), {}, "do not overlap"),
    "setting": (raster(SCENE, 10.0), None, {"setting": "best"}, "setting is 'best'"),
    "seed": (raster(SCENE, 10.0), None, {"seed": -1}, "seed is -1"),
    "mtf": (raster(SCENE, 10.0), None, {"mtf_nyquist": 0.9}, "mtf_nyquist is 0.9"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_one_sentence(loaded: Weights, case: str) -> None:
    lr, ref, options, sentence = REFUSED[case]
    with pytest.raises(RequestError, match=sentence) as refused:
        dsdit.super_resolve(lr, ref, weights=loaded, **options)
    assert "\n" not in str(refused.value)


def test_a_pair_of_the_sample_region(loaded: Weights, catalog: Path) -> None:
    """A scene and an aerial image of another year as files, opened as rioxarray opens them.

    The window is clear in the scene, and the image covers it: the reference takes a quarter of the error away.
    """

    def opened(path: str) -> xr.DataArray:
        array = rioxarray.open_rasterio(catalog / path)
        assert isinstance(array, xr.DataArray)
        return array

    scene, rows, cols = "sample-lr/s2-t32upu-20240706", slice(0, 80), slice(96, 176)
    dn = xr.concat([opened(f"{scene}/{band}.tif") for band in ("red", "green", "blue")], "band")
    lr = (dn.where(dn > 0) * 1e-4 - 0.1).assign_coords(band=["red", "green", "blue"])[:, rows, cols]
    assert np.isin(opened(f"{scene}/scl.tif").values[0, :40, 48:88], (4, 5, 6)).all()
    image = opened("sample-ref/ref-20230704-e/image.tif")[:3]
    ref = image.where(image > 0) / 255 * 0.4
    assert ref.sel(x=slice(lr.x[0], lr.x[-1]), y=slice(lr.y[0], lr.y[-1])).notnull().all()
    truth = opened("truth/hr.tif").values[:, : 80 * 8, 96 * 8 : 176 * 8] * np.float32(1e-4)
    out = dsdit.super_resolve(lr, ref, weights=loaded).values
    without = dsdit.super_resolve(lr, weights=loaded).values
    assert out.shape == truth.shape
    assert np.abs(decimate(out, 8, EVALUATION_MTF) - lr.values).mean() <= 0.001
    error, alone = (float(np.abs(p - truth).mean()) for p in (out, without))
    assert error < 0.8 * alone, (error, alone)


def test_a_cloud_in_lr_is_to_be_masked(loaded: Weights, lr: np.ndarray) -> None:
    """As NaN it changes nothing far from it; as values it would change gain and offset everywhere."""
    ref = raster(ground(0) * np.float32(1.1), 1.25)
    cloud = np.zeros(lr.shape[1:], bool)
    cloud[:10, :10] = True
    bright, masked = np.where(cloud, np.float32(0.6), lr), np.where(cloud, np.float32(np.nan), lr)
    far = (slice(None), slice(20 * 8, None), slice(20 * 8, None))
    clear, clouded, hidden = (
        dsdit.super_resolve(raster(values, 10.0), ref, weights=loaded).values[far] for values in (lr, bright, masked)
    )
    assert np.abs(hidden - clear).mean() < 0.05 * np.abs(clouded - clear).mean()
