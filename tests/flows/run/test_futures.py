"""Results come along with the news that a call has ended; what was not told is asked for; errors come as such."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from dask.utils import key_split
from distributed import Client, LocalCluster, as_completed

from flows.run.futures import Told, finished_of, forget_keys, tell
from flows.run.workers import Workers


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as made,
    ):
        yield made


def halved(number: int, by: int = 2) -> tuple[int, bytes]:
    """Half of an even number; raises ValueError for others."""
    if number % by:
        raise ValueError(f"{number} is odd")
    return number // by, bytes([number])


def much(number: int, by: int = 2) -> bytes:
    """More than is told."""
    return bytes(number * 2**16 * (by - 1))


class _Asking(Workers):
    """Counts the questions."""

    asked = 0

    def answered(self, ask: Any) -> Any:
        self.asked += 1
        return super().answered(ask)


def results_of(
    client: Client, workers: Workers, listening: Told, told_to: str, numbers: list[int], work: Any = halved
) -> dict[int, Any]:
    """Number -> what came of it."""
    with listening.heard(client):
        running, found = as_completed(loop=client.loop), {}
        futures: list[Any] = client.map(tell, numbers, work=work, told_to=told_to, by=2, pure=False)
        in_flight = dict(zip((future.key for future in futures), numbers, strict=True))
        running.update(futures)
        while in_flight:
            for future, result in finished_of(client, running, workers, in_flight, listening):
                found[in_flight.pop(future.key)] = result
    return found


def test_results_that_were_told_are_not_asked_for(client: Client) -> None:
    told, workers = Told(), _Asking(client)
    numbers = list(range(0, 200, 2))
    assert results_of(client, workers, told, told.run, numbers) == {n: (n // 2, bytes([n])) for n in numbers}
    assert workers.asked == 0
    assert not told.take([]) and not told._results


def test_a_result_that_was_told_to_another_run_is_asked_for(client: Client) -> None:
    told, workers = Told(), _Asking(client)
    found = results_of(client, workers, told, Told().run, [2, 4, 6])
    assert found == {2: (1, b"\x02"), 4: (2, b"\x04"), 6: (3, b"\x06")}
    assert workers.asked and not told._results


def test_a_large_result_is_asked_for(client: Client) -> None:
    told, workers = Told(), _Asking(client)
    assert results_of(client, workers, told, told.run, [2], much) == {2: bytes(2**17)}
    assert workers.asked == 1


def telling(dask_worker: Any) -> tuple[bool, int]:
    """Whether a worker has told something, and how much it still has to tell."""
    part = dask_worker.plugins.get("dsdit-results")
    return part is not None, 0 if part is None else len(part._told)


def test_what_is_told_goes_in_the_message_that_the_call_has_ended(client: Client) -> None:
    told = Told()
    results_of(client, Workers(client), told, told.run, [2, 4])
    sent = [m for worker in client.cluster.workers.values() for m in worker.batched_stream.recent_message_log]
    messages = [[part["op"] for part in message] for message in sent]
    assert sum(ops.count("log-event") for ops in messages) >= 2
    assert all("task-finished" in ops for ops in messages if "log-event" in ops)
    assert set(client.run(telling).values()) == {(True, 0)}


def test_groups_of_ended_keys_are_forgotten() -> None:
    key_split.cache_clear()
    for number in range(8192):
        key_split(f"stage-{number}")
    forget_keys()
    assert key_split.cache_info().currsize == 8192
    key_split("stage-8192")
    forget_keys()
    assert key_split.cache_info().currsize == 0


def test_an_error_is_its_result(client: Client) -> None:
    told = Told()
    found = results_of(client, Workers(client), told, told.run, [2, 3])
    assert found[2] == (1, b"\x02")
    assert isinstance(found[3], ValueError) and str(found[3]) == "3 is odd"
