"""History: what was computed when, and from what. One entry a published version, which is never changed.

An entry is a summary in JSON and a table of the shards that were written since the version before. Its name is the
time of the run that published, or just after the previous entry where the clock went back, so that entries sort in
their order. What an interrupted publish had written is replaced by the entry of the one that completes.

Nothing that a run decides comes from the history. An entry that cannot be read is left where it is, is listed by
`damaged_history`, and stops neither a publish nor a reader.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import numpy as np

from dsdit.plan.plan import Plan
from dsdit.receipts.receipts import Receipt
from dsdit.status import JobState
from dsdit.store.bulk import read_objects
from dsdit.store.objects import join, list_names, read_bytes, remove_object, write_json
from dsdit.store.parquet import writing_table

FOLDER = "history"
_STATES = tuple(JobState)
_ROWS = 4096


def write_history(
    output: str, when: datetime, version: str, plan: Plan, receipts: Iterable[Receipt], seconds: float = 0.0
) -> dict[str, Any]:
    """Writes the shards of `receipts` as the entry of `version`, table first; returns its summary.

    The version is about to be published: an entry that it has already is of an interrupted publish, and is removed.
    `seconds` are those that workers spent on other steps than mosaic. Where something else than a folder of the run's
    own is in the place of the history, a warning is logged and the summary is not stored.
    """
    try:
        _remove_begun(output, version)
        url = join(output, FOLDER, _name(when, _names(output)))
        summary = _write_table(f"{url}.parquet", receipts, seconds)
        summary |= _summary(when, version, plan)
        write_json(f"{url}.json", summary)
    except _NO_FOLDER as error:
        summary = _summary(when, version, plan)
        logging.getLogger(__name__).warning("version %s has no entry in the history: %s", version, error)
    return summary


_NO_FOLDER = (NotADirectoryError, FileExistsError, IsADirectoryError, PermissionError)


def _write_table(url: str, receipts: Iterable[Receipt], seconds: float) -> dict[str, Any]:
    """Writes the shards; returns the part of the summary that counts them."""
    states: Counter[str] = Counter()
    ids: set[str] = set()
    rest = iter(receipts)
    with writing_table(url, _columns([])) as table:
        while block := list(islice(rest, _ROWS)):
            table.add(_columns(block))
            states.update(str(receipt.state) for receipt in block)
            ids.update(*(receipt.sources for receipt in block))
            seconds += sum(receipt.seconds for receipt in block)
    return {"shards": dict(sorted(states.items())), "items": len(ids), "seconds": round(seconds, 2)}


def _summary(when: datetime, version: str, plan: Plan) -> dict[str, Any]:
    return {
        "when": when.isoformat(timespec="seconds"),
        "version": version,
        "plan": plan.digest.hex(),
        "model": plan.model.digest,
        "settings": plan.settings_digest.hex(),
    }


def _columns(receipts: list[Receipt]) -> dict[str, Any]:
    places = np.array([receipt.job for receipt in receipts], np.int32).reshape(-1, 2)
    return {
        "row": places[:, 0],
        "col": places[:, 1],
        "state": np.array([_STATES.index(receipt.state) for receipt in receipts], np.uint8),
        "seconds": np.array([receipt.seconds for receipt in receipts], np.float64),
        "digest": [receipt.digest.hex() for receipt in receipts],
        "sources": [json.dumps(receipt.sources) for receipt in receipts],
    }


_MOMENT = "%Y%m%dT%H%M%S%fZ"


def _names(output: str, suffix: str = ".json") -> list[str]:
    """Names of the entries, oldest first; with the tables' suffix also those that have no summary.

    Files whose name is no moment are not of a run.
    """
    names = (name.removesuffix(suffix) for name in list_names(join(output, FOLDER)) if name.endswith(suffix))
    return [name for name in names if _moment(name) is not None]


def _moment(name: str) -> datetime | None:
    try:
        return datetime.strptime(name, _MOMENT)
    except ValueError:
        return None


def _name(when: datetime, names: list[str]) -> str:
    name = when.strftime(_MOMENT)
    last = _moment(names[-1]) if names else None
    if last is not None and name <= names[-1]:
        return (last + timedelta(microseconds=1)).strftime(_MOMENT)
    return name


def _remove_begun(output: str, version: str) -> None:
    """Removes entries of a numbered version, and tables without a summary.

    A version that is written in place always has the same name: its entries are kept.
    """
    folder, names = join(output, FOLDER), _names(output)
    gone = set(_names(output, ".parquet")) - set(names)
    if version.isdigit():
        for name, content in read_objects(folder, (f"{name}.json" for name in names)):
            if (_entry(content) or {}).get("version") == version:
                remove_object(join(folder, name))
                gone.add(name.removesuffix(".json"))
    for name in gone:
        remove_object(join(folder, f"{name}.parquet"))


_KEYS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("when", "version", "plan", "model"), str),
    "shards": dict,
    "items": int,
    "seconds": (int, float),
}
"""What every summary has, and of which type."""


def _entry(content: bytes | None) -> dict[str, Any] | None:
    """The summary in an object; None where it is damaged."""
    try:
        record = json.loads(content or b"")
    except ValueError:
        return None
    whole = isinstance(record, dict) and all(isinstance(record.get(key), kind) for key, kind in _KEYS.items())
    return record if whole else None


def read_history(output: str, last: int | None = None) -> list[dict[str, Any]]:
    """Summaries of the `last` entries, or of all, oldest first; damaged ones are left out."""
    names = _names(output)
    found = (_entry(read_bytes(_url(output, name))) for name in (names if last is None else names[-last:]))
    return [entry for entry in found if entry is not None]


def damaged_history(output: str, last: int | None = None) -> list[str]:
    """Names below the output of the summaries, among the `last` entries or all, that cannot be read."""
    names = _names(output)
    urls = ((name, _url(output, name)) for name in (names if last is None else names[-last:]))
    return [join(FOLDER, f"{name}.json") for name, url in urls if _entry(read_bytes(url)) is None]


def _url(output: str, name: str) -> str:
    return join(output, FOLDER, f"{name}.json")
