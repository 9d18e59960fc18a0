"""Which outputs a run may write to: a run removes and replaces files there, and only its own.

Plans and the lease mark an output: every run writes them before anything else that a later run removes. In an output
without them nothing may have a name that a run uses. In folders whose content a run removes, every entry must have a
name that a run gives.
"""

from __future__ import annotations

import re
from pathlib import Path

from dsdit.errors import RequestError, StoreError
from dsdit.mosaic import history, lease
from dsdit.mosaic.folder_versions import FOLDER, MOSAIC, POINTER, READER_FILES
from dsdit.mosaic.hard_links import PARTIAL
from dsdit.mosaic.version import REPOSITORY
from dsdit.store.objects import filesystem, is_remote, join, list_names, read_bytes

_VERSION = r"\d+(\.[0-9a-f]+\.partial)?"
_STEP = r"(stage|sample|mosaic)"
REMOVED = {
    "receipts": re.compile(rf"{_STEP}(\.new|\.parquet)?"),
    "scratch": re.compile(r"data\.zarr|receipts"),
    FOLDER: re.compile(_VERSION),
    history.FOLDER: re.compile(r"\d{8}T\d{12}Z\.(json|parquet)"),
}
"""Folders below an output whose content a run removes, and the names of their entries."""
REPLACED = (*READER_FILES, REPOSITORY, POINTER, "report.json")
"""Names below an output that a run replaces."""
_PLAN = re.compile(r"latest\.json|[0-9a-f]{16}\.json")
_STATUS = "status"
_REPOSITORY_PARTS = {"refs", "snapshots", "repo", "config.yaml"}


def check_location(key: str, url: str) -> None:
    """Raises RequestError for a location that is no folder of its own: empty, the root, or the home folder.

    `key` is `output` or `scratch`.
    """
    place = url.strip()
    if not place or place.partition("://")[1:] == ("://", ""):
        raise RequestError(f"{key} is {url!r}: give a folder of its own, such as output/my-region")
    if is_remote(place):
        return
    path, home = Path(filesystem(place)[1]).resolve(), Path.home().resolve()
    if path in (home, *home.parents, Path(path.anchor)):
        raise RequestError(
            f"{key} {url!r} is {'the home folder' if path == home else 'a folder of the system'} ({path}), and a run "
            f"removes files there: give a folder of its own, such as {join(str(home), 'output')}"
        )


def check_own(output: str, scratch: str) -> None:
    """Raises StoreError where a run at `output` would remove or replace files that are not of a run."""
    _check_entries(scratch, REMOVED["scratch"])
    _check_entries(join(scratch, "receipts"), REMOVED["receipts"])
    for name, pattern in REMOVED.items():
        if join(output, name) != scratch:
            _check_entries(join(output, name), pattern)
    if _is_marked(output):
        return
    foreign = [
        name for name in list_names(output) if name in REPLACED or (name in REMOVED and _is_foreign(output, name))
    ]
    if foreign:
        raise StoreError(
            f"output {output!r} holds {', '.join(foreign)} and no plan of a run, and a run would replace or remove "
            "them: choose another output, or move them away"
        )


def _check_entries(folder: str, pattern: re.Pattern[str]) -> None:
    foreign = [name for name in list_names(folder) if not pattern.fullmatch(name) and not name.endswith(PARTIAL)]
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise StoreError(
            f"{folder!r} holds {foreign[0]!r}{more}, which no run has written, and a run removes files there: choose "
            "another output or scratch, or move them away"
        )


def _is_marked(output: str) -> bool:
    """Whether a run or plan was made here, or a mosaic was published here without one."""
    if any(_PLAN.fullmatch(name) for name in list_names(join(output, "plans"))):
        return True
    if (content := read_bytes(join(output, lease.NAME))) is not None and b'"renewed"' in content:
        return True
    if _REPOSITORY_PARTS & set(list_names(join(output, REPOSITORY))):
        return True
    mosaics = [output, *(join(output, FOLDER, name) for name in list_names(join(output, FOLDER)) if name.isdigit())]
    return any(_STATUS in list_names(join(place, MOSAIC, "0")) for place in mosaics)


def _is_foreign(output: str, name: str) -> bool:
    """Whether a folder has content that no plan explains; arrays of scratch are marked by themselves."""
    group = read_bytes(join(output, name, "data.zarr", "zarr.json")) if name == "scratch" else None
    return bool(list_names(join(output, name))) and b'"first_job"' not in (group or b"")
