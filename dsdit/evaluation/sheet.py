"""A contact sheet of one pair: LR, reference, each row, truth, at full size and on one stretch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dsdit.evaluation.case import Case
from dsdit.evaluation.metrics import Array, display, psnr_db

COLUMNS = 4
_LABEL = 16
_GAP = 4


def _pixels(picture: Array) -> NDArray[np.uint8]:
    return np.asarray(np.rint(display(picture) * 255), np.uint8)


def write_sheet(path: Path, case: Case, rows: dict[str, Array]) -> None:
    """Writes a PNG; `rows` are pictures (3, H, W) scaled by name, each labelled with its PSNR in dB."""
    blocks = np.repeat(np.repeat(case.lr, case.scale, -2), case.scale, -1)
    panels = [("low resolution", blocks), ("reference, matched", case.ref)]
    panels += [(f"{name} {psnr_db(np.clip(p, -1, 1), case.hr):.2f} dB", p) for name, p in rows.items()]
    panels.append((f"truth (high bands correlate by {case.agreement:.2f})", case.hr))
    height, width = case.hr.shape[1:]
    lines = -(-len(panels) // COLUMNS)
    across, down = width + _GAP, height + _LABEL + _GAP
    sheet = Image.new("RGB", (COLUMNS * across - _GAP, lines * down - _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for k, (label, picture) in enumerate(panels):
        x, y = k % COLUMNS * across, k // COLUMNS * down
        draw.text((x + 2, y + 2), label, fill="black")
        sheet.paste(Image.fromarray(_pixels(picture)), (x, y + _LABEL))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
