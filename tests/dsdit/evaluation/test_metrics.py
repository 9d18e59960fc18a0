"""Figures with a closed form: the FFT's band limit, correlation, angles, shares, and pictures whose error is known."""

import numpy as np
import pytest
from PIL import Image

from dsdit.errors import RequestError
from dsdit.evaluation.case import changed_blocks, make_case
from dsdit.evaluation.influence import Blocks, auc, joined
from dsdit.evaluation.metrics import METRICS, above_nyquist, band, correlation, psnr_db, spectral_angle
from dsdit.evaluation.pairs import Scene
from dsdit.evaluation.rows import local_gain, oracle_gain
from dsdit.evaluation.run import evaluate
from tests.support.commands import DSDIT, descendants, environment, running, started, wait_for

FREE_ROWS = ["bicubic", "bicubic_restored", "injection", "injection_gain", "injection_half", "injection_oracle"]
REGISTERED = "injection_oracle_registered"
MODEL_ROWS = [
    "model",
    "model_unregistered",
    "model_faithful",
    "model_no_reference",
    "model_nfe2",
]


def wave(cycles_per_px, height=64, width=96):
    x = np.arange(width)
    return np.broadcast_to(np.sin(2 * np.pi * cycles_per_px * x), (3, height, width)).astype(np.float32)


def test_the_high_band_begins_at_the_lr_nyquist():
    low, high = wave(4 / 96), wave(12 / 96)
    assert np.abs(above_nyquist(low, 8)).max() < 1e-5
    assert np.allclose(above_nyquist(high, 8), high, atol=1e-5)
    assert np.allclose(above_nyquist(low + high, 8), high, atol=1e-5)
    assert np.allclose(band(low + high, 2 / 96, 6 / 96), low, atol=1e-5)


def test_correlation():
    a = wave(3 / 96)
    assert correlation(a, 2 * a + 1) == pytest.approx(1)
    assert correlation(a, -a) == pytest.approx(-1)
    assert correlation(a, np.ones_like(a)) == 0


def test_psnr_of_a_known_error():
    hr = np.zeros((3, 4, 4), np.float32)
    assert psnr_db(hr + 0.2, hr) == pytest.approx(20, abs=1e-4)


def test_spectral_angle_depends_on_colour_and_not_on_brightness():
    grey = np.full((4, 4, 3), 0.4, np.float32)
    assert np.abs(spectral_angle(grey, grey * 0.5)).max() < 0.1
    red = np.zeros_like(grey)
    red[..., 0] = 0.7
    assert spectral_angle(grey, red) == pytest.approx(np.degrees(np.arccos(1 / np.sqrt(3))), abs=1e-3)


