"""The table of shards that a history entry has beside its summary, read back."""

from __future__ import annotations

import json

from dsdit.mosaic.history import FOLDER
from dsdit.status import JobState
from dsdit.store.objects import join, list_names
from dsdit.store.parquet import read_table


def read_history_shards(output: str, number: int = -1) -> dict[tuple[int, int], tuple[JobState, tuple[str, ...]]]:
    """Shards of an entry, by default the newest: (row, col) -> state, and ids of the items of which it consists."""
    folder = join(output, FOLDER)
    summaries = [name for name in list_names(folder) if name.endswith(".json")]
    table = read_table(join(folder, summaries[number].removesuffix(".json") + ".parquet")) or {}
    columns = (table["row"].tolist(), table["col"].tolist(), table["state"].tolist(), table["sources"])
    states = tuple(JobState)
    return {(r, c): (states[s], tuple(json.loads(str(ids)))) for r, c, s, ids in zip(*columns, strict=True)}
