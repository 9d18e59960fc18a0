"""The command `dsdit`. An error that is meant for the user is printed as its sentence, with exit code 2."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.table import Table

from dsdit.errors import FailedJobsError, RequestError
from flows.cli import sources, weights
from flows.logs import command_errors

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(weights.app, name="weights")
app.add_typer(sources.app, name="sources")
RegionArgument = Annotated[str, typer.Argument(help="Name of a request that ships (sample), or its YAML file.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="key=value of the request, such as compute.workers=4.")
]


def _overrides(pairs: list[str] | None) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise RequestError(f"--set {pair!r} is not key=value")
        *path, last = key.split(".")
        place = record
        for name in path:
            place = place.setdefault(name, {})
        place[last] = yaml.safe_load(value)
    return record


def _environment() -> None:
    """Settings that must stand before Prefect is imported."""
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")


@app.command()
def run(region: RegionArgument, set_: SetOption = None) -> None:
    """Runs the flow sr-region in this process; prints the report, the picture and, last, the mosaic."""
    _environment()
    # Alarms are for the server that stays. Prefect's temporary one shares its database, and would wait for its locks.
    os.environ.setdefault("PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED", "false")
    with command_errors():
        from flows.request.request import load_request

        overrides = _overrides(set_)
        request = load_request(region, overrides)
        if request.sample_region is None:
            from flows.plan.make_plan import check_request

            check_request(request)
        from flows.logs import plain_errors
        from flows.report import print_report, read_report
        from flows.sr_region import sr_region

        plain_errors(silent=True)
        # An exit in good order, so that workers and Prefect's temporary server end too.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        failed = None
        try:
            places = sr_region(region, overrides)
        except FailedJobsError as error:  # the report comes first, so that the sentence is read last
            failed = error
        report = read_report(request.output)
        console = Console()
        if report is not None:
            print_report(report, console)
        logging.getLogger("prefect").setLevel(logging.WARNING)
        if failed is not None:
            raise failed
        sys.stdout.write(f"picture: {places['picture']}\n{places['mosaic']}\n")


@app.command()
def plan(region: RegionArgument, set_: SetOption = None) -> None:
    """Says what a run would do and cost. Reads catalogs and overviews; samples and writes no pixel."""
    with command_errors():
        from dsdit.steps.publish.report import due_jobs
        from dsdit.store.objects import check_writable, join, write_bytes
        from flows.plan.cost import last_speed, picture_of_plan, price
        from flows.plan.make_plan import describe_settings, keep_plan, make_plan, utc_now
        from flows.request.request import load_request

        request = load_request(region, _overrides(set_))
        check_writable(request.output)
        if request.sample_region is not None:
            from catalogs.sample_region import make_sample_region

            folder = Path(request.sample_region.folder)
            if not (folder / "items.json").exists():
                make_sample_region(folder, seed=request.sample_region.seed, size_m=request.sample_region.size_m)
        made = make_plan(request, utc_now(), lambda text: typer.echo(text, err=True))
        keep_plan(made, request.output, latest=False)
        due = due_jobs(made, join(request.output, "receipts"))
        table = Table(title=f"plan of {request.name}", show_header=False, title_justify="left")
        settings = {"settings": describe_settings(request)}
        costs = price(made, due, request.cost, last_speed(made, request.output))
        for key, value in {**costs, **settings}.items():
            shown = "\n".join(map(str, value)) if isinstance(value, list) else _number(value)
            table.add_row(key.replace("_", " "), escape(shown))
        Console().print(table)
        if not due:
            typer.echo("nothing is due: the mosaic is what this plan would make")
        picture = join(request.output, "plan.png")
        write_bytes(picture, picture_of_plan(made, due))
        typer.echo(f"picture: {picture}")


def _number(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.3f}" if isinstance(value, float) else f"{value:,}"


@app.command()
def status(
    output: Annotated[str, typer.Argument(help="Output location of a run.")],
    scratch: Annotated[str | None, typer.Option(help="The run's `scratch`, where it names one.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Where to write the map as PNG.")] = None,
) -> None:
    """Says how far a run is or was, from its receipts alone: a table, a map of the shards, and the versions before."""
    with command_errors():
        from flows.cli.status import show_status
        from flows.request.request import scratch_of

        show_status(output, scratch_of(output, scratch), Console(), picture)


@app.command()
def export(
    output: Annotated[str, typer.Argument(help="Output location of a run.")],
    path: Annotated[str, typer.Argument(help="Where to write the COG.")],
    bounds: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(help="X0 Y0 X1 Y1 in the units of the mosaic's CRS; by default the whole region."),
    ] = None,
) -> None:
    """Writes the mosaic's full resolution, or a window of it, as one COG, for GIS."""
    with command_errors():
        from dsdit.mosaic.versions import mosaic_store
        from dsdit.steps.publish.cog import cog_window, write_cog
        from flows.plan.make_plan import latest_plan

        made = latest_plan(output)
        window = made.region.window if bounds is None else cog_window(made, bounds)
        with mosaic_store(output).reading() as mosaic:
            write_cog(made, mosaic, path, window)
        typer.echo(path)


