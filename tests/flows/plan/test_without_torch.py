"""A plan is made without torch: it takes seconds and hundreds of megabytes to import."""

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import box
from tests.support.running import sample_record

ROOT = Path(__file__).parents[3]
CODE = """
import json, sys
from datetime import UTC, datetime
from flows.plan.cost import price
from flows.plan.make_plan import describe_settings, keep_plan, make_plan
from flows.plan.prepared import prepare
from flows.request.request import make_request
request = make_request(json.loads(sys.argv[1]))
prepared = prepare(request)
plan = make_plan(prepared, datetime(2024, 7, 20, tzinfo=UTC), lambda _: None)
keep_plan(plan, request.output)
assert price(plan)["network_calls"] > 0 and describe_settings(request, prepared.weights.config)
assert "torch" not in sys.modules
print(plan.model.digest)
"""


def test_a_plan_loads_no_torch(catalog: Path, weights: Path, tmp_path: Path) -> None:
    from dsdit.model.weights import load_weights

    record = sample_record(catalog, weights, tmp_path / "out", box(80, 320, 400, 80))
    command = [sys.executable, "-c", CODE, json.dumps(record)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == load_weights(weights).digest
