"""Hard links: versions of a mosaic share the objects that a run has not written."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import uuid
from pathlib import Path

PARTIAL = ".partial"
"""Ending of files that are being written; they are renamed once they are whole."""


def link_tree(source: Path, target: Path) -> int:
    """Hard links of all objects below `source`, and copies of its metadata; returns their number.

    Partial files of killed writers are left out. Where the disk has no hard links, objects are copied and a warning is
    logged.
    """
    count, root = 0, source.resolve()
    refused: OSError | None = None
    for place, _, names in os.walk(root):
        here, there = Path(place), target / Path(place).relative_to(root)
        there.mkdir(parents=True, exist_ok=True)
        for name in names:
            if name.endswith(PARTIAL):
                continue
            if name == "zarr.json":
                shutil.copyfile(here / name, there / name)
            else:
                refused = _link(here / name, there / name) or refused
            count += 1
    if refused is not None:
        logging.getLogger(__name__).warning(
            "objects of %s were copied into the new version, not linked (%s): each version takes its full size on disk",
            root,
            refused,
        )
    return count


_NO_LINKS = (errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
"""Errors of a disk without hard links, and of a file that cannot have another one."""


def replace_by_link(source: Path, target: Path) -> None:
    """Replaces `target` by a link to `source`, by one rename."""
    partial = target.with_name(f"{target.name}.{uuid.uuid4().hex}{PARTIAL}")
    _link(source, partial)
    partial.replace(target)


def _link(source: Path, target: Path) -> OSError | None:
    """Hard link, or a copy where the disk has none; returns None for a link, the error for a copy."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(source, target)
        return error
    return None
