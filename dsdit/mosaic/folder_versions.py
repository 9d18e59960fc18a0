"""Versions of a mosaic as folders of plain Zarr, so that a reader sees a whole old or a whole new state.

On a disk a version is `versions/<n>/` with the mosaic, its COG, picture and item. `current` is a symbolic link to the
published one, and what readers open (`mosaic.zarr`, `sr.tif`...) are links through it: publishing is one rename. A new
version starts as hard links of the shards of the published one. Nothing is written through a hard link: Zarr's local
store, like ours, writes a new file and renames it. An interrupted run is continued in the version that it began.

Each object that a reader opens through the plain link is resolved separately, so that a mosaic read during a publish
can mix two versions. `published_mosaic` returns the location of one version: a reader that opens it sees a whole state
for as long as that version is kept.

A version that is being written holds `unpublished.json`. So the published one is known also where `current` was
removed or leads elsewhere: it is the newest version without that file whose publish came as far as its item, and the
next run makes `current` lead there again.

An object store has no links: there the mosaic is written in place, and `unpublished.json` marks that it is incomplete.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path

from dsdit.errors import StoreError
from dsdit.mosaic.hard_links import PARTIAL, link_tree, replace_by_link
from dsdit.store.objects import filesystem, is_remote, join, read_bytes, remove, write_bytes

FOLDER = "versions"
POINTER = "current"
MOSAIC = "mosaic.zarr"
ITEM = "item.json"
READER_FILES = (MOSAIC, "sr.tif", "picture.png", ITEM)
"""Names below the output of what readers open."""
MARKER = "unpublished.json"


def unpublished(output: str) -> str | None:
    """The folder of a version that was begun and is not published; None where there is none."""
    if is_remote(output):
        return output if read_bytes(join(output, MARKER)) is not None else None
    begun = max(_numbers(output), default=0)
    return join(output, FOLDER, str(begun)) if begun > _current(output) else None


def published_versions(output: str) -> list[int]:
    """Numbers of the published versions that are kept, oldest first; empty on an object store."""
    newest = 0 if is_remote(output) else _current(output)
    return sorted(n for n in _numbers(output) if n <= newest) if newest else []


def published_mosaic(output: str, version: int | None = None) -> str:
    """Location of the mosaic of one version, the published one by default; a later publish changes nothing in it.

    On an object store it is the mosaic itself. Raises StoreError where the version is not kept, or nothing published.
    """
    if is_remote(output):
        return join(output, MOSAIC)
    number = _current(output) if version is None else version  # read before the list: a publish may come between
    kept = published_versions(output)
    if number not in kept:
        raise not_kept(output, number, kept)
    return join(output, FOLDER, str(number), MOSAIC)


def not_kept(output: str, version: int | None, kept: list[int]) -> StoreError:
    """The error for a version that cannot be opened; `version` is None or 0 where none was named."""
    return StoreError(f"{output!r} has no published version {version or ''}".rstrip() + f": kept are {kept or 'none'}")


def holds_mosaic(output: str) -> bool:
    """Whether a mosaic exists, published or not, to which receipts can belong."""
    if is_remote(output):
        return read_bytes(join(output, MOSAIC, "zarr.json")) is not None
    return bool(_numbers(output)) or (_folder(output) / MOSAIC).exists()


def open_version(output: str) -> str:
    """The folder to write in: the unpublished version, or a new one that starts as a copy of the published one."""
    if is_remote(output):
        write_bytes(join(output, MARKER), b"{}")
        return output
    place = _folder(output)
    _check_pointer(place / POINTER)
    _adopt(place)
    for leftover in (place / FOLDER).glob(f"*{PARTIAL}"):
        shutil.rmtree(leftover, ignore_errors=True)
    begun = unpublished(output)
    if begun is not None:
        write_bytes(join(begun, MARKER), b"{}")  # one that was begun before this file existed has none
        return begun
    number = max(_numbers(output), default=0) + 1
    partial = place / FOLDER / f"{number}.{uuid.uuid4().hex}{PARTIAL}"
    partial.mkdir(parents=True)
    published = place / FOLDER / str(_current(output)) / MOSAIC
    if published.exists():
        link_tree(published, partial / MOSAIC)
    (partial / MARKER).write_bytes(b"{}")
    partial.rename(place / FOLDER / str(number))
    return join(output, FOLDER, str(number))


def publish_version(output: str, folder: str, keep: int = 2) -> None:
    """Makes `folder` the version that readers see, by one rename; `keep` versions are kept, this one included."""
    if is_remote(output):
        remove(join(output, MARKER))
        return
    place = _folder(output)
    number = int(Path(folder).name)
    _show(place, number)  # links through the pointer come first: once it moves, readers find every file
    _point(place / POINTER, _target(number))
    (place / FOLDER / str(number) / MARKER).unlink(missing_ok=True)
    _hide(place, number)
    for old in sorted(n for n in _numbers(output) if n <= number)[:-keep]:
        gone = place / FOLDER / f"{old}.{uuid.uuid4().hex}{PARTIAL}"
        (place / FOLDER / str(old)).rename(gone)
        shutil.rmtree(gone)


def carry_over(output: str, folder: str, name: str) -> bool:
    """Links the published version's file `name` into the version at `folder`; False where there is none.

    A hard link on a disk, a copy on an object store.
    """
    source, target = join(output, name), join(folder, name)
    if is_remote(output):
        fs, path = filesystem(source)
        if not fs.exists(path):
            return False
        fs.copy(path, filesystem(target)[1])
        return True
    file = Path(filesystem(source)[1]).resolve()
    if not file.is_file():
        return False
    place = Path(filesystem(target)[1])
    place.parent.mkdir(parents=True, exist_ok=True)
    replace_by_link(file, place)
    return True


def put_back(output: str, folder: str, names: Iterable[str]) -> None:
    """Restores objects of the mosaic at `folder` to their published state; those that were not published are removed.

    On an object store the two are the same objects, and nothing is done.
    """
    if is_remote(output):
        return
    before = _folder(output) / FOLDER / str(_current(output)) / MOSAIC
    for name in names:
        place = Path(filesystem(join(folder, MOSAIC, name))[1])
        if (before / name).is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            replace_by_link(before / name, place)
        else:
            place.unlink(missing_ok=True)


def mend_links(output: str) -> str:
    """Restores `current` and the links through it; returns what was wrong with `current`, empty where it was right."""
    number = 0 if is_remote(output) else _current(output)
    if not number:
        return ""
    (_folder(output) / FOLDER / str(number) / MARKER).unlink(missing_ok=True)  # of a publish that was killed
    return point_to(output, number)


def point_to(output: str, number: int) -> str:
    """Makes `current`, and the links through it, lead to version `number`; returns what was wrong with `current`."""
    place = _folder(output)
    pointer, wrong = place / POINTER, ""
    _check_pointer(pointer)
    _show(place, number)
    if not _leads(pointer, _target(number)):
        wrong = f"led to {str(pointer.readlink())!r}" if pointer.is_symlink() else "was missing"
        _point(pointer, _target(number))
    _hide(place, number)
    return wrong


def _check_pointer(pointer: Path) -> None:
    """Raises StoreError where something else than a link is in its place, as after a copy that follows links."""
    if pointer.exists() and not pointer.is_symlink():
        raise StoreError(f"{pointer} is no link, where a link to the published version belongs: move it away")


def _target(number: int) -> str:
    return f"{FOLDER}/{number}"


def _show(place: Path, number: int) -> None:
    """Creates links through the pointer to the files of version `number` that readers open."""
    for name in READER_FILES:
        target = f"{POINTER}/{name}"
        if (place / FOLDER / str(number) / name).exists() and not _leads(place / name, target):
            _point(place / name, target)


def _hide(place: Path, number: int) -> None:
    """Removes links to files that version `number`, the published one, does not have."""
    for name in READER_FILES:
        if not (place / FOLDER / str(number) / name).exists() and _leads(place / name, f"{POINTER}/{name}"):
            (place / name).unlink()


def _adopt(place: Path) -> None:
    """Turns a mosaic that was written in place into the first version."""
    if not (place / MOSAIC).is_dir() or (place / MOSAIC).is_symlink():
        return
    number = max(_numbers(str(place)), default=0) + 1
    first = place / FOLDER / str(number)
    first.mkdir(parents=True)
    for name in reversed(READER_FILES):
        if (place / name).exists():
            (place / name).rename(first / name)
    publish_version(str(place), str(first), number)


def _point(link: Path, target: str) -> None:
    """Creates or replaces the symbolic link to `target`, relative to its folder, by one rename."""
    if link.is_dir() and not link.is_symlink():
        raise StoreError(f"{link} is a folder where a link to {target} belongs: move it away")
    fresh = link.with_name(f"{link.name}.{uuid.uuid4().hex}{PARTIAL}")
    fresh.symlink_to(target)
    fresh.replace(link)


def _leads(link: Path, target: str) -> bool:
    return link.is_symlink() and link.readlink() == Path(target)


def _folder(output: str) -> Path:
    return Path(filesystem(output)[1])


def _numbers(output: str) -> list[int]:
    folder = _folder(output) / FOLDER
    return [int(p.name) for p in folder.iterdir() if p.name.isdigit()] if folder.is_dir() else []


def _current(output: str) -> int:
    """Number of the published version; 0 where nothing is published.

    It is the one to which `current` leads, unless a newer one was published, or it leads to none.
    """
    pointer, place = _folder(output) / POINTER, _folder(output) / FOLDER
    target = pointer.readlink() if pointer.is_symlink() else None  # before the list: a publish may come between
    numbers = _numbers(output)
    led = next((n for n in numbers if target == Path(_target(n))), 0)
    whole = (n for n in numbers if (place / str(n) / ITEM).exists() and not (place / str(n) / MARKER).exists())
    return max([led, *whole])
