"""Measures of items and their pairs: each kept under the digests of what is behind it, several made at once.

Reading waits for the network most of the time, so a few threads measure side by side. Results and what could not be
read are told in the order they were asked for, whichever was done first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import islice
from typing import Any, TypeVar

from catalogs.item import SceneItem
from catalogs.source import Source
from catalogs.trust import plain
from dsdit.errors import ReadError, StoreError
from dsdit.store import join, read_json, write_json

MEASURING_THREADS = 8
"""Items or pairs that a process measures at once."""
_BATCH = 64

Pair = tuple[int, int]
OnError = Callable[[ReadError], None]
T = TypeVar("T")
K = TypeVar("K")


MEASURED = "2"
"""Of the way in which measures are taken: another one is not answered with what was kept before."""


def measure_key(grid: list[str], *digests: str) -> str:
    """Name of a measure: of the grid, as far as it depends on it, and of all items and sources behind it."""
    text = "\n".join([MEASURED, *grid, *digests])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def parsed(url: str, kind: str, record: Any, parse: Callable[[Any], T]) -> T:
    """A kept record as `parse` understands it. Raises StoreError, with the way out, where it does not."""
    try:
        return parse(record)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        cause = f"{type(error).__name__}: {plain(error, 80)}"
        raise StoreError(f"{url} is no measure of {kind} ({cause}): remove it, and it is measured again") from error


def side_by_side(asked: Iterable[K], measure: Callable[[K, OnError], T], on_error: OnError) -> dict[K, T]:
    """`measure` of all that is asked, in `MEASURING_THREADS` threads and in its order; so are errors told."""

    def one(key: K) -> tuple[T, list[ReadError]]:
        told: list[ReadError] = []
        return measure(key, told.append), told

    found: dict[K, T] = {}
    rest = iter(asked)
    with ThreadPoolExecutor(MEASURING_THREADS, thread_name_prefix="measure") as pool:
        while batch := list(islice(rest, _BATCH)):
            for key, (value, told) in zip(batch, pool.map(one, batch), strict=True):
                found[key] = value
                for error in told:
                    on_error(error)
    return found


def kept_pairs(
    kind: str,
    grid: list[str],
    pairs: Iterable[Pair],
    items: Sequence[SceneItem],
    sources: tuple[Source, Source],
    folder: str,
    measure: Callable[[SceneItem, SceneItem], Any],
    parse: Callable[[dict[str, Any]], T],
    on_error: OnError,
) -> dict[Pair, T | None]:
    """What `measure` says of every pair (number of an item of the first source, of an LR item of the second).

    `measure` gives a dataclass and may raise ReadError. What it says is kept below `folder`, under the digests of all
    that is behind it (`grid` as in `measure_key`), and given as `parse` understands it. None, told and not kept, where
    a pair cannot be read. Raises StoreError where what is kept is no such measure.
    """
    ref_source, lr_source = (source.digest for source in sources)

    def kept(pair: Pair, tell: OnError) -> T | None:
        ref, lr = items[pair[0]], items[pair[1]]
        key = measure_key(grid, ref.digest, ref_source, lr.digest, lr_source)
        url = join(folder, kind, key + ".json")
        record = read_json(url)
        if record is None:
            try:
                record = {"ref": ref.id, "lr": lr.id, kind: asdict(measure(ref, lr))}
            except ReadError as error:
                tell(error)
                return None
            write_json(url, record)
        return parsed(url, kind, record, lambda known: parse(known[kind]))

    return side_by_side(pairs, kept, on_error)
