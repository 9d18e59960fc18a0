"""`dsdit sources`: lists known catalogs, checks their records, and queries one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dsdit.errors import DsditError, RequestError
from flows.logs import REFUSED, command_errors, print_error

if TYPE_CHECKING:
    from catalogs.source import Source

app = typer.Typer(help="Lists and checks sources.")


@app.callback(invoke_without_command=True)
def sources(
    context: typer.Context,
    own: Annotated[list[str] | None, typer.Option("--file", help="A source's YAML file of yours; repeatable.")] = None,
) -> None:
    """Lists the sources that ship, and those of --file, and checks that each record is sound."""
    if context.invoked_subcommand is not None:
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from catalogs.source import known_sources, load_source

    console, failed = Console(), []
    table = Table(title="sources", title_justify="left", show_lines=True, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name in [*known_sources(), *(own or [])]:
        try:
            table.add_row(*map(escape, _row(load_source(name))))
        except DsditError as error:
            failed.append(str(error))
    console.print(table)
    for text in failed:
        print_error(text)
    if failed:
        raise typer.Exit(REFUSED)


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="Name of a source, or the path of its YAML file.")],
    endpoint: Annotated[str | None, typer.Option(help="Replaces the source's endpoint.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Writes the measured MTF into your source file.")] = False,
) -> None:
    """Queries the endpoint for one item and reads one small window of its pixels.

    Of a source of scenes it measures the sensor's MTF too, from the spectrum of one scene: a rough figure.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from catalogs.check_source import check_source
    from catalogs.source import load_source
    from catalogs.state_mtf import state_mtf
    from flows.plan.mtf_notes import mtf_text

    with command_errors():
        source = load_source(name)
        found = check_source(source if endpoint is None else source.at(endpoint))
    table = Table(title=f"source {source.name}", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    mean = "none is valid" if found.reflectance is None else f"{found.reflectance:.4f}"
    rows = [
        ("item", found.item),
        ("acquired", found.when.isoformat()),
        ("grid", f"{found.crs}, {found.gsd_m:g} a pixel"),
        ("offset", f"{found.offset:g} reflectance"),
        ("window", f"{found.shape[0]} x {found.shape[1]} px, {found.valid:.0%} valid, {found.cloud:.0%} cloud"),
        ("mean reflectance", mean),
        *([("MTF", mtf_text(source.mtf_nyquist, found.mtf))] if source.role == "lr" else []),
        *(("note", note) for note in found.notes),
    ]
    for key, value in rows:
        table.add_row(key, escape(value))
    Console().print(table)
    if write:
        with command_errors():
            if found.mtf is None:
                raise RequestError(f"the MTF of {source.name} was not measured: nothing is written")
            typer.echo(f"wrote mtf_nyquist: {found.mtf.value:g} into {state_mtf(name, found.mtf.value)}")


def _row(source: Source) -> tuple[str, str]:
    """Name, and five lines on it."""
    where = "an endpoint that the request gives" if source.endpoint is None else source.endpoint
    what = f"scenes, MTF {source.mtf_nyquist:.3f}" if source.role == "lr" else "references"
    reading = f"dn by rule {source.rule.kind}, mask: {source.mask.kind}"
    hosts = ", ".join(source.hosts) or "its own folder"
    extras = [text for text, given in (("requester pays", source.requester_pays),) if given]
    extras += [f"signed ({source.signing})"] if source.signing != "none" else []
    return source.name, "\n".join(
        (
            f"{source.collection}, {source.gsd_m:g} m, {what}",
            f"at {where}",
            reading + (f", where {source.where}" if source.where else ""),
            f"{', '.join(source.drivers)} from {', '.join([hosts, *extras])}",
            f"{source.licence}; derivatives: {source.derivatives}; {source.attribution}",
        )
    )
