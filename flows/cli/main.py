"""The command `dsdit`. An error meant for the user is printed as its sentence, with exit code 2.

Each command imports what it needs as it runs: help is shown without loading any of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli import sources, weights
from flows.logs import command_errors

if TYPE_CHECKING:
    from flows.plan.prepared import Prepared
    from flows.request.request import Request

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
app.add_typer(weights.app, name="weights")
app.add_typer(sources.app, name="sources")
RegionArgument = Annotated[str, typer.Argument(help="Name of a request that ships (sample), or its YAML file.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="key=value of the request, such as compute.workers=4.")
]


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"dsdit {version('dsdit')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Shows the version.")
    ] = False,
) -> None:
    """Super-resolves regions of satellite catalogs with references.

    Exit codes: 2 for an error that its message explains, 3 for a run that failed in some shards and published the
    others.
    """


def _overrides(pairs: list[str] | None) -> dict[str, Any]:
    """Nested keys and values of `--set a.b=value`, whose values are YAML. Raises RequestError."""
    from dsdit.errors import RequestError
    from dsdit.yaml_text import parse_yaml

    record: dict[str, Any] = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise RequestError(f"--set {pair!r} is not key=value")
        *path, last = key.split(".")
        part = record
        for name in path:
            part = part.setdefault(name, {})
            if not isinstance(part, dict):
                raise RequestError(f"--set {pair!r}: {name} already has a value: give one of the two")
        try:
            part[last] = parse_yaml(value)
        except ValueError as error:
            raise RequestError(f"--set {key}: {error}") from error
    return record


@app.command()
def run(region: RegionArgument, set_: SetOption = None) -> None:
    """Super-resolves a region.

    Runs the flow sr-region in this process; prints the report, the picture and, last, the mosaic.
    """
    with command_errors():
        from flows.request.request import load_request

        overrides = _overrides(set_)
        request = load_request(region, overrides)
        opened: Request | Prepared = request
        if request.sample_region is None:  # refused before Prefect starts
            from flows.plan.prepared import prepare

            opened = prepare(request, to_run=True)
        from flows.cli.run import run_and_report

        run_and_report(opened, region, overrides)


@app.command()
def plan(region: RegionArgument, set_: SetOption = None) -> None:
    """Shows what a run would do and cost.

    Reads catalogs and overviews; samples and writes no pixel.
    """
    with command_errors():
        from flows.plan.prepared import prepare
        from flows.request.request import load_request

        prepared = prepare(load_request(region, _overrides(set_)))
        from flows.cli.plan import show_plan

        show_plan(prepared)


@app.command()
def status(
    output: Annotated[str, typer.Argument(help="Output location of a run.")],
    scratch: Annotated[str | None, typer.Option(help="The request's `scratch`, where it has one.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Where to write the map as PNG.")] = None,
) -> None:
    """Shows how far a run is or was.

    From its receipts: a table, a map of the shards, and earlier versions.
    """
    with command_errors():
        from rich.console import Console

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
    """Writes the mosaic or a window as one COG.

    In full resolution, for GIS.
    """
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
    """Makes the synthetic sample region.

    Truth, scenes, references and their catalog.
    """
    with command_errors():
        from catalogs.sample_region import make_sample_region

        typer.echo(make_sample_region(folder, seed=seed, size_m=(height_m, width_m)))


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="Training configuration (YAML).")],
    data: Annotated[Path, typer.Option(help="Folder with pairs/, and single/ where the configuration names it.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoint, weights/ (the last) and best/.")],
    resume: Annotated[bool, typer.Option(help="Continues from the checkpoint in --out, if there is one.")] = False,
    minutes: Annotated[float | None, typer.Option(help="Length of the run, instead of the file's.")] = None,
) -> None:
    """Trains a model.

    Prints the folder of its weights. With --resume an interrupted run continues; without it an --out that holds a run
    is refused.
    """
    with command_errors():
        import logging

        from rich.logging import RichHandler

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
    """Measures a model on pairs of dates.

    Its baselines are measured beside it.
    """
    with command_errors():
        import json

        from rich.console import Console

        from dsdit.evaluation.run import evaluate as run_evaluation
        from flows.report import EVALUATION_COLUMNS, pair_progress, print_evaluation

        replaced = {"solver": solver, "schedule": schedule, "steps": steps}
        with pair_progress() as progress:
            figures = run_evaluation(
                folder,
                weights_,
                split=split,
                scale=scale,
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
    """Runs a small Prefect installation.

    Server, work pool, worker and both deployments, until Ctrl-C.
    """
    from flows.cli.run import set_environment
    from flows.serve import serve as run_server

    set_environment()
    with command_errors():
        run_server(port)


if __name__ == "__main__":
    app()
