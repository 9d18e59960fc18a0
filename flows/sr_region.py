"""The flow `sr-region`: from a region to a published mosaic.

    region -> search -> measure -> plan -> stage -> sample -> mosaic -> publish

A second run with the same request does what is due and nothing else. A run some of whose jobs failed publishes what
the others wrote, and then ends as failed, so that no failure goes unnoticed.
"""

from __future__ import annotations

from contextvars import ContextVar
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from dsdit.store.objects import join
from dsdit.store.options import use_storage
from flows.logs import plain_errors
from flows.plan.make_plan import utc_now
from flows.plan.prepared import Prepared, prepare
from flows.publish.outcome import check_all_done
from flows.request.request import Request, load_request, replace_keys
from flows.tasks import check_nightly, hold_output, make_sample, plan_region, publish_region, run_jobs

_OPENED: ContextVar[Request | Prepared | None] = ContextVar("request opened by the caller", default=None)
"""Parameters of a flow are JSON: what the caller has opened reaches the flow of this process beside them."""


def run_region(
    request: str | Path | Request, overrides: dict[str, Any] | None = None, nightly: bool = False
) -> dict[str, str]:
    """Runs the flow in this process; returns locations of mosaic, picture, STAC item, COG and report.

    Args:
        request: name of a request that ships, path of a YAML file, or a request.
        overrides: keys of the request to replace, such as {"compute": {"workers": 4}}.
        nightly: see `sr_region`.

    Raises:
        FailedJobsError: some jobs failed; the others are published.
        DsditError: the run was refused or could not go on.
    """
    if not isinstance(request, Request):
        return sr_region(str(request), overrides, nightly)
    request = replace_keys(request, overrides or {})
    use_storage(request.storage_options)
    return run_opened(request, request.name, overrides, nightly)


def run_opened(
    opened: Request | Prepared, region: str, overrides: dict[str, Any] | None = None, nightly: bool = False
) -> dict[str, str]:
    """Runs the flow on what was opened from `region` and `overrides`, which Prefect shows; see `run_region`."""
    token = _OPENED.set(opened)
    try:
        return sr_region(region, overrides, nightly)
    finally:
        _OPENED.reset(token)


@flow(name="sr-region", flow_run_name="{region}", log_prints=True)
def sr_region(region: str = "sample", overrides: dict[str, Any] | None = None, nightly: bool = False) -> dict[str, str]:
    """Super-resolves one region.

    Args:
        region: name of a request that ships (sample), or the path of a request's YAML file.
        overrides: keys of the request to replace, such as {"compute": {"workers": 4}}.
        nightly: whether it runs again and again while others read; refused where they would see a half-written state.

    Returns:
        Locations of mosaic, picture, STAC item and COG.
    """
    plain_errors()
    opened, now = _OPENED.get() or load_request(region, overrides), utc_now()
    request = opened.request if isinstance(opened, Prepared) else opened
    _name_run(request, now)
    if nightly:
        check_nightly(request)
    if request.sample_region is not None:
        make_sample(request.sample_region)
    prepared = opened if isinstance(opened, Prepared) else prepare(opened, to_run=True)
    with hold_output(request, now) as lease:
        plan_url = plan_region(prepared, now, lease)
        outcome = run_jobs(prepared, plan_url, lease)
        places = publish_region(prepared, plan_url, lease, outcome)
    check_all_done(request, outcome)
    return {**places, "report": join(request.output, "report.json")}


def run_name(request: Request, now: datetime) -> str:
    """Name of a flow run in Prefect: the region and its period, such as `alps 2024-06-15 to 2024-07-15`."""
    start, end = request.period.resolve(now)
    return f"{request.name} {start:%Y-%m-%d} to {end:%Y-%m-%d}"


def _name_run(request: Request, now: datetime) -> None:
    """Renames the flow run, which begins under the name or path of its request: the period is only in the request."""
    if flow_run.id:
        with get_client(sync_client=True) as client:
            client.set_flow_run_name(UUID(str(flow_run.id)), run_name(request, now))
