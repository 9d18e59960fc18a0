"""What `dsdit status` shows of a run, live or dead: its report, a map of its shards, and the history of the mosaic."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from dsdit.mosaic import lease
from dsdit.mosaic.history import damaged_history, read_history
from dsdit.mosaic.versions import mosaic_store
from dsdit.receipts.receipts import damaged_receipts, iterate_receipts
from dsdit.steps.publish.report import make_report
from dsdit.steps.publish.shard_map import COLOURS, coarsen_states
from dsdit.steps.publish.shard_states import ShardState, shard_states, states_picture
from dsdit.store.objects import join
from flows.plan.make_plan import latest_plan
from flows.report import print_report, read_report

_MAP_ROWS, _MAP_COLS = 24, 64
_ENTRIES = 10


def show_status(output: str, scratch: str, console: Console, picture: Path | None = None) -> None:
    """Prints the state of the run at `output`, from receipts alone; writes the map as PNG to `picture`.

    Raises StoreError where there was no run.
    """
    plan = latest_plan(output)
    receipts, running = join(output, "receipts"), join(scratch, "receipts")
    in_scratch = chain.from_iterable(iterate_receipts(running, step) for step in ("stage", "sample"))
    report, kept = make_report(plan, receipts, in_scratch), read_report(output)
    whole = kept is not None and kept.plan == plan.digest.hex() and report.complete
    print_report(kept if whole and kept is not None else report, console)
    holder = lease.read(join(output, lease.NAME))
    if holder.holder:
        limit_s = f"{holder.expire_s:.0f} s"
        console.print(f"held by: {escape(holder.description)}; without a sign of life for {limit_s} it is dead")
    for name in damaged_receipts(receipts, "mosaic"):
        console.print(f"damaged: {escape(name)}: the next run repeats that shard")
    states = shard_states(plan, receipts, running)
    console.print(_map(coarsen_states(states, _MAP_ROWS, _MAP_COLS)))
    if picture is not None:
        picture.write_bytes(states_picture(plan, states))
        console.print(f"map: {escape(str(picture))}")
    store = mosaic_store(output)
    if store.versions():
        kept_versions = ", ".join(map(str, store.versions()))
        console.print(f"versions in {store.name}: {kept_versions}")
    for name in damaged_history(output, _ENTRIES):
        console.print(f"damaged: {escape(name)}: what that run did is not known; nothing else depends on it")
    entries = read_history(output, _ENTRIES)
    if entries:
        console.print(_history(entries))


def _map(cells: NDArray[np.uint8]) -> Text:
    """Two columns of colour a cell, and the legend of what is there."""
    text, shown = Text(), set()
    for row in cells.tolist():
        for value in row:
            state = ShardState(value)
            shown.add(state)
            text.append("  " if state is ShardState.OUTSIDE else f"{_letter(state)} ", _style(state))
        text.append("\n")
    for state in sorted(shown - {ShardState.OUTSIDE}):
        text.append(f"{_letter(state)} ", _style(state))
        text.append(f" {state.name.lower()}  ")
    return text


def _letter(state: ShardState) -> str:
    return {"DONE": "#", "WAITING": ".", "STALE": "o", "STAGED": "1", "SAMPLED": "2"}.get(state.name, state.name[0])


def _style(state: ShardState) -> str:
    return "" if state is ShardState.OUTSIDE else "black on rgb({},{},{})".format(*COLOURS[state.name.lower()])


def _history(entries: list[dict[str, Any]]) -> Table:
    table = Table(
        Column("published", no_wrap=True),
        "version",
        "shards",
        "items",
        "worker seconds",
        "plan",
        "model",
        title="history",
    )
    table.title_justify = "left"
    for entry in entries:
        shards = ", ".join(f"{n} {state}" for state, n in entry["shards"].items()) or "none"
        cells = (entry["when"][:16].replace("T", " "), entry["version"], shards, entry["items"], entry["seconds"])
        table.add_row(*(escape(str(cell)) for cell in cells), entry["plan"][:6], entry["model"][:6])
    return table
