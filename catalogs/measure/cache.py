"""Measures of items and their pairs: each kept under the digests of what is behind it, several made at once.

Reading waits for the network most of the time, so a few threads measure side by side; many measures go to whoever
offers to make them elsewhere. Results and what could not be read are told in the order they were asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from catalogs.allowed import plain
from catalogs.item import SceneItem
from catalogs.measure.records import Records
from catalogs.source import Source
from dsdit.errors import ReadError, StoreError
from dsdit.grid import Grid
from dsdit.store.objects import write_json

MEASURING_THREADS = 8
"""Items or pairs that a process measures at once."""
SPREAD_FROM = 500
"""Missing measures of a kind from which on they are made elsewhere."""
_BATCH = 64
_BLOCK = 32

Pair = tuple[int, int]
OnError = Callable[[ReadError], None]
T = TypeVar("T")
K = TypeVar("K")


MEASURED = "2"
"""Of the way in which measures are taken: another one is not answered with what was kept before."""


class Job(NamedTuple):
    """One measure that is to be made and kept; it can be sent to another process."""

    make: Callable[..., Any]
    """Gives the record. Raises ReadError."""
    arguments: tuple[Any, ...]
    url: str
    """Where the record is kept."""


Made = tuple[Any, ReadError | None]
"""A record, or None and what could not be read."""
Spread = Callable[[Iterator[tuple[int, list[Job]]]], Iterator[tuple[int, list[Made]]]]
"""Makes numbered blocks of jobs elsewhere, with `make_jobs`; gives each as it ends."""


def measure_key(grid: list[str], *digests: str) -> str:
    """Name of a measure: of the grid, as far as it depends on it, and of all items and sources behind it."""
    text = "\n".join([MEASURED, *grid, *digests])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def parsed(url: str, kind: str, record: Any, parse: Callable[[Any], T]) -> T:
    """A kept record, which lies at `url`, as `parse` understands it. Raises StoreError where it does not."""
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


def make_jobs(jobs: Sequence[Job]) -> list[Made]:
    """Makes and keeps measures, several at once, in their order."""
    with ThreadPoolExecutor(MEASURING_THREADS, thread_name_prefix="measure") as pool:
        return list(pool.map(_make, jobs))


def _make(job: Job) -> Made:
    try:
        record = job.make(*job.arguments)
    except ReadError as error:
        return None, error
    write_json(job.url, record)
    return record, None


def make_all(asked: Sequence[K], job_of: Callable[[K], Job], on_error: OnError, spread: Spread | None) -> dict[K, Any]:
    """The record of every job, None and told where it cannot be made; many by `spread`, if there is one."""
    if spread is None or len(asked) < SPREAD_FROM:

        def here(key: K, tell: OnError) -> Any:
            record, error = _make(job_of(key))
            if error is not None:
                tell(error)
            return record

        return side_by_side(asked, here, on_error)
    starts = range(0, len(asked), _BLOCK)
    made = dict(spread((start, [job_of(key) for key in asked[start : start + _BLOCK]]) for start in starts))
    records = [each for start in starts for each in made[start]]
    for _, error in records:
        if error is not None:
            on_error(error)
    return {key: record for key, (record, _) in zip(asked, records, strict=True)}


PairMeasure = Callable[[SceneItem, Source, SceneItem, Source, Grid], Any]
"""Measures (item, its source, LR item, its source); gives a dataclass. Raises ReadError."""


def kept_pairs(
    kind: str,
    grid: Grid,
    place: list[str],
    pairs: Iterable[Pair],
    items: Sequence[SceneItem],
    sources: tuple[Source, Source],
    folder: str,
    measure: PairMeasure,
    parse: Callable[[dict[str, Any]], T],
    on_error: OnError,
    spread: Spread | None = None,
) -> dict[Pair, T | None]:
    """What `measure` says of every pair (number of an item of the first source, of an LR item of the second).

    What it says is kept below `folder`, under the digests of all that is behind it (`place` is the grid, as in
    `measure_key`), and given as `parse` understands it. None, told and not kept, where a pair cannot be read. Raises
    StoreError where what is kept is no such measure.
    """
    records, (source, lr_source) = Records(folder, kind), sources

    def key_of(pair: Pair) -> str:
        return measure_key(place, items[pair[0]].digest, source.digest, items[pair[1]].digest, lr_source.digest)

    def known(pair: Pair, _: OnError) -> T | None:
        at, record = records.get(key_of(pair))
        return None if record is None else parsed(at, kind, record, lambda found: parse(found[kind]))

    def job_of(pair: Pair) -> Job:
        ref, lr = items[pair[0]], items[pair[1]]
        return Job(partial(_pair_record, kind, measure), (ref, source, lr, lr_source, grid), records.url(key_of(pair)))

    found = side_by_side(pairs, known, on_error)
    missing = [pair for pair, value in found.items() if value is None]
    for pair, record in make_all(missing, job_of, on_error, spread).items():
        found[pair] = None if record is None else parse(record[kind])
    return found


def _pair_record(
    kind: str, measure: PairMeasure, ref: SceneItem, source: Source, lr: SceneItem, lr_source: Source, grid: Grid
) -> dict[str, Any]:
    return {"ref": ref.id, "lr": lr.id, kind: asdict(measure(ref, source, lr, lr_source, grid))}
