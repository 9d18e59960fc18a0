"""A Prefect server with both deployments, as `dsdit serve` starts it, and workers of its pool."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from flows.serve import LEASES, POOL
from tests.support.commands import PREFECT, call, environment, prefect_api, wait_for

WORKER = [*PREFECT, "worker", "start", "--pool", POOL, "--limit", "2"]


@dataclass(frozen=True)
class Installation:
    """The server's API, and the environment of commands that talk to it."""

    api: str
    env: dict[str, str]

    def post(self, path: str, **body: Any) -> Any:
        """The response to POST; repeated while the server reports a busy database, as Prefect's own client does.

        On a machine whose cores are all taken SQLite keeps the server waiting for half a minute at times.
        """

        def response() -> httpx.Response | None:
            answer = httpx.post(f"{self.api}/{path}", json=body, timeout=180)
            return answer if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE else None

        return wait_for(response, 60, f"{path} is answered", 0.5).raise_for_status().json()

    def deployment(self, name: str) -> dict[str, Any]:
        answer = httpx.get(f"{self.api}/deployments/name/sr-region/{name}", timeout=180)
        answer.raise_for_status()
        return answer.json()

    def change(self, name: str, **body: Any) -> None:
        """Changes a deployment."""
        httpx.patch(f"{self.api}/deployments/{self.deployment(name)['id']}", json=body, timeout=180).raise_for_status()

    def runs(self, name: str) -> list[dict[str, Any]]:
        """Runs of a deployment, the earliest first."""
        deployments = {"id": {"any_": [self.deployment(name)["id"]]}}
        return self.post("flow_runs/filter", deployments=deployments, sort="EXPECTED_START_TIME_ASC")

    def state_of(self, run: str) -> str:
        """Name of a run's state."""
        (found,) = self.post("flow_runs/filter", flow_runs={"id": {"any_": [run]}})
        return found["state_name"]

    def begin_run(self, region: Path, name: str = "nightly", **overrides: Any) -> str:
        """A run of a deployment, at once; its id."""
        parameters = {"region": str(region), "nightly": name == "nightly", "overrides": overrides}
        deployment = self.deployment(name)["id"]
        state = {"type": "SCHEDULED"}
        return self.post(f"deployments/{deployment}/create_flow_run", parameters=parameters, state=state)["id"]

    def run(self, *parameters: str) -> Any:
        """`prefect deployment run` with its exit code and output, once the run has ended."""
        pairs = [part for parameter in parameters for part in ("-p", parameter)]
        return call(
            [*PREFECT, "deployment", "run", "sr-region/sr-region", *pairs, "--watch", "--watch-timeout", "300"],
            self.env,
            400,
        )


@contextmanager
def prefect_server(folder: Path) -> Iterator[Installation]:
    """A server with both deployments and no worker; it looks for scheduled runs every few seconds."""
    env = environment(
        folder / "home",
        PREFECT_WORKER_QUERY_SECONDS="2",
        PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS="3",
        PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE=LEASES,
    )
    with prefect_api(env, folder / "server.log") as api:
        env |= {"PREFECT_API_URL": api}
        for arguments in (
            ["work-pool", "create", POOL, "--type", "process"],
            ["--no-prompt", "deploy", "--all", "--prefect-file", "infra/prefect.yaml"],
        ):
            done = call([*PREFECT, *arguments], env)
            assert done.returncode == 0, done.stdout + done.stderr
        yield Installation(api, env)
