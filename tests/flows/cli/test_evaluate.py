"""`dsdit evaluate` from a folder to its JSON, its tables and its pictures, with small random weights."""

import json

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from flows.cli.main import app
from tests.dsdit.evaluation.test_metrics import two_dates, write_pair
from tests.support.running import make_weights

ROWS = {"bicubic", "bicubic_restored", "reference", "injection", "injection_gain", "injection_half", "injection_oracle"}
ROWS |= {"model", "model_faithful", "model_no_reference", "model_wrong_reference", "model_nfe2"}
PARTS = {"all", "agreeing", "disagreeing", "changed", "unchanged"}
METRICS = {
    "psnr",
    "ssim",
    "hb_corr",
    "hb_energy",
    "lr_error",
    "sam",
    "flip",
    "hallucination",
    "omission",
    "improvement",
}


def test_from_a_folder_to_figures_tables_and_pictures(tmp_path):
    hr, ref = two_dates((130, 128))
    write_pair(tmp_path, hr, ref, name="x-0")
    write_pair(tmp_path, ref, np.clip(ref * 0.8 + 20, 0, 255).astype(np.uint8), name="x-1", suffix="tif")
    (tmp_path / "pairs/manifest.csv").write_text("split,id,place\nval,x-0,here\nval,x-1,there\ntrain,x-2,here\n")
    weights = make_weights(tmp_path / "random")
    out, sheets = tmp_path / "out.json", tmp_path / "sheets"
    command = ["evaluate", str(tmp_path), "--weights", str(weights), "--scale", "10", "--split", "val", "--nfe", "2"]
    result = CliRunner().invoke(app, [*command, "--json", str(out), "--pictures", str(sheets)])
    assert result.exit_code == 0, result.output
    record = json.loads(out.read_text())
    assert set(record["rows"]) >= ROWS and record["scale"] == 10 and record["split"] == "val"
    for name, parts in record["rows"].items():
        assert set(parts) == PARTS, name
        for figures in parts.values():
            assert set(figures) >= METRICS and np.isfinite(list(figures.values())).all()
            assert ("lr_error_before" in figures) == name.startswith("model")
    assert [record["rows"]["model"][part]["pairs"] for part in ("all", "agreeing", "disagreeing")] == [2, 1, 1]
    assert record["rows"]["reference"]["agreeing"]["psnr"] > record["rows"]["reference"]["disagreeing"]["psnr"] + 10
    for title in ("all: 2 pairs, random at scale 10", "agreeing: 1 pairs", "changed: blocks of 2 pairs"):
        assert title in result.output
    psnr = record["rows"]["model_faithful"]["all"]["psnr"]
    lines = [line for line in result.output.splitlines() if "model_faithful" in line]
    assert len(lines) == len(PARTS) and f"{psnr:.2f}" in lines[0]
    for name in ("x-0", "x-1"):
        with Image.open(sheets / f"{name}.png") as sheet:
            assert sheet.width > 4 * 120 and np.ptp(np.asarray(sheet)) > 200


def test_a_device_that_is_not_there_is_one_sentence(tmp_path):
    for device in ("cuda:7", "gpu"):
        result = CliRunner().invoke(app, ["evaluate", str(tmp_path), "--device", device])
        assert result.exit_code == 2
        assert f"--device '{device}' is not on this machine" in " ".join(result.output.split())


def test_a_mistyped_row_is_one_sentence(tmp_path):
    result = CliRunner().invoke(app, ["evaluate", str(tmp_path), "--row", "modle"])
    assert result.exit_code == 2 and "Traceback" not in result.output
    text = " ".join(result.output.split())
    assert "--row modle is not known: use bicubic, bicubic_restored" in text


def test_what_is_replaced_stands_in_the_record(tmp_path):
    hr, ref = two_dates((64, 64))
    write_pair(tmp_path, hr, ref)
    weights = make_weights(tmp_path / "random")
    out = tmp_path / "out.json"
    command = ["evaluate", str(tmp_path), "--weights", str(weights), "--row", "model", "--json", str(out)]
    psnr = []
    for replaced in ([], ["--schedule", "published", "--solver", "published_dpmpp_2m", "--steps", "4"]):
        result = CliRunner().invoke(app, [*command, *replaced])
        assert result.exit_code == 0, result.output
        record = json.loads(out.read_text())
        psnr.append(record["rows"]["model"]["all"]["psnr"])
        assert ("sampling" in record) == bool(replaced)
    assert record["sampling"] == {"schedule": "published", "solver": "published_dpmpp_2m", "steps": 4}
    assert psnr[0] != psnr[1]
    wrong = CliRunner().invoke(app, [*command, "--solver", "rk4"])
    assert wrong.exit_code == 2 and "rk4" in wrong.output
