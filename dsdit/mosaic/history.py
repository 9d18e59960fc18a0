"""History: what was computed when, and from what. One entry a published version, which is never changed.

An entry is a summary in JSON and a table of the shards that were written since the version before. Its name is the
time of the run that published, or just after the previous entry where the clock went back, so that entries sort in
their order. What an interrupted publish had written is replaced by the entry of the one that completes.
"""

from __future__ import annotations

import json
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
from dsdit.store.objects import join, list_names, read_json, remove_object, write_json
from dsdit.store.parquet import writing_table

FOLDER = "history"
_STATES = tuple(JobState)
_ROWS = 4096


def write_history(
    output: str, when: datetime, version: str, plan: Plan, receipts: Iterable[Receipt], seconds: float = 0.0
) -> dict[str, Any]:
    """Writes the shards of `receipts` as the entry of `version`, table first; returns its summary.

    The version is about to be published: an entry that it has already is of an interrupted publish, and is removed.
    `seconds` are those that workers spent on other steps than mosaic.
    """
    _remove_begun(output, version)
    url = join(output, FOLDER, _name(when, _names(output)))
    states: Counter[str] = Counter()
    ids: set[str] = set()
    rest = iter(receipts)
    with writing_table(f"{url}.parquet", _columns([])) as table:
        while block := list(islice(rest, _ROWS)):
            table.add(_columns(block))
            states.update(str(receipt.state) for receipt in block)
            ids.update(*(receipt.sources for receipt in block))
            seconds += sum(receipt.seconds for receipt in block)
    summary = {
        "when": when.isoformat(timespec="seconds"),
        "version": version,
        "plan": plan.digest.hex(),
        "model": plan.model.digest,
        "settings": plan.settings_digest.hex(),
        "shards": dict(sorted(states.items())),
        "items": len(ids),
        "seconds": round(seconds, 2),
    }
    write_json(f"{url}.json", summary)
    return summary


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
    """Names of the entries, oldest first; with the tables' suffix also those that have no summary."""
    return [name.removesuffix(suffix) for name in list_names(join(output, FOLDER)) if name.endswith(suffix)]


def _name(when: datetime, names: list[str]) -> str:
    name = when.strftime(_MOMENT)
    if names and name <= names[-1]:
        return (datetime.strptime(names[-1], _MOMENT) + timedelta(microseconds=1)).strftime(_MOMENT)
    return name


def _remove_begun(output: str, version: str) -> None:
    """Removes entries of a numbered version, and tables without a summary.

    A version that is written in place always has the same name: its entries are kept.
    """
    folder, names = join(output, FOLDER), _names(output)
    gone = set(_names(output, ".parquet")) - set(names)
    if version.isdigit():
        for name, content in read_objects(folder, (f"{name}.json" for name in names)):
            if content is not None and json.loads(content).get("version") == version:
                remove_object(join(folder, name))
                gone.add(name.removesuffix(".json"))
    for name in gone:
        remove_object(join(folder, f"{name}.parquet"))


def read_history(output: str, last: int | None = None) -> list[dict[str, Any]]:
    """Summaries of the `last` entries, or of all, oldest first."""
    names = _names(output)
    found = [read_json(join(output, FOLDER, f"{name}.json")) for name in (names if last is None else names[-last:])]
    return [entry for entry in found if entry is not None]
