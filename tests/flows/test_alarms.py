"""Nightly runs that fail, die or do not come, on a real Prefect server: the webhook is notified."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import httpx
import pytest

import flows.alarms
from dsdit.errors import RequestError
from flows.alarms import DEAD, MISSING, WRONG
from tests.support.commands import call, wait_for
from tests.support.installation import Installation, prefect_server
from tests.support.web import Quiet, serving


@contextmanager
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(URL, what was posted to it) of a running server."""
    posted: list[dict[str, Any]] = []

    class Receiver(Quiet):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.reply(200)

    with serving(Receiver) as url:
        yield url, posted


def set_alarms(here: Installation, webhook: str, absent: timedelta) -> list[str]:
    """Sets the alarms of the server; in this process, with a shorter time."""
    with patch.dict(os.environ, {k: v for k, v in here.env.items() if k.startswith("PREFECT_")}):
        from prefect.settings import PREFECT_API_URL, temporary_settings

        from flows.alarms import set_alarms

        with temporary_settings({PREFECT_API_URL: here.api}):
            return set_alarms(webhook, absent)


def deploy(here: Installation, flow: str, name: str, region: str) -> str:
    """A deployment of a flow that this project need not know; its id."""
    made = here.post("flows/", name=flow)["id"]
    parameters = {"region": region}
    return here.post("deployments/", name=name, flow_id=made, parameters=parameters, enforce_parameter_schema=False)[
        "id"
    ]


def end_run(here: Installation, deployment: str, region: str, state: str) -> str:
    """A run of a deployment in that state, as a worker would set it; its id."""
    run = here.post(f"deployments/{deployment}/create_flow_run", parameters={"region": region})["id"]
    for step in ("PENDING", "RUNNING", state):
        change = {"type": step, "message": f'{step}: "quoted" words'}
        here.post(f"flow_runs/{run}/set_state", state=change, force=True)
    return run


def due_run(here: Installation, deployment: str, region: str, when: datetime) -> str:
    """A run that was to begin at a moment; its id."""
    state = {"type": "SCHEDULED", "state_details": {"scheduled_time": when.isoformat()}}
    body = {"parameters": {"region": region}, "state": state}
    return here.post(f"deployments/{deployment}/create_flow_run", **body)["id"]


@pytest.mark.short
def test_a_failed_a_late_and_an_absent_run_are_notified(tmp_path: Path) -> None:
    """Without a worker: the states of runs are set by hand, as a worker would set them."""
    with ExitStack() as stack:
        url, posted = stack.enter_context(receiver())
        here = stack.enter_context(prefect_server(tmp_path))
        woods = deploy(here, "sr-region", "nightly-woods", "woods.yaml")
        other = deploy(here, "another-flow", "nightly", "none")
        missing = [f"{MISSING} (nightly)", f"{MISSING} (nightly-woods)"]
        done = call([sys.executable, "-m", "flows.alarms"], {**here.env, "DSDIT_WEBHOOK": url})
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [DEAD, WRONG, *missing]
        assert url not in json.dumps(here.post("block_documents/filter"))
        on_demand, nightly = (here.deployment(name)["id"] for name in ("sr-region", "nightly"))
        for deployment, state in ((on_demand, "FAILED"), (other, "CRASHED"), (nightly, "COMPLETED")):
            end_run(here, deployment, "sample", state)
        run = end_run(here, woods, "woods.yaml", "CRASHED")
        wait_for(lambda: posted, 120, "the webhook is notified of a crashed run", 0.5)
        name = here.post("flow_runs/filter", flow_runs={"id": {"any_": [run]}})[0]["name"]
        where = {"deployment": "nightly-woods", "region": "woods.yaml"}
        wrong = {"alarm": WRONG, "what": "prefect.flow-run.Crashed", "run": name, "id": run}
        assert posted == [{**wrong, **where, "message": 'CRASHED: "quoted" words'}]
        late = due_run(here, woods, "woods.yaml", datetime.now(UTC) - timedelta(minutes=5))
        wait_for(lambda: len(posted) > 1, 120, "the webhook is notified of a run that no worker takes", 0.5)
        assert here.state_of(late) == "Late"
        begun_late = {"alarm": WRONG, "what": "prefect.flow-run.Late", "id": late, **where}
        assert {key: posted[1][key] for key in begun_late} == begun_late
        assert set_alarms(here, url, timedelta(seconds=45)) == [DEAD, WRONG, *missing]
        assert len(here.post("automations/filter")) == 4
        end_run(here, nightly, "sample", "COMPLETED")
        wait_for(lambda: len(posted) > 2, 180, "the webhook is notified of a run that did not come", 0.5)
        assert posted[2] == {"alarm": MISSING, "what": "none was completed within 0:00:45", **where}
        assert set_alarms(here, "", timedelta(hours=26)) == [DEAD]
        assert [automation["name"] for automation in here.post("automations/filter")] == [DEAD]


def beat(here: Installation, flow: str, deployment: str) -> str:
    """A run that sends one heartbeat, as Prefect's engine does, and no more; its id."""
    run = end_run(here, deployment, "sample", "RUNNING")
    related = [
        {"prefect.resource.id": f"prefect.flow.{flow}", "prefect.resource.role": "flow", "prefect.resource.name": flow},
        {"prefect.resource.id": f"prefect.deployment.{deployment}", "prefect.resource.role": "deployment"},
    ]
    event = {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": "prefect.flow-run.heartbeat",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run}", "prefect.resource.name": "run"},
        "related": related,
    }
    answer = httpx.post(f"{here.api}/events", json=[event], timeout=30)
    answer.raise_for_status()
    return run


@pytest.mark.slow
def test_a_run_without_heartbeats_is_marked_and_that_of_another_flow_is_left_alone(tmp_path: Path) -> None:
    with ExitStack() as stack:
        here = stack.enter_context(prefect_server(tmp_path))
        other = deploy(here, "another-flow", "nightly", "none")
        with patch.object(flows.alarms, "DEAD_S", 10):
            assert set_alarms(here, "", timedelta(hours=26)) == [DEAD]
        theirs = beat(here, "another-flow", other)
        ours = beat(here, "sr-region", here.deployment("nightly")["id"])
        wait_for(lambda: here.state_of(ours) == "Crashed", 180, "the run of a dead process is marked", 0.5)
        time.sleep(10)
        assert here.state_of(theirs) == "Running"


@pytest.mark.parametrize(
    "webhook", ["hooks.example/services/T0/SECRET", "ftp://hooks.example/SECRET", "https:///SECRET"]
)
def test_a_webhook_that_nobody_could_call_is_refused_and_not_shown(webhook: str) -> None:
    with pytest.raises(RequestError, match="DSDIT_WEBHOOK is no http") as caught:
        flows.alarms.set_alarms(webhook)
    assert "SECRET" not in str(caught.value)
