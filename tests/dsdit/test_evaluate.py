"""Figures with a closed form: the FFT's band limit, correlation, and pictures whose error is known."""

import numpy as np
import pytest
from PIL import Image

from dsdit.evaluate import above_nyquist, correlation, evaluate
from dsdit.training.validation import psnr_db


def wave(cycles_per_px, height=64, width=96):
    x = np.arange(width)
    return np.broadcast_to(np.sin(2 * np.pi * cycles_per_px * x), (3, height, width)).astype(np.float32)


def test_the_high_band_begins_at_the_lr_nyquist():
    low, high = wave(4 / 96), wave(12 / 96)
    assert np.abs(above_nyquist(low, 8)).max() < 1e-5
    assert np.allclose(above_nyquist(high, 8), high, atol=1e-5)
    assert np.allclose(above_nyquist(low + high, 8), high, atol=1e-5)


def test_correlation():
    a = wave(3 / 96)
    assert correlation(a, 2 * a + 1) == pytest.approx(1)
    assert correlation(a, -a) == pytest.approx(-1)
    assert correlation(a, np.ones_like(a)) == 0


def test_psnr_of_a_known_error():
    hr = np.zeros((3, 4, 4), np.float32)
    assert psnr_db(hr + 0.2, hr) == pytest.approx(20, abs=1e-4)


@pytest.mark.parametrize("name", ["agreeing", "disagreeing"])
def test_rows_have_every_figure(tmp_path, name):
    """One synthetic pair: the reference is the truth (agreeing), or another picture (disagreeing)."""
    rng = np.random.default_rng(1)
    (tmp_path / "pairs").mkdir()
    hr = rng.integers(60, 190, (136, 168, 3)).astype(np.uint8)
    ref = hr if name == "agreeing" else rng.integers(60, 190, hr.shape).astype(np.uint8)
    for file, values in (("A_x-0.jpg", ref), ("B_x-0.jpg", hr)):
        Image.fromarray(values).save(tmp_path / "pairs" / file, quality=95)
    (tmp_path / "pairs" / "manifest.csv").write_text(
        "split,id,a,b,licence_class\nval,x-0,A_x-0.jpg,B_x-0.jpg,research\n"
    )
    wanted = ["bicubic", "bicubic_restored", "injection", "model", "model_no_reference"]
    rows = evaluate(tmp_path, rows=wanted)["rows"]
    assert list(rows) == wanted
    for parts in rows.values():
        assert set(parts) == {"all", name}
        assert set(parts["all"]) == {"psnr", "hb_corr", "hb_energy", "lr_error", "pairs"}
    assert rows["bicubic_restored"]["all"]["lr_error"] < 0.25 * rows["bicubic"]["all"]["lr_error"]
    assert (rows["injection"]["all"]["psnr"] > 30) == (name == "agreeing")
