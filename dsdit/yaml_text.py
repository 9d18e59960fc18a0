"""YAML that a person wrote, read within limits: size, depth, and values after every alias is expanded.

Aliases are cheap to read and costly to check or print: ten lines that name each other can stand for 10^9 values.
"""

from __future__ import annotations

from pathlib import Path

import yaml

MAX_CHARACTERS = 262_144
"""Longest text that is parsed; requests and sources have some 5,000."""
MAX_DEPTH = 32
"""Mappings and lists within each other."""
MAX_VALUES = 50_000
"""Keys and values, those behind aliases counted at each place."""
_LARGEST = 2**64
_LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path) -> object:
    """The values in a YAML file. Raises OSError, or ValueError with what is wrong on one line."""
    with path.open(encoding="utf-8-sig") as file:
        return parse_yaml(file.read(MAX_CHARACTERS + 1))


def parse_yaml(text: str) -> object:
    """The values in a text, of plain types. Raises ValueError with what is wrong on one line."""
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"it has more than {MAX_CHARACTERS:,} characters: give a file of settings alone")
    try:
        _check_events(text)
        found: object = yaml.load(text, _LOADER)  # noqa: S506 - one of the safe loaders
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    _check_scalars(found)
    return found


def _check_events(text: str) -> None:
    """Raises ValueError where depth or expanded size is over a limit, or an alias is within its own anchor."""
    sizes: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = [(None, 0)]  # anchor and values so far of each open list or mapping
    for event in yaml.parse(text, _LOADER):
        size, anchor = 1, getattr(event, "anchor", None)
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append((anchor, 1))
            if len(opened) > MAX_DEPTH + 1:
                raise ValueError(f"lists and mappings are more than {MAX_DEPTH} deep: write fewer levels")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, size = opened.pop()
        elif isinstance(event, yaml.AliasEvent):
            if anchor not in sizes:
                raise ValueError(f"alias *{anchor} has no finished anchor before it: write the value itself")
            size, anchor = sizes[anchor], None
        elif not isinstance(event, yaml.ScalarEvent):
            continue
        if anchor is not None:
            sizes[anchor] = size
        outer, total = opened[-1]
        opened[-1] = outer, total + size
        if total + size > MAX_VALUES:
            raise ValueError(f"it has more than {MAX_VALUES:,} values with its aliases expanded: write fewer")


def _check_scalars(found: object) -> None:
    """Raises ValueError for an integer that may have more digits than Python prints, and for text with a NUL."""
    waiting = [found]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list | tuple | set):
            waiting += value
        elif isinstance(value, int) and abs(value) > _LARGEST:
            raise ValueError("an integer in it is beyond 2**64: give a smaller number")
        elif isinstance(value, str) and "\0" in value:
            raise ValueError(f"{value[:40]!r} has a NUL character in it: leave it out")
