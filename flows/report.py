"""The report for people: on the terminal, as a Prefect artifact, and as a file beside the mosaic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from dsdit.steps.publish.report import Report
from dsdit.store.objects import join, read_json

DIGITS = {"psnr": 2, "sam": 2, "lr_error": 5, "lr_error_before": 5}
"""Digits of a figure after the point, where they are not three."""
_MARKDOWN = frozenset("&<>|`\\[]*_~#!")
"""Characters that could begin something in Markdown or HTML."""


def report_record(report: Report) -> dict[str, Any]:
    """Plain JSON."""
    return asdict(report)


def read_report(output: str) -> Report | None:
    """The report of the last run at `output`; None where there is none."""
    record = read_json(join(output, "report.json"))
    if record is None:
        return None
    lists = {name: tuple(record.get(name, ())) for name in ("errors", "registration", "scenes")}
    return Report(**{**record, **lists})


def _rows(report: Report) -> list[tuple[str, str]]:
    area = max(sum(report.pixels.values()), 1)
    rows = [("shards", ", ".join(f"{n} {state}" for state, n in sorted(report.jobs.items())))]
    rows.append(("tiles", ", ".join(f"{n} {state.replace('_', ' ')}" for state, n in sorted(report.tiles.items()))))
    rows.append(
        (
            "pixels",
            ", ".join(f"{100 * n / area:.2f}% {s.replace('_', ' ')}" for s, n in report.pixels.items() if n),
        )
    )
    rows.append(("network calls", str(report.calls)))
    rows.append(("worker seconds", ", ".join(f"{step} {s:.1f}" for step, s in report.seconds.items())))
    if report.lr_error:
        before, after = report.lr_error["before"], report.lr_error["after"]
        rows.append(("mean |A(sr) - lr|", f"{before:.5f} before restoring, {after:.5f} after (reflectance)"))
    if report.clipped:
        rows.append(("clipped", f"{report.clipped} pixels, {100 * report.clipped / area:.2f}%, to bounds around LR"))
    rows += [("registration", line) for line in report.registration]
    rows += [("error", error) for error in report.errors[:10]]
    if len(report.errors) > 10:
        rows.append(("error", f"and {len(report.errors) - 10} more in report.json"))
    return rows


def print_report(report: Report, console: Console) -> None:
    """A table; text that came from a catalog is escaped, and what cannot be printed is shown as a question mark."""
    table = Table(title=f"region {report.region}", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _rows(report):
        table.add_row(name, escape("".join(c if c.isprintable() else "?" for c in value)))
    console.print(table)


def report_markdown(report: Report, note: str | None = None) -> str:
    """A Markdown table, with a row for a `note`; text that came from a catalog cannot leave its cell."""
    lines = [f"## Region {report.region}", "", "| | |", "| --- | --- |"]
    rows = _rows(report) + ([("note", note)] if note is not None else [])
    lines += [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text as Markdown shows it literally: no tag, link, picture or emphasis, and on one line."""
    line = " ".join(text.split())
    return "".join(f"&#{ord(c)};" if c in _MARKDOWN or not c.isprintable() else c for c in line)


@contextmanager
def pair_progress() -> Iterator[Callable[[int, int], None]]:
    """A progress bar on the terminal, updated with (done, total)."""
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("pairs", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def step_progress() -> Iterator[Callable[[float, str], None]]:
    """A progress bar on the terminal, updated with (share done, a line about it)."""
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("training", total=1.0)
        yield lambda share, line: bar.update(task, completed=share, description=line)


EVALUATION_COLUMNS = 150
"""Characters that the tables of an evaluation need across."""


def print_evaluation(figures: dict[str, Any], console: Console) -> None:
    """A table a part: rows of the evaluation against their metrics."""
    rows: dict[str, dict[str, dict[str, float]]] = figures["rows"]
    parts = dict.fromkeys(part for row in rows.values() for part in row if not part.startswith("free_"))
    for part in parts:
        shown = {name: found[part] for name, found in rows.items() if part in found}
        metrics = dict.fromkeys(name for found in shown.values() for name in found if name != "pairs")
        count = max(int(found["pairs"]) for found in shown.values())
        pairs = f"blocks of {count} pairs" if part in ("changed", "unchanged") else f"{count} pairs"
        title = f"{part}: {pairs}, {figures['weights']} at scale {figures['scale']}"
        table = Table("row", *metrics, title=title, title_justify="left")
        for name, found in shown.items():
            table.add_row(name, *(f"{found[m]:.{DIGITS.get(m, 3)}f}" if m in found else "" for m in metrics))
        console.print(table)
