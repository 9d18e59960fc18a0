"""Nights that fail, die or stay away, on a real Prefect server: somebody is told."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

import flows.alarms
from dsdit.errors import RequestError
from flows.alarms import DEAD, MISSING, WRONG
from tests.support.commands import call, wait_for
from tests.support.installation import Installation, prefect_server
from tests.support.web import Quiet, serving


@contextmanager
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(URL, what was posted to it) of a server that listens."""
    told: list[dict[str, Any]] = []

    class Receiver(Quiet):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.reply(200)

    with serving(Receiver) as url:
        yield url, told


def set_alarms(here: Installation, webhook: str, absent: timedelta) -> list[str]:
    """Sets the alarms of the server; in this process, with a shorter night."""
    with patch.dict(os.environ, {k: v for k, v in here.env.items() if k.startswith("PREFECT_")}):
        from prefect.settings import PREFECT_API_URL, temporary_settings

        from flows.alarms import set_alarms

        with temporary_settings({PREFECT_API_URL: here.api}):
            return set_alarms(webhook, absent)


@pytest.mark.short
def test_a_failed_and_an_absent_night_are_told(tmp_path: Path) -> None:
    """Without a worker: the states of runs are set by hand, as a worker would."""
    with ExitStack() as stack:
        url, told = stack.enter_context(receiver())
        here = stack.enter_context(prefect_server(tmp_path))
        done = call([sys.executable, "-m", "flows.alarms"], {**here.env, "DSDIT_WEBHOOK": url})
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [DEAD, WRONG, MISSING]
        assert url not in json.dumps(here.ask("block_documents/filter"))
        for name, state in (("sr-region", "FAILED"), ("nightly", "COMPLETED"), ("nightly", "CRASHED")):
            run = here.begin_run(tmp_path / "none.yaml", name)
            for step in ("PENDING", "RUNNING", state):
                here.ask(f"flow_runs/{run}/set_state", state={"type": step}, force=True)
        wait_for(lambda: told, 120, "the webhook is told of a crashed night", 0.5)
        assert told == [{"alarm": WRONG, "what": "prefect.flow-run.Crashed"}]
        assert set_alarms(here, url, timedelta(seconds=15)) == [DEAD, WRONG, MISSING]
        assert len(here.ask("automations/filter")) == 3
        wait_for(lambda: len(told) > 1, 180, "the webhook is told of a night that did not come", 0.5)
        assert told[1]["alarm"] == MISSING
        assert set_alarms(here, "", timedelta(hours=26)) == [DEAD]
        assert [automation["name"] for automation in here.ask("automations/filter")] == [DEAD]


@pytest.mark.parametrize(
    "webhook", ["hooks.example/services/T0/SECRET", "ftp://hooks.example/SECRET", "https:///SECRET"]
)
def test_a_webhook_that_nobody_could_call_is_refused_and_not_shown(webhook: str) -> None:
    with pytest.raises(RequestError, match="DSDIT_WEBHOOK is no http") as caught:
        flows.alarms.set_alarms(webhook)
    assert "SECRET" not in str(caught.value)
