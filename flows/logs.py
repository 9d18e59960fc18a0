"""Errors meant for the user, shown as one sentence: by commands, and in Prefect's logs without a traceback."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from dsdit.errors import DsditError, FailedJobsError

REFUSED, PARTLY_FAILED = 2, 3
"""Exit codes: of an error meant for the user, and of a run that has published its mosaic without some of its shards."""
_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")


@contextmanager
def command_errors() -> Iterator[None]:
    """Ends a command on a DsditError with its sentence and its exit code."""
    try:
        yield
    except DsditError as error:
        import typer

        print_error(str(error))
        raise typer.Exit(PARTLY_FAILED if isinstance(error, FailedJobsError) else REFUSED) from error


def print_error(text: str) -> None:
    """A sentence for the user, on stderr."""
    from rich.console import Console
    from rich.markup import escape

    Console(stderr=True, soft_wrap=True).print(f"[bold red]dsdit:[/] {escape(text)}")


class Sentences(logging.Filter):
    """Reduces records of a DsditError to its sentence; `silent` drops them, for a command that prints it itself."""

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
