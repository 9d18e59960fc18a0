"""What the Prefect server does when a night goes wrong: it marks runs of dead processes, and tells somebody.

A process that was killed can mark nothing. Its heartbeats end, and the server calls the run crashed, which frees its
concurrency slot. A night that fails, is late or never comes is posted as JSON to the webhook in `DSDIT_WEBHOOK`.
`python -m flows.alarms` sets all this on the server of `PREFECT_API_URL`, and may be run again.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta
from typing import Literal
from urllib.parse import urlsplit
from uuid import UUID

from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import CallWebhook, ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from pydantic import SecretStr

from dsdit.errors import RequestError
from flows.logs import command_errors

WEBHOOK = "DSDIT_WEBHOOK"
"""Environment variable with the URL that is told. It is kept on the server as a secret."""
HEARTBEAT_S = 30
"""How often a run says that it lives; `infra/prefect.yaml` sets it."""
DEAD_S = 5 * HEARTBEAT_S
ABSENT = timedelta(hours=26)
"""A nightly run must have been completed within this time."""
DEAD, WRONG, MISSING = "alarm: a run is dead", "alarm: a night went wrong", "alarm: no night was completed"
_BLOCK = "dsdit-nights"
_ENDS = ("Completed", "Failed", "Cancelled", "Crashed", "TimedOut")
_WRONG = ("Failed", "Crashed", "TimedOut", "Cancelled", "Late")


def set_alarms(webhook: str | None, absent: timedelta = ABSENT) -> list[str]:
    """Sets the automations anew, those that tell somebody only where there is a `webhook`; returns their names.

    Raises RequestError for a webhook that nobody could call: a night that went wrong would be told to nobody.
    """
    automations = [_dead_runs()]
    if webhook:
        url = urlsplit(webhook)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise RequestError(f"{WEBHOOK} is no http(s) URL (it is not shown, it may hold a secret): mend or unset it")
        block = Webhook(url=SecretStr(webhook)).save(_BLOCK, overwrite=True)
        assert isinstance(block, UUID)
        automations += [
            _told(WRONG, set(_WRONG), Posture.Reactive, timedelta(0), block, "{{ event.event }}"),
            _told(MISSING, {"Completed"}, Posture.Proactive, absent, block, f"none was completed within {absent}"),
        ]
    with get_client(sync_client=True) as client:
        for name in (DEAD, WRONG, MISSING):
            for old in client.read_automations_by_name(name):
                client.delete_automation(old.id)
        for automation in automations:
            client.create_automation(automation)
    return [automation.name for automation in automations]


def _dead_runs() -> AutomationCore:
    heartbeat = "prefect.flow-run.heartbeat"
    return AutomationCore(
        name=DEAD,
        trigger=EventTrigger(
            after={heartbeat},
            expect={heartbeat, *(f"prefect.flow-run.{state}" for state in _ENDS)},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
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


Side = Literal[Posture.Reactive, Posture.Proactive]


def _told(name: str, states: set[str], posture: Side, within: timedelta, block: UUID, what: str) -> AutomationCore:
    return AutomationCore(
        name=name,
        trigger=EventTrigger(
            expect={f"prefect.flow-run.{state}" for state in states},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=ResourceSpecification(
                {"prefect.resource.role": ["deployment"], "prefect.resource.name": ["nightly"]}
            ),
            posture=posture,
            threshold=1,
            within=within,
        ),
        actions=[CallWebhook(block_document_id=block, payload=json.dumps({"alarm": name, "what": what}))],
    )


if __name__ == "__main__":
    with command_errors():
        sys.stdout.write("".join(f"{name}\n" for name in set_alarms(os.environ.get(WEBHOOK))))
