"""A lease on an output: one holder at a time, dead ones found by watching, on a disk and on a real S3 API."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dsdit.errors import LeaseError
from dsdit.mosaic.lease import LOST, NAME, Lease, held, read
from dsdit.store.objects import read_bytes, write_bytes
from tests.support.commands import ROOT, environment, wait_for
from tests.support.s3 import BUCKET, s3_server

EXPIRE_S = 2.0
HOLD = """
import sys, time
from dsdit.errors import LeaseError
from dsdit.mosaic.lease import Lease
lease = Lease(sys.argv[1], sys.argv[2], float(sys.argv[3]))
try:
    lease.take()
except LeaseError as error:
    print("refused:", error, flush=True)
    sys.exit(3)
print("taken", flush=True)
try:
    while True:
        lease.check()
        time.sleep(0.02)
except LeaseError as error:
    print("lost:", error, flush=True)
"""


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3") / "log"):
        yield f"s3://{BUCKET}"


@pytest.fixture(params=["folder", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An output where nothing is yet."""
    if request.param == "folder":
        return str(tmp_path / "out")
    return f"{request.getfixturevalue('bucket')}/{tmp_path.name}"


JUMPS = """
import time
days = iter(range(0, 10**15, 86400))
time.time = lambda: float(next(days))
"""
"""A wall clock that advances by a day whenever it is read."""


@contextmanager
def holder(
    output: str, description: str, expire_s: float = EXPIRE_S, before: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """A process that takes the lease and prints whether it was taken, refused or lost."""
    command = [sys.executable, "-c", before + HOLD, output, description, str(expire_s)]
    process = subprocess.Popen(command, env=environment(ROOT), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_lease_is_taken_given_back_and_taken_again(output: str) -> None:
    for _ in range(2):
        with held(output, "the first", EXPIRE_S) as lease:
            lease.check()
            assert (read(lease.url).holder, read(lease.url).description) == (lease.holder, "the first")
        assert read(lease.url).holder == ""
    with pytest.raises(KeyError), held(output, "the first", EXPIRE_S) as lease:
        raise KeyError
    assert read(lease.url).holder == ""


def test_of_two_processes_at_once_one_is_refused_with_the_description_of_the_other(output: str) -> None:
    with holder(output, "run one") as one, holder(output, "run two") as two:
        answers = {process: line_of(process) for process in (one, two)}
        assert sorted(text.split(":")[0].split()[0] for text in answers.values()) == ["refused", "taken"]
        ((refused, sentence),) = [(p, text) for p, text in answers.items() if text.startswith("refused")]
        other = "run two" if refused is one else "run one"
        assert f"is held by {other}: wait for its end, or set on_conflict: wait" in sentence


def test_a_killed_holder_is_watched_and_taken_over(output: str) -> None:
    with holder(output, "the dead", EXPIRE_S) as process:
        assert line_of(process) == "taken"
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    assert read(f"{output}/lease.json").description == "the dead"
    messages: list[str] = []
    began = time.monotonic()
    with held(output, "the next", EXPIRE_S, notify=messages.append) as lease:
        assert time.monotonic() - began >= EXPIRE_S
        assert read(lease.url).description == "the next"
    assert messages[-1] == "lease: the dead is dead: its lease is taken over"


def test_clocks_that_jump_neither_lose_a_lease_nor_take_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    back = iter(range(2 * 10**9, 0, -86400))
    monkeypatch.setattr(time, "time", lambda: float(next(back)))
    with holder(str(tmp_path), "the leaping", before=JUMPS) as process:
        assert line_of(process) == "taken"
        with pytest.raises(LeaseError, match="is held by the leaping"):
            Lease(str(tmp_path), "the next", EXPIRE_S).take()
        wait_for(lambda: read(f"{tmp_path}/lease.json").renewed >= 5, 30, "it renews")
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        with held(str(tmp_path), "the next", EXPIRE_S) as lease:
            lease.check()


def test_who_waits_gets_it_when_it_is_given_back(output: str) -> None:
    with holder(output, "the first") as process:
        assert line_of(process) == "taken"
        wait_for(lambda: read(f"{output}/lease.json").renewed >= 3, 30, "two renewals")
        first = Lease(output, "x")
        first.holder = read(first.url).holder
        process.send_signal(signal.SIGSTOP)
        first.release()
        with held(output, "the second", EXPIRE_S, wait=True) as second:
            process.send_signal(signal.SIGCONT)
            assert line_of(process).startswith("lost: ")
            second.check()


def test_a_holder_that_slept_finds_its_lease_taken_and_stops(output: str) -> None:
    with holder(output, "the sleeper") as process:
        assert line_of(process) == "taken"
        process.send_signal(signal.SIGSTOP)
        with held(output, "the next", EXPIRE_S) as lease:
            process.send_signal(signal.SIGCONT)
            sentence = line_of(process)
            assert sentence.startswith("lost: the lease ") and sentence.endswith("the same command goes on")
            wait_for(lambda: read(lease.url).renewed >= 3, 30, "the next one renews")
            lease.check()
        assert read(lease.url).holder == ""


def test_a_holder_whose_store_is_gone_stops_before_others_can_have_taken_over(tmp_path: Path) -> None:
    lease = Lease(str(tmp_path / "out"), "alone", 1.0)
    lease.take()
    lease.check()
    lease.url = str(tmp_path)
    with pytest.raises(LeaseError, match="could not be renewed for 1 s"):
        wait_for(lease.check, 10, "the lease is lost")
    assert LOST < 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"holder": "a"}'])
def test_a_damaged_lease_is_taken_once_it_has_been_watched(output: str, content: bytes) -> None:
    write_bytes(f"{output}/lease.json", content)
    found = read(f"{output}/lease.json")
    assert bool(found.holder) == bool(content)
    if not content:
        with held(output, "me", EXPIRE_S) as lease:
            assert json.loads(read_bytes(lease.url) or b"")["words"] == "me"


def test_many_at_once_have_one_winner(output: str) -> None:
    began = [Lease(output, str(k), 30.0) for k in range(6)]
    tags = [read(lease.url).tag for lease in began]
    won = [lease for lease, tag in zip(began, tags, strict=True) if lease._swap(tag)]
    assert won == began[:1]
    assert read(began[0].url).description == "0"


@pytest.mark.skipif(os.geteuid() != 0, reason="takes rights away from another user, which root alone can")
def test_who_may_only_read_an_output_sees_who_holds_it() -> None:
    with tempfile.TemporaryDirectory() as folder, held(folder, "the run of a test"):
        Path(folder).chmod(0o755)
        (Path(folder) / NAME).chmod(0o644)
        os.seteuid(65534)
        try:
            assert read(f"{folder}/{NAME}").description == "the run of a test"
        finally:
            os.seteuid(0)