@app.command("sample-region")
def sample_region(
    folder: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("output/sample-region"),
    seed: int = 7,
    height_m: float = 2000.0,
    width_m: float = 2000.0,
) -> None:
    """Makes the sample region: truth, scenes, references and their catalog."""
    with command_errors():
        from catalogs.sample_region import make_sample_region

        typer.echo(make_sample_region(folder, seed=seed, size_m=(height_m, width_m)))


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="Training configuration (YAML).")],
    data: Annotated[Path, typer.Option(help="Folder with pairs/, and single/ where the configuration names it.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoint, weights/ (the last) and best/.")],
    resume: Annotated[bool, typer.Option(help="Goes on from the checkpoint in --out, if there is one.")] = False,
    minutes: Annotated[float | None, typer.Option(help="Length of the run, instead of the file's.")] = None,
) -> None:
    """Trains a model and prints the folder of its weights.

    An interrupted run goes on where it was with --resume; without it an --out that holds a run is refused.
    """
    with command_errors():
        from dsdit.training import read_training_config
        from dsdit.training import train as run_training
        from flows.report import step_progress

        logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[RichHandler(show_path=False)])
        with step_progress() as show:
            weights = run_training(read_training_config(config, minutes), data, out, resume, show)
        typer.echo(weights)


@app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(help="Folder with pairs/A_<id>.* (older) and pairs/B_<id>.* (newer).")],
    scale: Annotated[int, typer.Option(min=2, max=16, help="HR pixels per LR pixel.")] = 8,
    split: Annotated[str, typer.Option(help="Split of pairs/manifest.csv, where there is one.")] = "val",
    weights_: Annotated[str, typer.Option("--weights", help="Shipped name or folder.")] = "dsdit-tiny",
    json_: Annotated[Path | None, typer.Option("--json", help="Where to write the figures.")] = None,
    pictures: Annotated[Path | None, typer.Option(help="Folder for a contact sheet of each pair.")] = None,
    nfe: Annotated[list[int] | None, typer.Option(help="Adds a row of that many Euler steps; repeatable.")] = None,
    row: Annotated[list[str] | None, typer.Option(help="Measures this row alone; repeatable.")] = None,
    solver: Annotated[
        str | None, typer.Option(help="Replaces the weights' solver: euler, published_dpmpp_2m ..")
    ] = None,
    schedule: Annotated[str | None, typer.Option(help="Replaces the weights' schedule: spaced or published.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Replaces the weights' number of steps.")] = None,
    every: Annotated[int, typer.Option(min=1, help="Measures each N-th pair alone.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Processes that measure pairs at the same time.")] = 1,
    device: Annotated[str, typer.Option(help="Where the network runs: cpu or cuda.")] = "cpu",
) -> None:
    """Measures a model and its baselines on pairs of dates."""
    with command_errors():
        from dsdit.evaluation.run import evaluate as run_evaluation
        from flows.report import EVALUATION_COLUMNS, pair_progress, print_evaluation

        replaced = {"solver": solver, "schedule": schedule, "steps": steps}
        with pair_progress() as progress:
            figures = run_evaluation(
                folder,
                weights_,
                split,
                scale,
                rows=row,
                nfe=nfe or (),
                every=every,
                pictures=pictures,
                progress=progress,
                workers=workers,
                sampling={name: value for name, value in replaced.items() if value is not None},
                device=device,
            )
        if json_ is not None:
            json_.write_text(json.dumps(figures, indent=1))
        print_evaluation(figures, Console(width=max(EVALUATION_COLUMNS, Console().width)))
        for note in figures["notes"]:
            typer.echo(note, err=True)


@app.command()
def serve(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the server, on 127.0.0.1.")] = 4200,
) -> None:
    """Prefect server, work pool, worker and both deployments, until Ctrl-C."""
    _environment()
    from flows.serve import serve as run_server

    with command_errors():
        run_server(port)


if __name__ == "__main__":
    app()
