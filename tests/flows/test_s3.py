"""Output and scratch in an object store, over a real S3 API: the bytes of a run on folders, and no secret anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rasterio
import xarray as xr

from dsdit.errors import CatalogError, StoreError
from dsdit.mosaic.versions import mosaic_store
from dsdit.receipts.receipts import list_receipts
from dsdit.steps.publish.publish import publish
from dsdit.steps.publish.report import due_jobs
from dsdit.store.arrays import forget_arrays
from dsdit.store.objects import check_writable, list_names, remove, write_bytes
from flows.plan.cost import price
from tests.support.checks import check_same_answer
from tests.support.clustered import digest_of
from tests.support.commands import DSDIT, call, served, write_request
from tests.support.digests import mosaic_digest
from tests.support.equator import equator_record
from tests.support.faulty_s3 import CLIENT, FAULTS, faulty_proxy
from tests.support.kept import AROUND_ZERO, SOUTH, equator_catalog, kept_run
from tests.support.running import NOW, Ran, run_here
from tests.support.s3 import BUCKET, KEY, S3, SECRET, s3_server

SECRETS = (KEY, SECRET, "X-Amz-Signature", "X-Amz-Credential")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as server:
        yield server


@pytest.fixture(scope="module")
def local(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return kept_run(tmp_path_factory.getbasetemp(), weights)


@pytest.fixture
def record(weights: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict[str, Any]:
    """The request of `local`, with output and scratch below a prefix of the test's own."""
    place = f"s3://{BUCKET}/{request.node.name.replace('[', '-').rstrip(']')}"
    catalog = equator_catalog(tmp_path_factory.getbasetemp())
    record = equator_record(catalog, weights, Path("replaced"), AROUND_ZERO)
    return {**record, "output": f"{place}/out", "scratch": f"{place}/scratch"}


def check_no_secret(s3: S3, more_text: str = "") -> None:
    """No object of text, and none of `more_text`, holds a credential or a signature."""
    texts = [more_text] + [s3.read(key).decode(errors="replace") for key in s3.objects() if key.endswith(".json")]
    assert sum(map(len, texts)) > 10_000
    for secret in SECRETS:
        assert not [text for text in texts if secret in text]


def test_a_store_is_listed_and_emptied(s3: S3) -> None:
    place = f"s3://{BUCKET}/listed"
    assert list_names(place) == []
    for name in ("b", "a", "folder/c"):
        write_bytes(f"{place}/{name}", b"1")
    assert list_names(place) == ["a", "b", "folder"]
    s3.client.put_object(Bucket=BUCKET, Key="listed/d", Body=b"by another process")
    assert list_names(place) == ["a", "b", "d", "folder"]
    remove(f"{place}/d")
    remove(f"{place}/never-there")
    assert set(s3.objects("listed/")) == {"listed/a", "listed/b", "listed/folder/c"}
    remove(place)
    assert not s3.objects("listed/")


