"""What `dsdit run` does around the flow: settings of Prefect, a clean end on SIGTERM, and the printed report."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import Any

from rich.console import Console

from dsdit.errors import FailedJobsError
from flows.logs import plain_errors
from flows.plan.prepared import Prepared
from flows.report import print_report, read_report
from flows.request.request import Request


def set_environment() -> None:
    """Settings that Prefect reads as it is imported."""
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")


def run_and_report(opened: Request | Prepared, region: str, overrides: dict[str, Any]) -> None:
    """Runs the flow in this process and prints its report; picture and mosaic come last.

    Raises FailedJobsError after the report where some jobs failed.
    """
    set_environment()
    # Alarms are for the server that stays. Prefect's temporary one shares its database, and would wait for its locks.
    os.environ.setdefault("PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED", "false")
    from flows.sr_region import run_opened

    plain_errors(silent=True)
    # An exit in good order, so that workers and Prefect's temporary server end too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    request = opened.request if isinstance(opened, Prepared) else opened
    failed, places = None, dict[str, str]()
    try:
        places = run_opened(opened, region, overrides)
    except FailedJobsError as error:  # printed after the report, so that it is read last
        failed = error
    report = read_report(request.output)
    if report is not None:
        print_report(report, Console())
    logging.getLogger("prefect").setLevel(logging.WARNING)
    if failed is not None:
        raise failed
    sys.stdout.write(f"picture: {places['picture']}\n{places['mosaic']}\n")
