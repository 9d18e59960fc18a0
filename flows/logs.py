"""Errors meant for the user, as their sentence alone: from commands, and in Prefect's logs without its traceback."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.markup import escape

from dsdit.errors import DsditError

_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")


@contextmanager
def command_errors() -> Iterator[None]:
    """Ends a command on a DsditError with its sentence and exit code 2."""
    try:
        yield
    except DsditError as error:
        Console(stderr=True, soft_wrap=True).print(f"[bold red]dsdit:[/] {escape(str(error))}")
        raise typer.Exit(2) from error


class Sentences(logging.Filter):
    """Records of a DsditError keep its sentence alone; `silent` drops them, for a command that prints it itself."""

    silent = False

    def filter(self, record: logging.LogRecord) -> bool:
        """False for a record that is dropped."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, DsditError):
            record.msg, record.args, record.exc_info, record.exc_text = "%s", (str(error),), None, None
            return not self.silent
        return not (self.silent and str(record.msg).startswith("Finished in state Failed"))


_SENTENCES = Sentences()


def plain_errors(silent: bool | None = None) -> None:
    """Puts the filter on Prefect's loggers of flow and task runs, once."""
    if silent is not None:
        _SENTENCES.silent = silent
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_SENTENCES)
