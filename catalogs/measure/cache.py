"""Cache of measures of items and of their pairs: each under the digests of its inputs, several computed at once.

Reading waits for the network most of the time, so a few threads measure side by side; many missing measures go to
another process, if there is one to compute them. Results and read errors are reported in the order of the requests.
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
"""Missing measures of a kind from which on they are computed elsewhere."""
MEASURE_VERSION = "2"
"""Version of the way in which measures are taken; cached ones of another version are not used."""
_BATCH = 64
_BLOCK = 32

Pair = tuple[int, int]
OnError = Callable[[ReadError], None]
T = TypeVar("T")
K = TypeVar("K")


class Job(NamedTuple):
    """One measure to compute and cache; it can be sent to another process."""

    measure: Callable[..., Any]
    """Gives the record. Raises ReadError."""
    arguments: tuple[Any, ...]
    url: str
    """Where the record is cached."""


JobResult = tuple[Any, ReadError | None]
"""A record, or None and what could not be read."""
Spread = Callable[[Iterator[tuple[int, list[Job]]]], Iterator[tuple[int, list[JobResult]]]]
"""Runs numbered blocks of jobs elsewhere, with `run_jobs`; yields each as it ends."""


def measure_key(grid: list[str], *digests: str) -> str:
    """Cache key of a measure: 32 hexadecimal digits of the grid, as far as it matters, and of all items and sources."""
    text = "\n".join([MEASURE_VERSION, *grid, *digests])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def parsed(url: str, kind: str, record: Any, parse: Callable[[Any], T]) -> T:
    """The cached record at `url` as `parse` gives it. Raises StoreError where it cannot be parsed."""
    try:
        return parse(record)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        cause = f"{type(error).__name__}: {plain(error, 80)}"
        raise StoreError(f"{url} is no measure of {kind} ({cause}): remove it, and it is measured again") from error


def side_by_side(keys: Iterable[K], measure: Callable[[K, OnError], T], on_error: OnError) -> dict[K, T]:
    """`measure` of every key, in `MEASURING_THREADS` threads; results and errors are in the order of the keys."""

    def one(key: K) -> tuple[T, list[ReadError]]:
        errors: list[ReadError] = []
        return measure(key, errors.append), errors

    found: dict[K, T] = {}
    rest = iter(keys)
    with ThreadPoolExecutor(MEASURING_THREADS, thread_name_prefix="measure") as pool:
        while batch := list(islice(rest, _BATCH)):
            for key, (value, errors) in zip(batch, pool.map(one, batch), strict=True):
                found[key] = value
                for error in errors:
                    on_error(error)
    return found


def run_jobs(jobs: Sequence[Job]) -> list[JobResult]:
    """Computes and caches measures, several at once; results are in the order of the jobs."""
    with ThreadPoolExecutor(MEASURING_THREADS, thread_name_prefix="measure") as pool:
        return list(pool.map(_run, jobs))


def _run(job: Job) -> JobResult:
    try:
        record = job.measure(*job.arguments)
    except ReadError as error:
        return None, error
    write_json(job.url, record)
    return record, None


def run_all(keys: Sequence[K], job_of: Callable[[K], Job], on_error: OnError, spread: Spread | None) -> dict[K, Any]:
    """The record of every job; None, and a call of `on_error`, where it cannot be read. Many go to `spread`."""
    if spread is None or len(keys) < SPREAD_FROM:

        def here(key: K, on_error_here: OnError) -> Any:
            record, error = _run(job_of(key))
            if error is not None:
                on_error_here(error)
            return record

        return side_by_side(keys, here, on_error)
    starts = range(0, len(keys), _BLOCK)
    blocks = dict(spread((start, [job_of(key) for key in keys[start : start + _BLOCK]]) for start in starts))
    results = [result for start in starts for result in blocks[start]]  # blocks end in any order
    for _, error in results:
        if error is not None:
            on_error(error)
    return {key: record for key, (record, _) in zip(keys, results, strict=True)}


PairMeasure = Callable[[SceneItem, Source, SceneItem, Source, Grid], Any]
"""Measures (item, its source, LR item, its source); gives a dataclass. Raises ReadError."""


def cached_pairs(
    kind: str,
    grid: Grid,
    grid_key: list[str],
    pairs: Iterable[Pair],
    items: Sequence[SceneItem],
    sources: tuple[Source, Source],
    folder: str,
    measure: PairMeasure,
    parse: Callable[[dict[str, Any]], T],
    on_error: OnError,
    spread: Spread | None = None,
) -> dict[Pair, T | None]:
    """`measure` of every pair (number of an item of the first source, of an LR item of the second), by way of a cache.

    Results are cached below `folder`, under the digests of their inputs (`grid_key` is the grid, as in `measure_key`),
    and returned as `parse` gives them. None, a call of `on_error` and no cached result, where a pair cannot be read.
    Raises StoreError where a cached record is no such measure.
    """
    records, (source, lr_source) = Records(folder, kind), sources

    def key_of(pair: Pair) -> str:
        return measure_key(grid_key, items[pair[0]].digest, source.digest, items[pair[1]].digest, lr_source.digest)

    def cached(pair: Pair, _: OnError) -> T | None:
        url, record = records.get(key_of(pair))
        return None if record is None else parsed(url, kind, record, lambda found: parse(found[kind]))

    def job_of(pair: Pair) -> Job:
        ref, lr = items[pair[0]], items[pair[1]]
        return Job(partial(_pair_record, kind, measure), (ref, source, lr, lr_source, grid), records.url(key_of(pair)))

    found = side_by_side(pairs, cached, on_error)
    missing = [pair for pair, value in found.items() if value is None]
    for pair, record in run_all(missing, job_of, on_error, spread).items():
        found[pair] = None if record is None else parse(record[kind])
    return found


def _pair_record(
    kind: str, measure: PairMeasure, ref: SceneItem, source: Source, lr: SceneItem, lr_source: Source, grid: Grid
) -> dict[str, Any]:
    return {"ref": ref.id, "lr": lr.id, kind: asdict(measure(ref, source, lr, lr_source, grid))}
