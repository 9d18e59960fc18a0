"""`dsdit weights`: shows weights folders, imports published files, and averages several of your own."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows.logs import command_errors

app = typer.Typer(no_args_is_help=True, help="Shows, imports and averages weights.")


def _print(title: str, rows: dict[str, object]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), show_header=False, title_justify="left")
    for key, value in rows.items():
        table.add_row(key, escape(str(value)))
    Console().print(table)


@app.command()
def show(name: Annotated[str, typer.Argument(help="Shipped name or folder.")] = "dsdit-tiny") -> None:
    """Shows and checks a weights folder."""
    with command_errors():
        from dsdit.model.header import check_weights

        config, digest = check_weights(name)
        _print(config.name, {**asdict(config), "digest": digest})


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="Published checkpoint, state dict, or SD3-medium safetensors.")],
    out: Annotated[Path, typer.Argument(help="Weights folder to write.")],
    license_: Annotated[
        str | None, typer.Option("--license", help="Licence of the weights; SD3's own comes by itself.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the weights; the folder's by default.")] = None,
    autoencoder: Annotated[
        Path | None, typer.Option(help="SD3 autoencoder for sampling: a diffusers folder or an SD3 file.")
    ] = None,
) -> None:
    """Makes a weights folder from one file, without running any code in it."""
    with command_errors():
        from dsdit.model.importing import import_weights

        place = None if autoencoder is None else str(autoencoder.resolve())
        made = import_weights(source, out, license_, name, place)
        ignored = ", ".join(f"{count} {prefix}*" for prefix, count in made.ignored.items())
        _print(
            made.config.name,
            {
                "network": asdict(made.config.network),
                "parameters": f"{made.parameters:,}",
                "ignored tensors": ignored or "none",
                "autoencoder": made.config.autoencoder or "none named: needed for sampling",
                "licence": made.config.licence,
                "digest": made.digest,
            },
        )
        typer.echo(out)


@app.command()
def mean(
    sources: Annotated[list[str], typer.Argument(help="Two or more weights of one network: shipped names or folders.")],
    out: Annotated[Path, typer.Option(help="Weights folder to write.")],
    name: Annotated[str | None, typer.Option(help="Name of the weights; the first one's by default.")] = None,
) -> None:
    """Averages weights number by number, such as those of runs that continued each other."""
    with command_errors():
        from dsdit.training.averaging import mean_weights

        typer.echo(f"digest: {mean_weights(sources, out, name)}")
        typer.echo(out)
