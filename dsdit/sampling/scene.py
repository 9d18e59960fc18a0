"""`super_resolve`: one scene in memory as xarray, with what a run does to it: matching, registration, restoring.

The tiles, their blending and the restoring of LR truth are those of a mosaic; only the noise, which counts with more
than one step, is drawn for the scene and not by position on Earth.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from odc.geo.xr import xr_coords

from dsdit.bands import BANDS
from dsdit.errors import RequestError
from dsdit.imaging.bounds import reflectance_bounds, restore_within
from dsdit.imaging.fill import carry
from dsdit.imaging.radiometry import Curve
from dsdit.imaging.sensor import gaussian_sigma_px
from dsdit.lattice.tiling import FILL_RADIUS_LR_PX
from dsdit.model.weights import load_weights
from dsdit.plan.sampler_settings import SamplerSettings
from dsdit.sampling.picture import Conditioned, draw_picture
from dsdit.sampling.scene_input import Raster, check_lr, on_lr_grid, read_raster, scale_of
from dsdit.sampling.scene_reference import prepare_reference

if TYPE_CHECKING:
    from dsdit.model.weights import Weights

Array = NDArray[np.float32]
Setting = Literal["default", "faithful"]


def super_resolve(
    lr: xr.DataArray,
    ref: xr.DataArray | None = None,
    *,
    weights: str | Weights = "dsdit-tiny",
    setting: Setting = "default",
    scale: int | None = None,
    mtf_nyquist: float | None = None,
    register: bool = True,
    seed: int = 0,
    device: str = "cpu",
) -> xr.DataArray:
    """LR (band, y, x) in reflectance -> (band, y, x) in reflectance on `scale` times finer pixels, float32.

    lr: red, green, blue with CRS and coordinates as rioxarray or odc-geo write them; NaN where there is no value.
        Set clouds and their shadows to NaN too: they falsify the reference's gain and offset everywhere.
    ref: a finer picture of another date on an aligned grid of the same CRS; it may cover less or more than `lr`.
    weights: shipped name, folder, or loaded weights. setting: "default" or "faithful", the two of the weights.
    scale: the ratio of the pixel sizes where `ref` is given, else 8 by default; a whole number of 4 to 16.
    mtf_nyquist: MTF of LR's sensor at its Nyquist frequency; by default that of the weights' training.
    register: moves the reference by one shift that is estimated from LR. Gain and offset are always matched.

    The mean over LR's sensor gives back `lr` to within 0.001. NaN is where `lr` has none, and nowhere else.
    Raises RequestError for input that cannot be used, WeightsError for weights.
    """
    scene = read_raster(lr, "lr")
    check_lr(scene)
    reference = None if ref is None else read_raster(ref, "ref")
    ratio = scale_of(scene, reference, scale)
    loaded = load_weights(weights, device) if isinstance(weights, str) else weights
    mtf = _checked_mtf(loaded.config.sensor.mtf_nyquist if mtf_nyquist is None else mtf_nyquist, ratio)
    settings = _settings(loaded, setting, seed)
    fine = None if reference is None else on_lr_grid(reference, scene, ratio)
    values = _draw(loaded, scene, fine, ratio, mtf, settings, register) if scene.valid.any() else None
    return _as_dataarray(lr, scene, ratio, values)


def _checked_mtf(mtf_nyquist: float, scale: int) -> float:
    try:
        gaussian_sigma_px(mtf_nyquist, scale)
    except ValueError as error:
        raise RequestError(str(error)) from error
    return mtf_nyquist


def _settings(weights: Weights, setting: str, seed: int) -> SamplerSettings:
    own = {"default": weights.config.sampler, "faithful": weights.config.faithful}
    if setting not in own:
        raise RequestError(f"setting is {setting!r}: it must be one of {sorted(own)}")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise RequestError(f"seed is {seed!r}: it must be a whole number from 0 to 2^63 - 1")
    return SamplerSettings(**asdict(own[setting]), seed=seed)


def _draw(
    weights: Weights,
    scene: Raster,
    ref: Array | None,
    scale: int,
    mtf_nyquist: float,
    settings: SamplerSettings,
    register: bool,
) -> Array:
    """(3, y, x) reflectance, restored to LR; finite also where LR is not valid."""
    valid, curve = scene.valid, Curve(weights.config.curve_maximum)
    lr = carry(scene.values, valid, FILL_RADIUS_LR_PX)
    matched, ref_valid = None, None
    if ref is not None:
        reflectance, ref_valid = prepare_reference(lr, valid, ref, scale, mtf_nyquist, register)
        matched = curve.forward(reflectance)
    given = Conditioned.of(curve.forward(lr), scale, mtf_nyquist, matched, ref_valid)
    picture = draw_picture(weights, given, settings, _finer(valid, scale))
    bounds = reflectance_bounds(lr, scale, ref_valid)
    return restore_within(curve.inverse(picture), lr, scale, mtf_nyquist, bounds, valid)


def _finer(mask: NDArray[np.bool_], scale: int) -> NDArray[np.bool_]:
    return np.repeat(np.repeat(mask, scale, 0), scale, 1)


def _as_dataarray(lr: xr.DataArray, scene: Raster, scale: int, values: Array | None) -> xr.DataArray:
    """`values` with fine coordinates, CRS and LR's other scalar coordinates; None is NaN everywhere."""
    valid = _finer(scene.valid, scale)
    pixels = np.full((len(BANDS), *valid.shape), np.nan, np.float32)
    if values is not None:
        pixels[:, valid] = values[:, valid]
    fine = xr_coords(scene.geobox.zoom_out(1 / scale))
    scalars = {name: c for name, c in lr.coords.items() if c.ndim == 0 and name not in fine}
    coords = {**scalars, **fine, "band": list(BANDS)}
    attrs = {"long_name": "super-resolved surface reflectance", "units": "1"}
    out = xr.DataArray(pixels, coords, ("band", "y", "x"), "sr", attrs)
    out.encoding["grid_mapping"] = "spatial_ref"
    return out
