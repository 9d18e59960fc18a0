"""Alarms on the Prefect server: it marks runs whose process is dead, and notifies a webhook of nightly runs that fail.

A process that was killed cannot report its own end. Its heartbeats stop, and the server marks the run as crashed, which
frees its concurrency slot. A nightly run that fails, is late or never comes is posted as JSON to the webhook in
`DSDIT_WEBHOOK`. Nightly runs are those of the deployments of the flow sr-region whose names begin with `nightly`; each
deployment is watched on its own. `python -m flows.alarms` sets the alarms on the server of `PREFECT_API_URL` for its
present deployments, and can be run again.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta
from urllib.parse import urlsplit
from uuid import UUID

from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import StateType
from prefect.events.actions import CallWebhook, ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from pydantic import SecretStr

from dsdit.errors import RequestError
from flows.logs import command_errors

WEBHOOK = "DSDIT_WEBHOOK"
"""Environment variable with the URL that is notified. It is stored on the server as a secret."""
HEARTBEAT_S = 30
"""Time between two heartbeats of a run; `infra/prefect.yaml` sets it."""
DEAD_S = 5 * HEARTBEAT_S
ABSENT = timedelta(hours=26)
"""A nightly run must have been completed within this time."""
DEAD, WRONG, MISSING = "alarm: a run is dead", "alarm: a nightly run failed", "alarm: no nightly run was completed"
_EARLIER = ("alarm: a night went wrong", "alarm: no night was completed")
"""Names of alarms that an earlier version set, which are removed too."""
FLOW, NIGHTLY = "sr-region", "nightly"
"""The flow whose runs are watched, and how the names of its nightly deployments begin."""
_BLOCK = "dsdit-nights"
_ENDS = ("Completed", "Failed", "Cancelled", "Crashed", "TimedOut")
_WRONG = ("Failed", "Crashed", "TimedOut", "Cancelled", "Late")


def set_alarms(webhook: str | None, absent: timedelta = ABSENT) -> list[str]:
    """Replaces the automations, with those that notify only where there is a `webhook`; returns their names.

    Raises RequestError for a webhook that cannot be called: nobody would be notified.
    """
    automations = [_dead_runs()]
    url = urlsplit(webhook or "")
    if webhook and (url.scheme not in ("http", "https") or not url.hostname):
        raise RequestError(f"{WEBHOOK} is no http(s) URL (it is not shown, it may hold a secret): mend or unset it")
    with get_client(sync_client=True) as client:
        if webhook:
            block = Webhook(url=SecretStr(webhook)).save(_BLOCK, overwrite=True)
            assert isinstance(block, UUID)
            automations.append(_wrong(block))
            automations += [_missing(block, absent, name, region) for name, region in _nightly_deployments(client)]
        for old in client.read_automations():
            if old.name.startswith((DEAD, WRONG, MISSING, *_EARLIER)):
                client.delete_automation(old.id)
        for automation in automations:
            client.create_automation(automation)
    return [automation.name for automation in automations]


def _nightly_deployments(client: SyncPrefectClient) -> list[tuple[str, str]]:
    """(name, region) of the flow's deployments that run every night."""
    ours = client.read_deployments(flow_filter=FlowFilter(name=FlowFilterName(any_=[FLOW])))
    found = sorted((d.name, str(d.parameters.get("region", ""))) for d in ours if d.name.startswith(NIGHTLY))
    return found or [(f"{NIGHTLY}*", "")]


def _related(*resources: dict[str, str]) -> list[ResourceSpecification | dict[str, str | list[str]]]:
    """What a run of the flow must be related to, the flow itself included: on a server that others use too."""
    flow = {"prefect.resource.role": "flow", "prefect.resource.name": FLOW}
    return [ResourceSpecification({key: [value] for key, value in each.items()}) for each in (flow, *resources)]


def _deployment(name: str) -> dict[str, str]:
    return {"prefect.resource.role": "deployment", "prefect.resource.name": name}


_RUNS = ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]})


def _dead_runs() -> AutomationCore:
    heartbeat = "prefect.flow-run.heartbeat"
    return AutomationCore(
        name=DEAD,
        trigger=EventTrigger(
            after={heartbeat},
            expect={heartbeat, *(f"prefect.flow-run.{state}" for state in _ENDS)},
            match=_RUNS,
            match_related=_related(),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=DEAD_S),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                name="Crashed",
                message=f"no sign of life for {DEAD_S} s: its process is dead",
                force=False,
            )
        ],
    )


def _wrong(block: UUID) -> AutomationCore:
    """Every run of a nightly deployment that does not end as completed, or begins late."""
    fields = {
        "what": "event.event",
        "deployment": "deployment.name",
        "region": "flow_run.parameters.region",
        "run": "flow_run.name",
        "id": "flow_run.id | string",
        "message": "flow_run.state.message",
    }
    members = ", ".join(f'"{key}": {{{{ {value} | default("", true) | tojson }}}}' for key, value in fields.items())
    return AutomationCore(
        name=WRONG,
        trigger=EventTrigger(
            expect={f"prefect.flow-run.{state}" for state in _WRONG},
            match=_RUNS,
            match_related=_related(_deployment(f"{NIGHTLY}*")),
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[CallWebhook(block_document_id=block, payload=f'{{"alarm": {json.dumps(WRONG)}, {members}}}')],
    )


def _missing(block: UUID, absent: timedelta, name: str, region: str) -> AutomationCore:
    """One deployment of which no run was completed; completed runs of other deployments do not count."""
    payload = {"alarm": MISSING, "what": f"none was completed within {absent}", "deployment": name, "region": region}
    return AutomationCore(
        name=f"{MISSING} ({name})",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Completed"},
            match=_RUNS,
            match_related=_related(_deployment(name)),
            posture=Posture.Proactive,
            threshold=1,
            within=absent,
        ),
        actions=[CallWebhook(block_document_id=block, payload=json.dumps(payload))],
    )


if __name__ == "__main__":
    with command_errors():
        sys.stdout.write("".join(f"{name}\n" for name in set_alarms(os.environ.get(WEBHOOK))))
