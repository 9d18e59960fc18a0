"""History: what was computed when, and from what. One entry a published version, which is never changed.

What a publish that was cut off had written gives way to the entry of the one that was not. An entry is a summary in
JSON and, beside it, a table of the shards that were written since the version before. Its name is the moment of the
run that published, so that entries sort by time.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from itertools import islice
from typing import Any

import numpy as np

from dsdit.plan import Plan
from dsdit.receipts import Receipt
from dsdit.status import JobState
from dsdit.store import join, list_names, read_json, remove_object, write_json
from dsdit.tables import read_table, writing_table

FOLDER = "history"
_STATES = tuple(JobState)
_ROWS = 4096


def write_history(
    output: str, when: datetime, version: str, plan: Plan, receipts: Iterable[Receipt], seconds: float = 0.0
) -> dict[str, Any]:
    """Keeps the shards that `receipts` tell of as the entry of `version`; returns its summary. Table first.

    The version is about to be published: what lies there of it is of a publish that was cut off, and goes. `seconds`
    are those that workers spent on other steps than mosaic.
    """
    _remove_begun(output, version)
    url = join(output, FOLDER, f"{when:%Y%m%dT%H%M%S%f}Z")
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
        "plan": plan.digest,
        "model": plan.model.digest,
        "settings": plan.settings_digest,
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
        "digest": [receipt.digest for receipt in receipts],
        "sources": [json.dumps(receipt.sources) for receipt in receipts],
    }


def _remove_begun(output: str, version: str) -> None:
    """Entries of a numbered version; one that is written in place has the same name for ever."""
    names = [name for name in list_names(join(output, FOLDER)) if name.endswith(".json")] if version.isdigit() else []
    for name in reversed(names):
        url = join(output, FOLDER, name)
        if (read_json(url) or {}).get("version") != version:
            return
        remove_object(url)
        remove_object(f"{url.removesuffix('.json')}.parquet")


def read_history(output: str, last: int | None = None) -> list[dict[str, Any]]:
    """Summaries of the `last` entries, or of all, oldest first."""
    names = [name for name in list_names(join(output, FOLDER)) if name.endswith(".json")]
    found = [read_json(join(output, FOLDER, name)) for name in (names if last is None else names[-last:])]
    return [entry for entry in found if entry is not None]


def read_history_shards(output: str, number: int = -1) -> dict[tuple[int, int], tuple[JobState, tuple[str, ...]]]:
    """Shards of an entry, by default the newest: (row, col) -> state, and ids of the items that it was made of."""
    names = [name for name in list_names(join(output, FOLDER)) if name.endswith(".parquet")]
    table = read_table(join(output, FOLDER, names[number])) or {}
    columns = (table["row"].tolist(), table["col"].tolist(), table["state"].tolist(), table["sources"])
    return {(r, c): (_STATES[s], tuple(json.loads(str(ids)))) for r, c, s, ids in zip(*columns, strict=True)}
