"""The sample region at full size with the shipped weights: better than interpolation, true to LR, without seams."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from dsdit.imaging.radiometry import decode
from dsdit.imaging.sensor import EVALUATION_MTF, decimate, restored_lr
from dsdit.window import Window
from tests.conftest import CORNER, box
from tests.support.quality import block_ratio, seam_ratio
from tests.support.running import Ran, run_here, sample_record


def truth_on(folder: Path, window: Window) -> np.ndarray:
    """(3, y, x) true reflectance on a window of HR pixels."""
    with rasterio.open(folder / "truth/hr.tif") as file:
        row, col = round(file.transform.f / 1.25) + window.row0, window.col0 - round(file.transform.c / 1.25)
        cut = file.read([1, 2, 3], window=((row, row + window.shape[0]), (col, col + window.shape[1])))
    return cut.astype(np.float32) / 1e4


def psnr(picture: np.ndarray, truth: np.ndarray, where: np.ndarray) -> float:
    return -10 * float(np.log10(np.mean(((picture - truth)[:, where] / 0.4) ** 2)))


def figures(ran: Ran, folder: Path) -> dict[str, float]:
    """PSNR, seams and blocks on the pixels that were sampled."""
    window = ran.plan.region.window
    sr, truth = decode(ran.pixels()), truth_on(folder, window)
    sampled = np.isfinite(sr).all(0)
    smooth = restored_lr(decimate(truth, 8, EVALUATION_MTF), 8, EVALUATION_MTF)
    masked = {name: np.where(sampled, p, np.nan) for name, p in (("sr", sr), ("truth", truth), ("smooth", smooth))}
    return {
        "psnr": psnr(sr, truth, sampled),
        "psnr_restored": psnr(smooth, truth, sampled),
        "seams": seam_ratio(masked["sr"], window, ran.plan.lattice),
        "seams_truth": seam_ratio(masked["truth"], window, ran.plan.lattice),
        "blocks": block_ratio(masked["sr"], window, 8),
        "blocks_truth": block_ratio(masked["truth"], window, 8),
        "blocks_restored": block_ratio(masked["smooth"], window, 8),
        **{f"lr_error_{k}": v for k, v in ran.report.lr_error.items()},
    }


@pytest.mark.slow
def test_a_small_region_is_better_than_interpolation(catalog: Path, tmp_path: Path) -> None:
    one = {"batch": 8}
    record = sample_record(catalog, Path("dsdit-tiny"), tmp_path, box(0, 480, 640, 0), sampling=one)
    got = figures(run_here(record), catalog)
    print({k: round(v, 4) for k, v in got.items()})
    assert got["psnr"] > got["psnr_restored"]
    assert got["lr_error_after"] <= 0.001
    assert got["lr_error_after"] < got["lr_error_before"]


@pytest.mark.slow
def test_the_sample_region_has_no_seams(tmp_path: Path) -> None:
    from catalogs.sample_region import make_sample_region

    make_sample_region(tmp_path / "sample")
    one = {"batch": 8}
    assert box(0, 2000, 2000, 0)[3] == CORNER[1]
    record = sample_record(
        tmp_path / "sample", Path("dsdit-tiny"), tmp_path / "out", box(0, 2000, 2000, 0), sampling=one
    )
    got = figures(run_here(record), tmp_path / "sample")
    print({k: round(v, 4) for k, v in got.items()})
    assert 0.97 <= got["seams"] <= 1.03
    assert got["lr_error_after"] <= 0.001