def test_what_can_be_written_to_is_found_out_before(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    check_writable(f"s3://{BUCKET}/somewhere/new")
    assert not s3.objects("somewhere")
    with pytest.raises(StoreError, match="nothing can be written to 's3://no-such-bucket/out'"):
        check_writable("s3://no-such-bucket/out")
    with pytest.raises(StoreError, match="credentials come from the environment alone") as caught:
        check_writable("s3://user:hidden@bucket/out")
    assert "hidden" not in str(caught.value)


@pytest.mark.slow
def test_a_run_that_was_interrupted_goes_on_to_the_bytes_of_a_local_one(
    s3: S3, local: Ran, record: dict[str, Any]
) -> None:
    steps = [r.step for r in local.receipts]
    begun = run_here(record, stop_after=steps.index("mosaic") + 1)
    done = {(r.step, r.job) for r in begun.receipts}
    kept = s3.objects(f"{record['output'].removeprefix(f's3://{BUCKET}/')}/receipts")
    assert len(list_receipts(begun.places.receipts, "mosaic")) == len(kept) == 1
    resumed = run_here(record)
    rest = {(r.step, r.job) for r in resumed.receipts}
    assert rest and not done & rest and done | rest == {(r.step, r.job) for r in local.receipts}
    assert s3.objects(f"{record['output'].removeprefix(f's3://{BUCKET}/')}/receipts").items() >= kept.items()
    check_same_answer(local, resumed)
    assert not due_jobs(resumed.plan, resumed.places.receipts)
    assert not [key for key in s3.objects() if "scratch/data.zarr" in key and "/c/" in key]
    places = publish(resumed.plan, resumed.request.output, resumed.report, NOW)
    assert places["mosaic"] == resumed.places.mosaic == f"{record['output']}/mosaic.zarr"
    tree = xr.open_datatree(places["mosaic"], engine="zarr", consolidated=False)
    assert tree.attrs["jobs"]["done"] == 4
    with rasterio.open(places["cog"]) as cog:
        assert (cog.read() == local.pixels()).all()
    check_no_secret(s3)


def bucket_catalog(s3: S3, catalog: Path, folder: Path) -> Path:
    """The catalog in `folder`, its images in the bucket, and the user's sources that allow it; returns the folder."""
    folder.mkdir()
    s3.write_folder(catalog, "images")
    items = json.loads((catalog / "items.json").read_text())
    for item in items["features"]:
        item["assets"]["image"]["href"] = f"s3://{BUCKET}/images/{item['collection']}.tif"
    (folder / "items.json").write_text(json.dumps(items))
    for name in ("equator-lr", "equator-ref"):
        text = (catalog / f"{name}.yaml").read_text()
        (folder / f"{name}.yaml").write_text(f"{text}schemes: [s3]\nhosts: [{BUCKET}]\nsigning: aws\n")
    return folder


@pytest.mark.slow
def test_a_plan_predicts_the_requests_that_a_run_makes(s3: S3, record: dict[str, Any]) -> None:
    ran = run_here(record)
    predicted = price(ran.plan)
    prefix = record["output"].removeprefix("s3://").removesuffix("/out")
    requested = [line for line in s3.requests(f"{prefix}/") if not line.endswith("zarr.json")]
    scratch = [line for line in requested if f"{prefix}/scratch/" in line]
    shards = [line for line in requested if "/out/mosaic.zarr/" in line and "/c/" in line]
    receipts = [line for line in requested if "/out/receipts/" in line]
    assert len(scratch) <= predicted["requests_of_scratch"] <= 1.6 * len(scratch)
    assert len(shards) + len(receipts) <= predicted["requests"]
    written = [line for line in shards if line.startswith("PUT ")]
    assert len(ran.plan.layout.mosaic_jobs) * 8 <= len(written) <= predicted["objects"] + 8


@pytest.mark.slow
def test_images_are_read_from_a_bucket_that_the_users_source_allows(
    s3: S3, local: Ran, weights: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    catalog = equator_catalog(tmp_path_factory.getbasetemp())
    mine = bucket_catalog(s3, catalog, tmp_path / "mine")
    read = run_here(equator_record(mine, weights, tmp_path / "out", AROUND_ZERO))
    assert {item["hrefs"]["image"] for item in read.plan.items} == {
        f"s3://{BUCKET}/images/{name}.tif" for name in ("equator-lr", "equator-ref")
    }
    check_same_answer(local, read)
    check_no_secret(s3, "".join(path.read_text() for path in (tmp_path / "out").rglob("*.json")))
    (mine / "equator-lr.yaml").write_text((catalog / "equator-lr.yaml").read_text() + "schemes: [s3]\n")
    with pytest.raises(CatalogError, match="nothing to do"):
        run_here(equator_record(mine, weights, tmp_path / "refused", AROUND_ZERO))
    assert f"is on host '{BUCKET}'" in (tmp_path / "refused/search/lr.json").read_text()


@pytest.mark.slow
def test_the_commands_run_on_two_workers_with_input_scratch_and_output_in_the_store(
    s3: S3, local: Ran, weights: Path, record: dict[str, Any], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    env = served()
    mine = bucket_catalog(s3, equator_catalog(tmp_path_factory.getbasetemp()), tmp_path / "mine")
    places = {name: record[name] for name in ("output", "scratch")}
    record = {**equator_record(mine, weights, Path("replaced"), SOUTH), **places}
    path = write_request(tmp_path / "request.yaml", record)
    write_bytes(f"{record['scratch']}/mine", b"another's")
    ran = call([*DSDIT, "run", str(path)], env)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == f"{record['output']}/mosaic.zarr"
    prefix = record["output"].removeprefix(f"s3://{BUCKET}/")
    assert {key.removeprefix(f"{prefix}/") for key in s3.objects(prefix)} >= {"sr.tif", "picture.png", "report.json"}
    assert f"{prefix}/unpublished.json" not in s3.objects(prefix)
    assert json.loads(s3.read(f"{prefix}/lease.json"))["holder"] == ""
    assert [key.rpartition("/")[2] for key in s3.objects(record["scratch"].removeprefix(f"s3://{BUCKET}/"))] == ["mine"]
    again = run_here(record)
    assert not again.receipts
    assert {item["hrefs"]["image"].partition("://")[0] for item in again.plan.items} == {"s3"}
    check_same_answer(local, again)
    status = call([*DSDIT, "status", record["output"]], env)
    assert status.returncode == 0, status.stderr
    assert f"{again.report.jobs['planned']} done, 0 due" in status.stdout
    exported = call([*DSDIT, "export", record["output"], f"s3://{BUCKET}/exported.tif"], env)
    assert exported.returncode == 0, exported.stderr
    with rasterio.open(f"s3://{BUCKET}/exported.tif") as cog:
        assert (cog.read() == again.pixels()).all()
    check_no_secret(s3, "".join([ran.stdout, ran.stderr, status.stdout, status.stderr]))


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("store", ["zarr", "icechunk"])
def test_a_store_that_spoils_a_tenth_of_all_requests_gives_the_same_bytes(
    store: str, s3: S3, weights: Path, record: dict[str, Any], tmp_path: Path
) -> None:
    record = {**record, "bounds": list(SOUTH), "store": store}
    path = write_request(tmp_path / "request.yaml", record)
    with faulty_proxy(s3.endpoint, 0.1, 7) as (url, counts):
        ran = call([*DSDIT, "run", str(path)], served(AWS_ENDPOINT_URL=url, **CLIENT), 1500)
    assert ran.returncode == 0, ran.stderr
    spoilt = {fault: n for fault, n in counts.items() if fault != "none"}
    assert set(spoilt) == set(FAULTS), counts
    assert 0.05 < sum(spoilt.values()) / counts.total() < 0.2
    straight = run_here({**record, "output": str(tmp_path / "out"), "scratch": None, "store": "zarr"})
    forget_arrays()
    with mosaic_store(record["output"]).reading() as mosaic:
        assert mosaic_digest(straight.plan, mosaic) == digest_of(straight)
    assert json.loads(s3.read(f"{record['output'].removeprefix(f's3://{BUCKET}/')}/report.json"))["errors"] == []