def two_dates(shape=(192, 128), seed=0):
    """A pair whose upper half is the same ground, and whose lower half is another."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(40, 210, (2, 3, -(-shape[0] // 16), -(-shape[1] // 16)))
    hr, other = (np.kron(c, np.ones((1, 16, 16)))[:, : shape[0], : shape[1]] for c in coarse)
    fine = rng.normal(0, 12, (3, *shape))
    hr = np.clip(hr + fine, 0, 255)
    ref = np.where(
        np.arange(shape[0])[:, None] < shape[0] // 3, hr, np.clip(other + rng.normal(0, 12, fine.shape), 0, 255)
    )
    return hr.astype(np.uint8), ref.astype(np.uint8)


def test_changed_blocks_are_found():
    hr, ref = (v.astype(np.float32) / 127.5 - 1 for v in two_dates())
    changed = changed_blocks(hr, ref, 8)
    assert not changed[:64].any() and changed[64:].mean() >= 0.75
    assert not changed_blocks(hr, hr, 8).any()


def test_gains_of_the_injection():
    """All of the detail where the reference is the truth, little of it where it shows other ground."""
    hr, ref = two_dates()
    same = make_case(Scene("x-0", "x", "", hr, hr), 8)
    assert oracle_gain(same, same.detail) == pytest.approx(1, abs=0.02)
    gain = local_gain(make_case(Scene("x-1", "x", "", hr, ref), 8))
    assert gain[:48].mean() > 0.6 > 0.35 > gain[100:].mean()
    assert gain.min() >= 0 and gain.max() <= 1


def test_auc_counts_pairs_of_blocks():
    """Three unchanged blocks over two changed ones: 5 of 6 pairs are in order."""
    first: Blocks = {("plw", "good"): [0.9], ("plw", "misregistration"): [0.4], ("plw", "change"): [0.1]}
    found = auc(joined([first, {("plw", "good"): [0.5], ("plw", "change"): [0.45]}]))["plw"]
    assert found["change"] == pytest.approx(5 / 6, abs=1e-4) and found["misregistration"] == 1
    assert found["good_blocks"] == 2


def write_pair(folder, hr, ref, name="x-0", suffix="png", manifest=False):
    pairs = folder / "pairs"
    pairs.mkdir(exist_ok=True)
    for letter, values in (("A", ref), ("B", hr)):
        Image.fromarray(values.transpose(1, 2, 0)).save(pairs / f"{letter}_{name}.{suffix}")
    if manifest:
        (pairs / "manifest.csv").write_text(f"split,id\nval,{name}\n")


@pytest.mark.parametrize(
    "manifest", [pytest.param(True, marks=pytest.mark.slow), pytest.param(False, marks=pytest.mark.slow)]
)
def test_rows_and_parts_have_every_figure(tmp_path, manifest):
    hr, ref = two_dates((200, 136))
    write_pair(tmp_path, hr, ref, suffix="tif" if manifest else "png", manifest=manifest)
    made = evaluate(tmp_path, nfe=[2], pictures=tmp_path / "sheets")
    rows = made["rows"]
    assert set(rows) == {*FREE_ROWS, REGISTERED, "reference", *MODEL_ROWS}
    for name, parts in rows.items():
        assert set(parts) == {"all", "changed", "unchanged", "disagreeing"}
        extra = {"lr_error_before"} if name.startswith("model") else set()
        for figures in parts.values():
            assert set(figures) - {"lpips"} == {*METRICS, "pairs", *extra}
            assert all(np.isfinite(list(figures.values())))
    assert rows["bicubic_restored"]["all"]["lr_error"] < 0.25 * rows["bicubic"]["all"]["lr_error"]
    assert rows["injection"]["unchanged"]["psnr"] > rows["injection"]["changed"]["psnr"] + 5
    assert rows["injection_oracle"]["all"]["psnr"] >= max(
        rows[r]["all"]["psnr"] for r in FREE_ROWS[2:5] if r != "injection_gain"
    )
    weight = made["reference_weight"]["plw"]
    assert weight["change_blocks"] + weight["good_blocks"] + weight["misregistration_blocks"] == 4
    with Image.open(tmp_path / "sheets" / "x-0.png") as sheet:
        assert sheet.width >= 4 * 136


def test_a_perfect_reference_gives_perfect_figures(tmp_path):
    hr, _ = two_dates()
    write_pair(tmp_path, hr, hr)
    figures = evaluate(tmp_path, rows=["reference", "bicubic"])["rows"]
    perfect = figures["reference"]["agreeing"]
    assert perfect["psnr"] > 40 and perfect["ssim"] > 0.99 and perfect["flip"] < 0.02
    assert perfect["hb_energy"] == pytest.approx(1, abs=0.02) and perfect["hb_corr"] > 0.999
    assert perfect["improvement"] > 0.6 > figures["bicubic"]["all"]["improvement"]


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ("nothing", "does not exist"),
        ("split", "split 'val'"),
        ("lonely", "A_x-0"),
        ("shape", "192"),
        ("broken", "image"),
    ],
)
def test_bad_folders_are_reported(tmp_path, fault, word):
    hr, ref = two_dates()
    if fault != "nothing":
        write_pair(tmp_path, hr, ref[:, :64] if fault == "shape" else ref)
    if fault == "split":
        (tmp_path / "pairs/manifest.csv").write_text("split,id\ntrain,x-0\n")
    if fault == "lonely":
        (tmp_path / "pairs/A_x-0.png").unlink()
    if fault == "broken":
        (tmp_path / "pairs/B_x-0.png").write_bytes(b"not a picture")
    with pytest.raises(RequestError, match=word):
        evaluate(tmp_path)


@pytest.mark.slow
def test_figures_do_not_depend_on_the_number_of_processes(tmp_path):
    hr, ref = two_dates()
    for name in ("x-0", "x-1", "x-2"):
        write_pair(tmp_path, hr if name != "x-1" else ref, ref, name=name)
    rows = ["injection_gain", "model_wrong_reference", "reference_weight"]
    alone, together = (evaluate(tmp_path, rows=rows, workers=n) for n in (1, 2))
    assert alone == together and alone["rows"]["injection_gain"]["all"]["pairs"] == 3


@pytest.mark.faults
def test_processes_end_with_the_one_that_started_them(tmp_path):
    hr, ref = two_dates()
    write_pair(tmp_path, hr, ref, name="x-0")
    for name in ("x-1", "x-2", "x-3"):
        write_pair(tmp_path, np.tile(hr, (1, 12, 12)), np.tile(ref, (1, 12, 12)), name=name)
    sheets = tmp_path / "sheets"
    command = [*DSDIT, "evaluate", str(tmp_path), "--workers", "2", "--nfe", "3", "--row", "model_nfe3"]
    command += ["--pictures", str(sheets)]
    with started(command, environment(tmp_path), tmp_path / "log") as process:

        def workers():
            return {pid: line for pid, line in descendants(process.pid).items() if "spawn_main" in line}

        wait_for(lambda: any(sheets.glob("*.png")) or process.poll() is not None, 240, "the first pair", 0.01)
        below = workers()
        assert len(below) == 2
        process.kill()
        process.wait(10)
        wait_for(lambda: not running(below), 20, "the processes of a killed evaluation end by themselves")
