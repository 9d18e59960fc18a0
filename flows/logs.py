"""Errors meant for the user, in Prefect's logs: as their sentence, without the traceback that Prefect adds."""

from __future__ import annotations

import logging

from dsdit.errors import DsditError

_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")


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
