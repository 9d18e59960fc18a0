"""Values of a weights folder's `config.json`, checked by type and range before a record is built of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dsdit.errors import WeightsError

MAX_BYTES = 1_000_000
"""Largest `config.json` that is read."""
_LIMITS = {
    "mtf_nyquist": (0.01, 0.99),
    "restore_iterations": (0, 1000),
    "codec_factor": (1, 64),
    "codec_lap_px": (0, 256),
    "kernel_px": (0, 64),
    "residual_scale": (1e-6, 1e6),
    "curve_maximum": (1e-3, 100),
    "tile_px": (1, 16_384),
    "steps": (1, 1000),
    "guidance_scale": (0, 10),
    "start_sigma": (1e-6, 1),
    "ensemble": (1, 8),
}
"""Smallest and largest value of each number."""
_WHOLE = ("restore_iterations", "codec_factor", "codec_lap_px", "kernel_px", "tile_px", "steps", "ensemble")
_TEXTS = (
    "name", "kind", "licence", "training_data", "notes", "solver", "schedule", "guidance_from",
)  # fmt: skip


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises WeightsError."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
        values = json.loads(text.decode("utf-8"))
    except RecursionError as error:
        raise WeightsError(f"{path} is nested too deep: write it as the shipped weights have it") from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise WeightsError(f"{path} holds {type(values).__name__}: it must be an object")
    return values


def check_values(values: Mapping[str, Any], where: str) -> None:
    """Raises WeightsError for a number or text of the wrong type or outside its limits."""
    for key, value in values.items():
        if key in _LIMITS:
            low, high = _LIMITS[key]
            if not _is_number(value, key in _WHOLE) or not low <= value <= high:
                kind = "a whole number" if key in _WHOLE else "a number"
                raise WeightsError(f"{where}: {key} is {shown(value)}: it must be {kind} from {low:g} to {high:g}")
        elif key in _TEXTS and not isinstance(value, str):
            raise WeightsError(f"{where}: {key} is {shown(value)}: it must be text")


def scales_of(value: Any, where: str) -> tuple[int, ...]:
    """Scales of training. Raises WeightsError unless they are a list of whole numbers from 1 to 64."""
    if not isinstance(value, list) or not all(_is_number(one, True) and 1 <= one <= 64 for one in value):
        raise WeightsError(f"{where}: scales is {shown(value)}: it must be a list of whole numbers from 1 to 64")
    return tuple(value)


def shown(value: object) -> str:
    """A value as a sentence shows it, at most 80 characters."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _is_number(value: object, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return False
    return isinstance(value, int) or math.isfinite(value)
