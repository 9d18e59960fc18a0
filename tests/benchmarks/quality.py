"""What the shipped weights reach on the validation pairs beside the project, against what they must reach.

At scale 8 every pair, at 4, 10 and 16 each fourth: `python -m tests.benchmarks quality`, about an hour of two cores;
every second and every eighth: `python -m tests.benchmarks "quality 2 8"`. The bounds are differences between rows, in
dB of PSNR and in SSIM; a line that misses its bound ends with MISSED, and the command then ends with code 1.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch

from dsdit.evaluation.metrics import METRICS
from dsdit.evaluation.run import evaluate

DATA = Path(os.environ.get("DSDIT_DATA", Path(__file__).parents[3] / "shared/data/train"))
WEIGHTS = os.environ.get("DSDIT_WEIGHTS", "dsdit-tiny")
ROWS = ("bicubic_restored", "injection_gain", "injection_oracle", "model", "model_faithful", "model_no_reference")
BASELINES = ("bicubic", "bicubic_restored", "reference", "injection", "injection_gain", "injection_half")
SHIPPED_WEIGHT = "plw"
"""The candidate of `reference_weight` that a mosaic holds."""
MISSED = "MISSED"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
Rows = dict[str, dict[str, dict[str, float]]]


def _line(what: str, found: float, least: float, most: float = float("inf"), above: bool = False) -> str:
    """One bound; with `above` the least itself is too little."""
    bound = f"{least:g}" if most == float("inf") else f"{least:g} to {most:g}"
    reached = least <= found <= most and not (above and found == least)
    return f"{what}: {found:+.3f} (bound {'above ' if above else ''}{bound}): {'reached' if reached else MISSED}"


def compare(rows: Rows) -> list[str]:
    """One line a bound."""

    def gain(part: str, row: str, base: str, metric: str) -> float:
        return rows[row][part][metric] - rows[base][part][metric]

    faithful, restored, everything = "model_faithful", "bicubic_restored", [*BASELINES, "injection_oracle"]
    lines = [
        _line("agreeing, faithful - restored, PSNR", gain("agreeing", faithful, restored, "psnr"), 2.5),
        _line("agreeing, faithful - oracle, PSNR", gain("agreeing", faithful, "injection_oracle", "psnr"), 0.8),
        _line("agreeing, faithful - oracle, SSIM", gain("agreeing", faithful, "injection_oracle", "ssim"), 0.03),
        _line("disagreeing, faithful - restored, PSNR", gain("disagreeing", faithful, restored, "psnr"), 0.2),
        _line("disagreeing, faithful - restored, SSIM", gain("disagreeing", faithful, restored, "ssim"), 0.01),
    ]
    for metric in ("psnr", "ssim"):
        best = max(everything, key=lambda row: rows[row]["all"][metric])
        over = gain("all", faithful, best, metric)
        lines.append(_line(f"all, faithful - best baseline ({best}), {metric}", over, 0, above=True))
    share = rows["model"]["agreeing"]["hb_corr"] / rows["injection_gain"]["agreeing"]["hb_corr"]
    return [
        *lines,
        _line("agreeing, default, high-band energy", rows["model"]["agreeing"]["hb_energy"], 0.6, 1.1),
        _line("agreeing, default - restored, PSNR", gain("agreeing", "model", restored, "psnr"), 1.0),
        _line("agreeing, default - no reference, PSNR", gain("agreeing", "model", "model_no_reference", "psnr"), 1.0),
        _line("agreeing, default / injection_gain, high-band correlation", share, 0.95),
        _line("disagreeing, default - restored, PSNR", gain("disagreeing", "model", restored, "psnr"), -0.5),
        _line(
            "disagreeing, default - restored, correlation",
            gain("disagreeing", "model", restored, "hb_corr"),
            0,
            above=True,
        ),
        _line("changed, default - restored, PSNR", gain("changed", "model", restored, "psnr"), -0.3),
        _line("all, no reference - restored, SSIM", gain("all", "model_no_reference", restored, "ssim"), 0),
        _line(
            "all, wrong reference - no reference, PSNR",
            gain("all", "model_wrong_reference", "model_no_reference", "psnr"),
            -0.3,
        ),
        _line("all, default, 0.001 - lr_error", 0.001 - rows["model"]["all"]["lr_error"], 0),
    ]


def table(rows: Rows, part: str, metrics: tuple[str, ...]) -> list[str]:
    """Lines of a table of one part."""
    shown = {name: found[part] for name, found in rows.items() if part in found}
    lines = [f"{part} ({next(iter(shown.values()))['pairs']} pairs): {', '.join(metrics)}"]
    return lines + [f"  {name}: " + "  ".join(f"{f[m]:.4g}" for m in metrics) for name, f in shown.items()]


def main(every: int = 1, every_at_others: int = 4) -> None:
    """Prints every line, which RESULTS.md keeps; then exits with code 1 where a bound was missed."""
    workers = len(os.sched_getaffinity(0))
    done: dict[str, Any] = evaluate(DATA, WEIGHTS, every=every, workers=workers, device=DEVICE)
    print(f"weights {done['weights']} {done['digest'][:12]}, scale 8, 1 of {every} validation pairs, on {DEVICE}")
    auc = done["reference_weight"].get(SHIPPED_WEIGHT, {}).get("change", float("nan"))
    bounds = [*compare(done["rows"]), _line(f"reference_weight ({SHIPPED_WEIGHT}), AUC of changed ground", auc, 0.8)]
    print("\n".join([*bounds, *done["notes"]]))
    for part in ("agreeing", "disagreeing", "changed", "all"):
        print("\n".join(table(done["rows"], part, METRICS)))
    for part in ("free_agreeing", "free_disagreeing", "free_all"):
        print("\n".join(table(done["rows"], part, ("psnr", "ssim", "hb_corr", "hb_energy"))))
    before = done["rows"]["model"]["all"]["lr_error_before"]
    print(f"default, all: lr_error {before:.5f} before restoring, {done['rows']['model']['all']['lr_error']:.5f} after")
    for name, found in done["reference_weight"].items():
        print(f"reference_weight by {name}: AUC " + ", ".join(f"{k} {v:.4g}" for k, v in found.items()))
    for scale in (4, 10, 16):
        options = {"scale": scale, "rows": ROWS, "every": every_at_others, "workers": workers, "device": DEVICE}
        rows = evaluate(DATA, WEIGHTS, **options)["rows"]
        for part in ("agreeing", "disagreeing", "all"):
            print(
                f"scale {scale}, 1 of {every_at_others}, "
                + "\n".join(table(rows, part, ("psnr", "ssim", "hb_corr", "hb_energy")))
            )
    missed = sum(line.endswith(MISSED) for line in bounds)
    if missed:
        print(f"{missed} of {len(bounds)} bounds missed")
        sys.exit(1)


if __name__ == "__main__":
    main(*(int(number) for number in sys.argv[1:3]))
