"""The deployments on a real Prefect server with a process worker, as a small installation runs them."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.serve import POOL
from tests.conftest import box
from tests.support.clustered import digest_of
from tests.support.commands import (
    DSDIT,
    ROOT,
    descendants,
    environment,
    free_port,
    healthy,
    running,
    started,
    wait_for,
    write_request,
)
from tests.support.installation import WORKER, Installation, prefect_server
from tests.support.running import Ran, run_here, sample_record

ONE_SHARD = box(100, 200, 220, 120)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("prefect")
    with prefect_server(folder) as here, started(WORKER, here.env, folder / "worker.log"):
        yield here


@pytest.fixture(scope="module")
def straight(catalog: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The same region without Prefect and Dask."""
    return run_here(sample_record(catalog, weights, tmp_path_factory.mktemp("straight") / "out", ONE_SHARD))


def test_nightly_has_a_cron_schedule_a_limit_and_scheduled_runs(installation: Installation) -> None:
    nightly = installation.deployment("nightly")
    assert nightly["parameters"] == {"region": "sample", "nightly": True}
    (schedule,) = nightly["schedules"]
    assert schedule["active"]
    assert schedule["schedule"]["cron"] == "0 2 * * *"
    assert schedule["schedule"]["timezone"] == "UTC"
    assert nightly["global_concurrency_limit"]["limit"] == 1
    assert nightly["concurrency_options"]["collision_strategy"] == "ENQUEUE"

    def scheduled() -> list[dict[str, Any]]:
        states = {"state": {"type": {"any_": ["SCHEDULED"]}}}
        return installation.post("flow_runs/filter", deployments={"id": {"any_": [nightly["id"]]}}, flow_runs=states)

    runs = wait_for(scheduled, 60, "the server creates the runs of the cron schedule", 0.5)
    assert all(run["auto_scheduled"] and "T02:00:00" in run["expected_start_time"] for run in runs)


def test_the_parameter_form_knows_its_parameters(installation: Installation) -> None:
    schema = installation.deployment("sr-region")["parameter_openapi_schema"]
    assert set(schema["properties"]) == {"region", "overrides", "nightly"}
    assert "request" in schema["properties"]["region"]["description"]
    assert installation.deployment("sr-region")["enforce_parameter_schema"]


def test_a_deployment_run_makes_the_mosaic_and_its_artifacts(
    installation: Installation, straight: Ran, catalog: Path, weights: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    record = sample_record(catalog, weights, Path("out"), ONE_SHARD)  # relative to the request's file
    request = write_request(tmp_path / "request.yaml", record)
    done = installation.run(f"region={request}")
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = installation.post("flow_runs/filter", flow_runs={"state": {"type": {"any_": ["COMPLETED"]}}})
    assert run["state_name"] == "Completed"
    assert run["name"] == "test 2024-06-15 to 2024-07-15"
    assert run["parameters"]["region"] == str(request)
    ran = Ran(straight.request, straight.plan, straight.places._replace(mosaic=str(output / "mosaic.zarr")), [], None)  # type: ignore[arg-type]
    assert digest_of(ran) == digest_of(straight)
    report = json.loads((output / "report.json").read_text())
    assert report["jobs"] == {"done": 1, "planned": 1, "due": 0}
    artifacts = installation.post("artifacts/filter", artifacts={"flow_run_id": {"any_": [run["id"]]}})
    kinds = {artifact["type"]: artifact for artifact in artifacts}
    assert set(kinds) == {"progress", "markdown", "image"}
    assert kinds["progress"]["key"] == "test-tiles"
    assert kinds["progress"]["data"] == 100
    rows = [line for line in kinds["markdown"]["data"].splitlines() if line.startswith("|")]
    assert "| tiles |" in kinds["markdown"]["data"] and all(row.count("|") == 3 for row in rows)
    assert any("A&#40;sr&#41;" in row or "A(sr)" in row for row in rows)
    assert str(kinds["image"]["data"]).startswith("data:image/")


def test_a_parameter_that_nobody_knows_is_refused_at_submission(installation: Installation) -> None:
    before = installation.post("flow_runs/count")
    done = installation.run("regoin=sample")
    assert done.returncode != 0
    assert "regoin" in done.stdout + done.stderr
    deployment = installation.deployment("sr-region")["id"]
    wrong = httpx.post(
        f"{installation.api}/deployments/{deployment}/create_flow_run", json={"parameters": {"region": {"a": 1}}}
    )
    assert wrong.status_code == 409, wrong.text
    assert installation.post("flow_runs/count") == before


def test_a_refused_deployment_leaves_nothing_behind(
    installation: Installation, catalog: Path, weights: Path, tmp_path: Path
) -> None:
    record = sample_record(catalog, weights, Path("out"), ONE_SHARD, land="none.geojson", scratch="scratch")
    request = write_request(tmp_path / "refused.yaml", record)
    done = installation.run(f"region={request}")
    assert done.returncode != 0
    runs = installation.post("flow_runs/filter", flow_runs={"state": {"type": {"any_": ["FAILED"]}}})
    (run,) = [run for run in runs if run["parameters"]["region"] == str(request)]
    assert f"land '{tmp_path / 'none.geojson'}' cannot be read" in run["state"]["message"]
    assert [path.name for path in tmp_path.iterdir()] == ["refused.yaml"]


@pytest.mark.slow
def test_a_request_that_cannot_be_used_fails_with_its_sentence(installation: Installation, tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    done = installation.run(f"region={path}")
    assert done.returncode != 0
    runs = installation.post("flow_runs/filter", flow_runs={"state": {"type": {"any_": ["FAILED"]}}})
    (run,) = [run for run in runs if run["parameters"]["region"] == str(path)]
    assert "neither a name that ships" in run["state"]["message"]

    def logged() -> list[str]:
        logs = installation.post("logs/filter", logs={"flow_run_id": {"any_": [run["id"]]}})
        return [entry["message"] for entry in logs if entry["level"] >= 40]

    errors = wait_for(logged, 30, "the sentence in the log of the run", 0.5)
    assert any(str(path) in line for line in errors)
    assert not any("Traceback" in line for line in errors)


@pytest.mark.short
def test_serve_brings_up_everything_and_ends_cleanly_in_the_middle_of_a_run(
    catalog: Path, weights: Path, tmp_path: Path
) -> None:
    record = sample_record(catalog, weights, tmp_path / "out", ONE_SHARD, sampling={"steps": 1000})
    request = write_request(tmp_path / "request.yaml", record)
    port, log = free_port(), tmp_path / "log"
    api = f"http://127.0.0.1:{port}/api"
    with started([*DSDIT, "serve", "--port", str(port)], environment(tmp_path / "home"), log, ROOT) as process:
        wait_for(
            lambda: "In another shell:" in log.read_text() or process.poll() is not None,
            240,
            "what to do next",
        )
        assert process.poll() is None, log.read_text()
        here = Installation(api, {})
        assert {d["name"] for d in here.post("deployments/filter")} == {"sr-region", "nightly"}
        wait_for(
            lambda: [w for w in here.post(f"work_pools/{POOL}/workers/filter") if w["status"] == "ONLINE"],
            90,
            "the worker is online",
        )
        here.begin_run(request, "sr-region")
        wait_for(lambda: list((tmp_path / "out").glob("scratch/receipts/stage/*")), 180, "the run stages")
        below = descendants(process.pid)
        assert len(below) >= 4
        process.send_signal(signal.SIGINT)
        assert process.wait(150) == 0, log.read_text()
        wait_for(lambda: not running(below), 20, "server and worker are gone")
    assert not healthy(api)
    assert "Traceback" not in log.read_text()
