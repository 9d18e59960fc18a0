"""Bounds of the benchmark of quality: which accept equality, and what a missed one does."""

import re

import pytest

from tests.benchmarks import quality

FIGURES = {"psnr": 25.0, "ssim": 0.7, "hb_corr": 0.5, "hb_energy": 0.8, "lr_error": 0.0005, "lr_error_before": 0.01}
NAMES = {*quality.ROWS, *quality.BASELINES, "injection_oracle", "model_wrong_reference"}
PARTS = ("all", "agreeing", "disagreeing", "changed", "free_all", "free_agreeing", "free_disagreeing")


def made(**gains):
    """Rows of equal figures, with gains of psnr and ssim for some."""
    rows = {}
    for name in NAMES:
        psnr, ssim, corr = gains.get(name, (0, 0, 0))
        own = {"psnr": 25.0 + psnr, "ssim": 0.7 + ssim, "hb_corr": 0.5 + corr}
        others = dict.fromkeys(quality.METRICS, 0.0)
        rows[name] = {part: {**others, **FIGURES, **own, "pairs": 3} for part in PARTS}
    return rows


def states(rows):
    return {line.partition(":")[0]: line.endswith("reached") for line in quality.compare(rows)}


def test_above_is_more_than_equal():
    equal = states(made())
    assert not any(reached for name, reached in equal.items() if name.startswith("all, faithful - best"))
    assert not equal["disagreeing, default - restored, correlation"]
    assert equal["all, no reference - restored, SSIM"] and equal["changed, default - restored, PSNR"]
    better = states(made(model_faithful=(0.01, 0.001, 0), model=(0, 0, 0.01)))
    assert all(reached for name, reached in better.items() if name.startswith("all, faithful - best"))
    assert better["disagreeing, default - restored, correlation"]


@pytest.mark.parametrize("auc", [0.79, 0.8])
def test_a_missed_bound_ends_with_code_1_after_the_last_line(monkeypatch, capsys, auc):
    rows = made(model_faithful=(3, 0.1, 0), model=(2, 0, 0.1))
    record = {"weights": "w", "digest": "0" * 64, "rows": rows, "notes": ["a note"]}
    record["reference_weight"] = {"plw": {"change": auc}, "guidance": {"change": 0.1}}
    monkeypatch.setattr(quality, "evaluate", lambda *_, **__: record)
    if auc < 0.8:
        with pytest.raises(SystemExit) as ended:
            quality.main()
        assert ended.value.code == 1
    else:
        quality.main()
    printed = capsys.readouterr().out
    assert "a note" in printed and "scale 16" in printed
    missed = re.findall(r"^(.*): .*MISSED$", printed, re.M)
    assert len(missed) == (auc < 0.8) and ("1 of 18 bounds missed" in printed) == (auc < 0.8), printed
