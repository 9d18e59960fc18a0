"""History: what was computed when, and from what. One entry a published version; an entry is never changed.

An entry is a summary in JSON and, beside it, a table of the shards that were written since the version before. Its
name is the moment of the run that published, so that entries sort by time.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import numpy as np

from dsdit.plan import Plan
from dsdit.receipts import Receipt
from dsdit.status import JobState
from dsdit.store import join, list_names, read_json, write_json
from dsdit.tables import read_table, write_table

FOLDER = "history"
_STATES = tuple(JobState)


def write_history(
    output: str, when: datetime, version: str, plan: Plan, receipts: Iterable[Receipt], seconds: float = 0.0
) -> dict[str, Any]:
    """Keeps the shards that `receipts` tell of as the entry of `version`; returns its summary. Table first.

    `seconds` are those that workers spent on other steps than mosaic.
    """
    rows: list[tuple[int, int, int, float]] = []
    digests, sources = [], []
    states: Counter[str] = Counter()
    ids: set[str] = set()
    for receipt in receipts:
        rows.append((*receipt.job, _STATES.index(receipt.state), receipt.seconds))
        digests.append(receipt.digest)
        sources.append(json.dumps(receipt.sources))
        states[str(receipt.state)] += 1
        ids.update(receipt.sources)
    table = np.array(rows, np.float64).reshape(-1, 4)
    url = join(output, FOLDER, f"{when:%Y%m%dT%H%M%S%f}Z")
    write_table(
        f"{url}.parquet",
        {
            "row": table[:, 0].astype(np.int32),
            "col": table[:, 1].astype(np.int32),
            "state": table[:, 2].astype(np.uint8),
            "seconds": table[:, 3],
            "digest": digests,
            "sources": sources,
        },
    )
    summary = {
        "when": when.isoformat(timespec="seconds"),
        "version": version,
        "plan": plan.digest,
        "model": plan.model.digest,
        "settings": plan.settings_digest,
        "shards": dict(sorted(states.items())),
        "items": len(ids),
        "seconds": round(seconds + float(table[:, 3].sum()), 2),
    }
    write_json(f"{url}.json", summary)
    return summary


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
