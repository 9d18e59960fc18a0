"""A plan reports the MTF that its source states beside the measured one, and follows the stated one."""

from __future__ import annotations

from pathlib import Path

import yaml

from catalogs.source import load_source
from flows.plan.make_plan import make_plan
from flows.request.request import make_request
from tests.conftest import box
from tests.support.running import NOW, sample_record


def sensor_lines(catalog: Path, weights: Path, folder: Path, mtf: float | None) -> tuple[list[str], float]:
    """Lines on the sensor of a plan of the sample region whose LR source states `mtf`, and the MTF of the plan."""
    record = sample_record(catalog, weights, folder / "out", box(100.0, 340.0, 420.0, 100.0))
    if mtf is not None:
        source = load_source("sample-lr").model_dump(mode="json", exclude={"endpoint"}) | {"mtf_nyquist": mtf}
        path = folder / "lr.yaml"
        path.write_text(yaml.safe_dump(source))
        record["lr"]["source"] = str(path)
    said: list[str] = []
    plan = make_plan(make_request(record), NOW, said.append)
    return [line for line in said if line.startswith("sensor: ")], plan.mtf_nyquist


def test_stated_and_measured_stand_side_by_side(catalog: Path, weights: Path, tmp_path: Path) -> None:
    (line,), mtf = sensor_lines(catalog, weights, tmp_path, None)
    assert line.startswith(f"sensor: sample-lr states {mtf:.3f}; measured 0.") and "beware" not in line


def test_a_wrong_mtf_is_a_warning_and_stays(catalog: Path, weights: Path, tmp_path: Path) -> None:
    (line,), mtf = sensor_lines(catalog, weights, tmp_path, 0.62)
    assert "beware: states 0.620, measured 0." in line and "write `mtf_nyquist: 0." in line
    assert mtf == 0.62
