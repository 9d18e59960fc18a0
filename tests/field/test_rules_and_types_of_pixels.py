"""Pixels that certainly are no reflectance under the source's rule: refused, with the rule that would fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from catalogs.read.scene import read_bands
from dsdit.errors import ReadError
from tests.support.field import flat, geobox, one_scene, write_tif

DISPLAY, REFLECTANCE = {"kind": "display"}, {"kind": "fixed", "scale": 1e-4}


@pytest.mark.parametrize(
    ("rule", "dtype", "value", "cause"),
    [
        (DISPLAY, "uint16", 1200, "its pixels are uint16, and rule display is for 8-bit pictures"),
        (DISPLAY, "uint16", 32896, "its pixels are uint16"),
        (DISPLAY, "float32", 0.5, "its pixels are float32"),
        (REFLECTANCE, "uint8", 128, "under scale 0.0001 and offset 0 reach 0.0255 in reflectance at most"),
    ],
)
def test_nonsense_is_refused(tmp_path: Path, rule: dict[str, Any], dtype: str, value: float, cause: str) -> None:
    write_tif(tmp_path / "image.tif", flat(value, dtype))
    item, source = one_scene(tmp_path, rule=rule)
    with pytest.raises(ReadError, match=f"item a, asset image: .*{cause}"):
        read_bands(item, source, geobox(), "nearest")


@pytest.mark.parametrize(
    ("rule", "dtype", "value", "reflectance"),
    [
        (DISPLAY, "uint8", 128, 0.4 * 128 / 255),
        (REFLECTANCE, "uint16", 2000, 0.2),
        ({"kind": "fixed", "scale": 0.004}, "uint8", 50, 0.2),
        ({"kind": "fixed", "scale": 1.0}, "float32", 0.2, 0.2),
    ],
)
def test_what_fits_is_read(tmp_path: Path, rule: dict[str, Any], dtype: str, value: float, reflectance: float) -> None:
    write_tif(tmp_path / "image.tif", flat(value, dtype))
    item, source = one_scene(tmp_path, rule=rule)
    assert read_bands(item, source, geobox(), "nearest")[0].mean() == pytest.approx(reflectance, rel=1e-5)
