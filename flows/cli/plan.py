"""What `dsdit plan` prints: the table of counts and costs, and a map of the shards."""

from __future__ import annotations

from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dsdit.errors import PlanError, ReadError
from dsdit.steps.publish.report import due_jobs
from dsdit.store.objects import join, write_bytes
from flows.plan.cost import last_speed, picture_of_plan, price
from flows.plan.make_plan import describe_settings, keep_plan, make_plan, utc_now
from flows.plan.prepared import Prepared


def show_plan(prepared: Prepared) -> None:
    """Makes the plan of a request, stores it in the output beside the last run's, and prints what a run would cost."""
    request = prepared.request
    unreadable: list[ReadError] = []
    plan = make_plan(prepared, utc_now(), lambda text: typer.echo(text, err=True), on_unreadable=unreadable.append)
    keep_plan(plan, request.output, latest=False)
    due = due_jobs(plan, join(request.output, "receipts"))
    rows = price(plan, due, request.cost, last_speed(plan, request.output))
    table = Table(title=f"plan of {request.name}", show_header=False, title_justify="left")
    for key, value in {**rows, "settings": describe_settings(request, prepared.weights.config)}.items():
        table.add_row(key.replace("_", " "), escape(_text(value)))
    Console().print(table)
    if not due:
        typer.echo("nothing is due: the mosaic is what this plan would make")
    picture = join(request.output, "plan.png")
    write_bytes(picture, picture_of_plan(plan, due))
    typer.echo(f"picture: {picture}")
    if unreadable:
        more = f", and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
        raise PlanError(f"a run would fail where files cannot be read: {unreadable[0]}{more}")


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(map(str, value))
    if isinstance(value, str):
        return value
    return f"{value:,.3f}" if isinstance(value, float) else f"{value:,}"
