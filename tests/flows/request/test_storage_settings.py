"""Options sent to an object store with each request: received by a real server, and never a login."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dsdit.errors import RequestError
from dsdit.status import JobState
from dsdit.store.arrays import create_array, open_group
from dsdit.store.objects import write_bytes
from dsdit.store.options import storage_settings, use_storage
from dsdit.window import Index
from flows.request.request import load_request
from flows.run.run_step import run_step
from tests.conftest import box
from tests.support.commands import DSDIT, call, served, write_request
from tests.support.equator import equator_record
from tests.support.kept import SOUTH, equator_catalog
from tests.support.running import prepare, sample_record
from tests.support.s3 import BUCKET, S3, s3_server

ENCRYPTED = {"s3_additional_kwargs": {"ServerSideEncryption": "AES256"}}


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as server:
        yield server


@pytest.fixture(autouse=True)
def _plain() -> Iterator[None]:
    yield
    use_storage({})


def encrypted(s3: S3, prefix: str) -> set[bool]:
    keys = s3.objects(prefix)
    return {s3.client.head_object(Bucket=BUCKET, Key=key).get("ServerSideEncryption") == "AES256" for key in keys}


def test_small_objects_and_arrays_are_written_with_these_options(s3: S3) -> None:
    for name, settings in (("plain", {}), ("encrypted", ENCRYPTED)):
        use_storage(settings)
        url = f"s3://{BUCKET}/{name}"
        write_bytes(f"{url}/small", b"small")
        array = create_array(
            open_group(f"{url}/group", "a"), "a", (3, 8, 8), (3, 4, 4), (3, 8, 8), "uint16", 0, ("band", "y", "x")
        )
        array[:] = np.ones((3, 8, 8), np.uint16)
        assert len(s3.objects(name)) >= 3
        assert encrypted(s3, f"{name}/") == {bool(settings)}


@pytest.mark.slow
def test_a_worker_writes_with_what_the_request_asks(catalog: Path, weights: Path, tmp_path: Path, s3: S3) -> None:
    record = sample_record(catalog, weights, tmp_path / "out", box(40, 240, 360, 80))
    _, plan, places = prepare(record)
    encrypting = places._replace(scratch_receipts=f"s3://{BUCKET}/receipts", storage=ENCRYPTED)
    receipt = run_step("stage", plan.layout.stage_jobs[0], encrypting)
    assert receipt.state is JobState.DONE
    assert encrypted(s3, "receipts/") == {True}
    run_step("stage", Index(*plan.layout.stage_jobs[0]), places)
    assert storage_settings() == {}


@pytest.mark.slow
def test_a_whole_run_finds_its_store_by_the_request_alone(
    s3: S3, weights: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The login is in the environment; address of the store and encryption are in the request alone."""
    catalog, place = equator_catalog(tmp_path_factory.getbasetemp()), f"s3://{BUCKET}/requested"
    settings = {**ENCRYPTED, "client_kwargs": {"endpoint_url": s3.endpoint}}
    record = equator_record(catalog, weights, Path("replaced"), SOUTH, storage_options=settings)
    path = write_request(tmp_path / "request.yaml", {**record, "output": f"{place}/out", "scratch": f"{place}/scratch"})
    env = {key: value for key, value in served().items() if key not in ("AWS_ENDPOINT_URL", "AWS_S3_ENDPOINT")}
    ran = call([*DSDIT, "run", str(path)], env)
    assert ran.returncode == 0, ran.stderr
    written = {f"requested/out/{name}" for name in ("sr.tif", "report.json", "mosaic.zarr/zarr.json")}
    assert written <= set(s3.objects("requested/"))
    assert encrypted(s3, "requested/") == {True}


@pytest.mark.parametrize(
    ("settings", "name"),
    [("{key: abc}", "key"), ("{client_kwargs: {aws_secret_access_key: abc}}", "aws_secret_access_key")],
)
def test_a_login_is_refused_and_not_repeated(settings: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "region.yaml"
    path.write_text(
        "name: a\nbbox: [0, 0, 1, 1]\ncrs: EPSG:32631\ngsd_m: 1.25\nscale: 8\nperiod: {latest_days: 5}\n"
        f"lr: {{source: sample-lr}}\noutput: s3://bucket/a\nstorage_options: {settings}\n"
    )
    with pytest.raises(RequestError, match=f"{name} is a login: it comes from the environment alone") as caught:
        load_request(str(path))
    assert "abc" not in str(caught.value)


def test_what_a_repository_cannot_say_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "region.yaml"
    text = (
        "name: a\nbbox: [0, 0, 1, 1]\ncrs: EPSG:32631\ngsd_m: 1.25\nscale: 8\nperiod: {latest_days: 5}\n"
        "lr: {source: sample-lr}\noutput: s3://bucket/a\nstore: icechunk\nstorage_options: "
    )
    path.write_text(text + "{requester_pays: true}\n")
    assert load_request(str(path)).storage_options == storage_settings() == {"requester_pays": True}
    path.write_text(text + "{s3_additional_kwargs: {ServerSideEncryption: AES256}}\n")
    with pytest.raises(RequestError, match=r"sends no s3_additional_kwargs: set it as the bucket's default"):
        load_request(str(path))
