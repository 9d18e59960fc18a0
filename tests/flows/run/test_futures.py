"""Results come in the message that a call has ended; what was not published is gathered; errors come as such."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from dask.utils import key_split
from distributed import Client, LocalCluster, as_completed

from flows.run.futures import ended_futures, forget_keys
from flows.run.result_channel import ResultChannel, run_and_publish
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
    """More than is published."""
    return bytes(number * 2**16 * (by - 1))


class _CountedWorkers(Workers):
    """Counts how often results were gathered."""

    gathered = 0

    def wait_for_answer(self, call: Any) -> Any:
        self.gathered += 1
        return super().wait_for_answer(call)


def results_of(
    client: Client, workers: Workers, channel: ResultChannel, name: str, numbers: list[int], call: Any = halved
) -> dict[int, Any]:
    """Number -> what came of it."""
    with channel.subscribed(client):
        running, found = as_completed(loop=client.loop), {}
        futures: list[Any] = client.map(run_and_publish, numbers, call=call, channel=name, by=2, pure=False)
        in_flight = dict(zip((future.key for future in futures), numbers, strict=True))
        running.update(futures)
        while in_flight:
            for future, result in ended_futures(client, running, workers, in_flight, channel):
                found[in_flight.pop(future.key)] = result
    return found


def test_published_results_are_not_gathered(client: Client) -> None:
    channel, workers = ResultChannel(), _CountedWorkers(client)
    numbers = list(range(0, 200, 2))
    assert results_of(client, workers, channel, channel.name, numbers) == {n: (n // 2, bytes([n])) for n in numbers}
    assert workers.gathered == 0
    assert not channel.take([]) and not channel._results


def test_a_result_that_was_published_to_another_run_is_gathered(client: Client) -> None:
    channel, workers = ResultChannel(), _CountedWorkers(client)
    found = results_of(client, workers, channel, ResultChannel().name, [2, 4, 6])
    assert found == {2: (1, b"\x02"), 4: (2, b"\x04"), 6: (3, b"\x06")}
    assert workers.gathered and not channel._results


def test_a_large_result_is_gathered(client: Client) -> None:
    channel, workers = ResultChannel(), _CountedWorkers(client)
    assert results_of(client, workers, channel, channel.name, [2], much) == {2: bytes(2**17)}
    assert workers.gathered == 1


def waiting_results(dask_worker: Any) -> tuple[bool, int]:
    """Whether a worker has published something, and how many results it has still to publish."""
    publisher = dask_worker.plugins.get("dsdit-results")
    return publisher is not None, 0 if publisher is None else len(publisher._waiting)


def test_a_result_goes_in_the_message_that_its_call_has_ended(client: Client) -> None:
    channel = ResultChannel()
    results_of(client, Workers(client), channel, channel.name, [2, 4])
    sent = [m for worker in client.cluster.workers.values() for m in worker.batched_stream.recent_message_log]
    messages = [[part["op"] for part in message] for message in sent]
    assert sum(ops.count("log-event") for ops in messages) >= 2
    assert all("task-finished" in ops for ops in messages if "log-event" in ops)
    assert set(client.run(waiting_results).values()) == {(True, 0)}


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
    channel = ResultChannel()
    found = results_of(client, Workers(client), channel, channel.name, [2, 3])
    assert found[2] == (1, b"\x02")
    assert isinstance(found[3], ValueError) and str(found[3]) == "3 is odd"
