"""Kinds of masks and rules: what each makes of stored values, how they are listed, and that digests stay."""

from __future__ import annotations

import numpy as np
import pystac
import pytest
from numpy.typing import NDArray

from catalogs.calibration import rule_kinds
from catalogs.masks import CLOUD, NO_DATA, VALID, BitMask, NoMask, SclMask, mask_kinds
from catalogs.source import load_source
from tests.support.stac import make_item, make_source

NAN = float("nan")


def values(*stored: float) -> NDArray[np.float32]:
    return np.array([stored], np.float32)


@pytest.mark.parametrize(
    ("mask", "stored", "expected"),
    [
        (SclMask(kind="scl"), (4, 3, 8, 0, 1, 11, NAN), (VALID, CLOUD, CLOUD, NO_DATA, NO_DATA, VALID, NO_DATA)),
        (SclMask(kind="scl", cloud=(2,), nodata=(2, 9)), (2, 9, 3), (NO_DATA, NO_DATA, VALID)),
        (BitMask(kind="bits"), (64, 8, 1 + 8, 2, 1, NAN, 0), (VALID, CLOUD, NO_DATA, CLOUD, NO_DATA, NO_DATA, VALID)),
        (BitMask(kind="bits", cloud=(15,), nodata=()), (32768, 32767, 1), (CLOUD, VALID, VALID)),
        (NoMask(), (0, 5, NAN), (VALID, VALID, NO_DATA)),
    ],
)
def test_a_mask_classifies_stored_values(
    mask: SclMask | BitMask | NoMask, stored: tuple[float, ...], expected: tuple[int, ...]
) -> None:
    found = mask.classify(values(*stored))
    assert found.dtype == np.uint8 and found.tolist() == [list(expected)]


def test_kinds_are_listed_and_each_can_be_named_in_a_source() -> None:
    assert sorted(rule_kinds()) == ["display", "fixed", "sentinel2", "stated"]
    assert sorted(mask_kinds()) == ["bits", "none", "scl"]
    item = pystac.Item.from_dict(make_item("a"))
    item.assets["red"].extra_fields["raster:bands"] = [{"scale": 0.5}]
    given = {"fixed": (2.0, -1.0), "sentinel2": (1e-4, -0.1), "display": (0.4 / 255, 0.0), "stated": (0.5, 0.0)}
    for kind, expected in given.items():
        settings = {"scale": 2.0, "offset": -1.0} if kind == "fixed" else {}
        rule = make_source(rule={"kind": kind, **settings}).rule
        assert type(rule) is rule_kinds()[kind]
        assert rule.scale_and_offset(item, "red") == expected
    for kind, known in mask_kinds().items():
        mask = make_source(mask={"kind": kind}).mask
        assert type(mask) is known and set(mask.assets) <= set(make_source(mask={"kind": kind}).assets)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("sample-lr", "ecaad73b6195a2fa"),
        ("sample-ref", "bde8df3d4fb05650"),
        ("earth-search-landsat", "09849e5010f4f1a0"),
        ("planetary-computer-sentinel-2", "b90996b17b295c7a"),
    ],
)
def test_digests_of_shipped_sources_stay(name: str, digest: str) -> None:
    """They stand in the digests of items: another one makes every job of every mosaic due."""
    assert load_source(name).digest.startswith(digest)
