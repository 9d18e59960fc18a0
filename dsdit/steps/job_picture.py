"""The region as a map of its jobs, one square a shard, each in the colour of its state."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIDE_PX = 1200
"""Longer side of the map: small regions are enlarged, larger ones sampled."""
_LINE = 22
_COLOURS = {
    "done": (70, 150, 90),
    "due": (230, 140, 50),
    "degraded": (225, 205, 70),
    "failed": (200, 50, 50),
    "no data": (150, 150, 150),
    "off land": (175, 205, 235),
}


def draw_jobs(states: Sequence[tuple[str, NDArray[np.bool_]]]) -> bytes:
    """PNG of masks (row, col) by name, on one window of the job lattice; later names cover earlier ones.

    The legend counts what each mask holds.
    """
    shape = states[0][1].shape
    pixels = np.full((*shape, 3), 255, np.uint8)
    for name, mask in states:
        pixels[mask] = _COLOURS[name]
    factor = SIDE_PX / max(shape)
    size = max(1, round(shape[1] * factor)), max(1, round(shape[0] * factor))
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)
    sheet = Image.new("RGB", (max(picture.width, 240), picture.height + _LINE * len(states) + 8), "white")
    sheet.paste(picture, (0, 0))
    draw = ImageDraw.Draw(sheet)
    for line, (name, mask) in enumerate(states):
        top = picture.height + 6 + line * _LINE
        draw.rectangle((4, top, 18, top + 14), fill=_COLOURS[name], outline="black")
        draw.text((26, top), f"{name}: {int(mask.sum()):,}", fill="black")
    content = io.BytesIO()
    sheet.save(content, "PNG")
    return content.getvalue()
