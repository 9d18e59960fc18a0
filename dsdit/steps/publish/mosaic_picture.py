"""The picture of a mosaic as PNG: LR | reference | SR | residual, on one scale of reflectance."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dsdit.bands import BANDS
from dsdit.mosaic.template import level_count, level_url, mosaic_window
from dsdit.plan.plan import Plan
from dsdit.steps.publish.overview import MOST_PX, overview_factor, read_coarse, read_whole
from dsdit.steps.publish.pyramid import level_window
from dsdit.store.objects import join
from dsdit.window import Window

PANEL_PX = 800
REFERENCE_MAX_PX = 6000
"""The reference has no pyramid: a larger region is shown without it."""
RESIDUAL_LIMIT = 0.02
"""Reflectance that is shown as full red or blue."""
_GAP = 8
_LABEL = 22


def make_picture(plan: Plan, mosaic: str) -> bytes:
    """PNG of the whole region, from arrays coarse enough that what is read does not grow with it.

    A region too large for its own arrays is shown from its overview.
    """
    scale, region = plan.lattice.scale, plan.region.window
    factor = overview_factor(plan)
    if factor is not None:
        sr, lr, residual = (read_whole(plan, mosaic, name, factor) for name in ("sr", "lr", "residual"))
    else:
        lr_url, lr_first, lr_window = join(mosaic, "lr"), mosaic_window(plan).coarsen(scale), region.coarsen(scale)
        lr, residual = (read_coarse(lr_url, name, lr_first, lr_window, MOST_PX) for name in ("lr", "residual"))
        sr = _read_sr(plan, mosaic)
    rgb = display_bands(plan.bands)
    sr, lr = sr[rgb], lr[rgb]
    top = _white(sr)
    panels = [("low resolution", tint(lr, top, Image.Resampling.NEAREST))]
    if plan.keep_reference and max(region.shape) <= REFERENCE_MAX_PX:
        ref = read_coarse(join(mosaic, "ref"), "ref", mosaic_window(plan), region, MOST_PX)
        panels.append(("reference", tint(ref[rgb], top, Image.Resampling.BOX)))
    panels.append(("super-resolved", tint(sr, top, Image.Resampling.BOX)))
    panels.append((f"residual, +-{RESIDUAL_LIMIT} reflectance", _diverging(residual)))
    return _sheet(panels)


def display_bands(bands: tuple[str, ...]) -> list[int]:
    """Places of the three bands that are shown as red, green and blue: those of that name, else the first ones.

    The last band is repeated where there are fewer than three.
    """
    if set(BANDS) <= set(bands):
        return [bands.index(name) for name in BANDS]
    return [min(place, len(bands) - 1) for place in range(len(BANDS))]


def _read_sr(plan: Plan, mosaic: str) -> NDArray[np.float32]:
    """(band, y, x) reflectance of the region from the finest level that is small enough."""
    region, level = plan.region.window, 0
    while max(region.shape) >> level > MOST_PX and level < level_count(plan) - 1:
        level += 1
    window = Window(region.row0 >> level, region.col0 >> level, -(-region.row1 >> level), -(-region.col1 >> level))
    return read_coarse(level_url(mosaic, level), "sr", level_window(plan, level), window, MOST_PX)


def _white(sr: NDArray[np.float32]) -> float:
    finite = sr[np.isfinite(sr)]
    return float(np.quantile(finite, 0.995)) if finite.size else 0.4


def tint(reflectance: NDArray[np.float32], top: float, how: Image.Resampling) -> Image.Image:
    """(3, y, x) reflectance as a panel; grey where it is NaN."""
    shown = np.sqrt(np.clip(reflectance / max(top, 1e-3), 0, 1))
    pixels = np.where(np.isfinite(shown), shown * 255, 96).astype(np.uint8).transpose(1, 2, 0)
    return _panel(Image.fromarray(pixels), how)


def _diverging(residual: NDArray[np.float32]) -> Image.Image:
    mean = residual.mean(0)
    share = np.clip(np.nan_to_num(mean) / RESIDUAL_LIMIT, -1, 1)
    red = 255 * np.where(share < 0, 1 + share, 1)
    blue = 255 * np.where(share > 0, 1 - share, 1)
    green = 255 * (1 - np.abs(share))
    pixels = np.stack([red, green, blue], -1)
    pixels[~np.isfinite(mean)] = 96
    return _panel(Image.fromarray(pixels.astype(np.uint8)), Image.Resampling.NEAREST)


def _panel(image: Image.Image, how: Image.Resampling) -> Image.Image:
    factor = PANEL_PX / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, how)


def _sheet(panels: list[tuple[str, Image.Image]]) -> bytes:
    width = sum(panel.width for _, panel in panels) + _GAP * (len(panels) - 1)
    height = max(panel.height for _, panel in panels) + _LABEL
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    x = 0
    for label, panel in panels:
        draw.text((x + 4, 4), label, fill="black")
        sheet.paste(panel, (x, _LABEL))
        x += panel.width + _GAP
    content = io.BytesIO()
    sheet.save(content, "PNG")
    return content.getvalue()


def thumbnail_uri(png: bytes, width: int = 1200) -> str:
    """A picture as a small data: URI, which a browser shows wherever the picture itself is stored."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.thumbnail((width, width))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()
