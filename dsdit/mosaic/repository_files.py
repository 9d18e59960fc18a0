"""Files of an Icechunk repository, by their names and headers: which format they have, and what a killed `create` left.

A repository of format 1 keeps its branches in `refs/`; format 2 (icechunk 2) keeps them in the file `repo`, and an
upgrade to it removes `refs/`. For icechunk 1 such a repository does not exist.
"""

from __future__ import annotations

import re

from dsdit.errors import StoreError
from dsdit.store.objects import join, list_names, read_bytes

_MAGIC = "ICE🧊CHUNK".encode()
_FORMAT_AT = 36
"""Offset of the format's number in a file: after the magic bytes and 24 bytes of the writer's name."""
_FIRST_SNAPSHOT = "1CECHNKREP0F1RSTCMT0"
"""Name of the empty snapshot that every repository begins with."""
_STAGED = re.compile(r"#\d+$")
"""Ending of a file that is being written on a disk; it is renamed once it is whole."""


def check_format(url: str, names: list[str], newest: int) -> None:
    """Raises StoreError where the repository at `url`, with `names` in it, has a format above `newest`."""
    if "repo" not in names:
        return
    found, writer = _header(read_bytes(join(url, "repo")) or b"")
    if found == 0 or found > newest:
        kind = f"format {found} (written by {writer})" if found else "an unknown format"
        raise StoreError(
            f"{url} is an Icechunk repository of {kind}, and the installed icechunk reads formats up to {newest}: "
            "choose another output, or run where a newer icechunk is installed"
        )


def check_half_created(url: str, names: list[str]) -> None:
    """Raises StoreError where `names` at `url`, which is no repository, are not just what a killed `create` leaves.

    That is a configuration and the empty first snapshot, without any branch.
    """
    foreign = [name for name in names if _STAGED.sub("", name) not in ("config.yaml", "snapshots", "refs")]
    folder = join(url, "snapshots")
    for name in list_names(folder):
        staged = _STAGED.search(name) is not None
        if _STAGED.sub("", name) != _FIRST_SNAPSHOT or not (staged or _is_format_1(join(folder, name))):
            foreign.append(join("snapshots", name))
    for branch in list_names(join(url, "refs")):
        whole = [name for name in list_names(join(url, "refs", branch)) if not _STAGED.search(name)]
        if branch != "branch.main" or whole:
            foreign.append(join("refs", branch))
    if foreign:
        raise StoreError(
            f"{url} is no Icechunk repository, and holds {foreign[0]!r}, which no interrupted run leaves: "
            "move it away, or choose another output"
        )


def _is_format_1(url: str) -> bool:
    return _header(read_bytes(url) or b"")[0] == 1


def _header(content: bytes) -> tuple[int, str]:
    """(number of the format, name of the writer) of a file; format 0 where it is none of icechunk's."""
    if not content.startswith(_MAGIC) or len(content) <= _FORMAT_AT:
        return 0, ""
    return content[_FORMAT_AT], content[len(_MAGIC) : _FORMAT_AT].decode(errors="replace").strip()
