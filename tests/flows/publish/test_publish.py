"""Publishing a run: the same bytes on Dask and in one process, in both stores; sr.tif where and when it is due."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from distributed import Client, LocalCluster
from typer.testing import CliRunner

from dsdit.mosaic.version import Kind, Version
from dsdit.mosaic.versions import MosaicStore, mosaic_store
from dsdit.plan.files import write_plan
from dsdit.plan.plan import Plan
from dsdit.receipts.receipts import compact_receipts
from dsdit.status import JobState
from dsdit.steps.publish.parts import build_parts, changed_jobs, create_parts
from dsdit.steps.publish.report import make_report
from dsdit.store.objects import read_json
from dsdit.window import Index
from flows.cli.main import app
from flows.publish.publish import build_on, publish_run
from flows.request.cluster_file import load_cluster
from flows.request.request import Request, make_request
from flows.run.dask_executor import DaskExecutor
from flows.run.limits_and_hooks import RunLimits
from flows.run.run_step import Places
from tests.dsdit.steps.publish.test_parts import keys
from tests.support.running import NOW
from tests.support.shards import keep_receipts, make_mosaic, objects, plan_of

FIRST = {Index(-7, -19): 1, Index(0, 0): 1, Index(2, 2): 2, Index(12, 9): 3}
SECOND = {Index(0, 0): 4, Index(2, 3): 5}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    cluster = LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None)
    with cluster, Client(cluster, set_as_default=False) as opened:
        yield opened


def request_for(output: Path, **more: Any) -> Request:
    return make_request(
        {
            "name": "made",
            "bounds": [0, 0, 1, 1],
            "crs": "EPSG:32632",
            "gsd_m": 1.25,
            "scale": 8,
            "period": {"start": "2024-06-15"},
            "lr": {"source": "sample-lr"},
            "output": str(output),
            **more,
        }
    )


def begin(plan: Plan, output: Path, store: MosaicStore, seeds: Mapping[Index, int]) -> Version:
    """A version with new shards and their receipts, which nothing is made of yet."""
    version = store.begin()
    with store.writing(version) as mosaic:
        make_mosaic(plan, mosaic, seeds)
    keep_receipts(plan, str(output / "receipts"), seeds)
    return version


@pytest.mark.parametrize("kind", get_args(Kind))
def test_parts_made_on_dask_have_the_bytes_of_those_made_here(kind: Kind, client: Client, tmp_path: Path) -> None:
    plan, output, plain = plan_of(), tmp_path / "out", tmp_path / "plain"
    store, url = mosaic_store(str(output), kind), write_plan(plan, str(tmp_path / "plans"))
    version = begin(plan, output, store, FIRST)
    with store.writing(version) as mosaic:
        changed = changed_jobs(plan, mosaic, str(output / "receipts"))
    assert changed == sorted(FIRST)
    checks: list[int] = []
    executor = DaskExecutor(client)
    places = Places.of(url, str(tmp_path / "scratch"), str(output))._replace(mosaic=version.mosaic)
    build_on(executor, plan, places, store, version, changed, RunLimits(2), lambda: checks.append(1))
    assert len(checks) >= 7, "a run that lost its lease ends at the next part"
    store.publish(version, 2)
    make_mosaic(plan, str(plain), FIRST)
    create_parts(plan, str(plain))
    build_parts(plan, str(plain), changed)
    found = objects(Path(store.opened())) if kind == "zarr" else keys(store.opened())
    assert found == objects(plain) and any(name.startswith("2/sr/c/") for name in found)


def test_a_part_that_cannot_be_made_ends_the_publish(client: Client, tmp_path: Path) -> None:
    plan, output = plan_of(), tmp_path / "out"
    store, url = mosaic_store(str(output), "zarr"), write_plan(plan, str(tmp_path / "plans"))
    version = begin(plan, output, store, FIRST)
    shard = next(Path(version.mosaic).glob("0/sr/c/0/*/*"))
    shard.write_bytes(shard.read_bytes()[:50])
    places = Places.of(url, str(tmp_path / "scratch"), str(output))._replace(mosaic=version.mosaic)
    changed = changed_jobs(plan, version.mosaic, str(output / "receipts"))
    with pytest.raises(Exception, match=r".") as caught:
        build_on(DaskExecutor(client), plan, places, store, version, changed, RunLimits(2))
    assert not isinstance(caught.value, AssertionError)
    assert store.versions() == [] and len(changed_jobs(plan, version.mosaic, str(output / "receipts"))) == 4


def publish(plan: Plan, request: Request, seeds: Mapping[Index, int], state: JobState = JobState.DONE) -> list[str]:
    """A run that writes `seeds`, with receipts of `state`; returns what it logged."""
    output, said = Path(request.output), list[str]()
    store = mosaic_store(request.output, request.store)
    version = begin(plan, output, store, seeds if state is JobState.DONE else {})
    keep_receipts(plan, str(output / "receipts"), seeds, state)
    report = make_report(plan, str(output / "receipts"))
    lease: Any = SimpleNamespace(url="", holder="", check=lambda: None)
    url, cluster = write_plan(plan, f"{output}/plans"), load_cluster(request.compute.cluster)
    publish_run(request, url, store, version, report, NOW, lease, said.append, cluster)
    store.publish(version, 2)
    compact_receipts(str(output / "receipts"), "mosaic")
    return said


@pytest.mark.slow
def test_the_cog_is_written_when_pixels_changed_and_shared_when_none_did(tmp_path: Path) -> None:
    plan, request = plan_of(), request_for(tmp_path / "out")
    cog, item = tmp_path / "out/sr.tif", tmp_path / "out/item.json"
    publish(plan, request, FIRST)
    first = cog.stat().st_ino
    said = publish(plan, request, {Index(0, 0): 1}, JobState.FAILED)
    assert "1 shards were written" in said[0]
    assert cog.stat().st_ino == first and "sr" in read_json(str(item))["assets"]
    assert cog.resolve().parent.name == "2"
    before = cog.read_bytes()
    publish(plan, request, SECOND)
    assert cog.stat().st_ino != first and cog.read_bytes() != before


@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_request_can_do_without_the_cog(kind: Kind, tmp_path: Path) -> None:
    plan, output = plan_of(), tmp_path / "out"
    publish(plan, request_for(output, store=kind), FIRST)
    assert (output / "sr.tif").exists()
    said = publish(plan, request_for(output, store=kind, cog="never"), SECOND)
    assert not (output / "sr.tif").is_symlink() and (output / "picture.png").exists()
    beside = {"sr_zarr"} if kind == "zarr" else set[str]()  # what opens through xpystac and odc-stac
    assert set(read_json(str(output / "item.json"))["assets"]) == {"mosaic", "picture"} | beside
    assert "cog: never" in said[-1] and "dsdit export" in said[-1] and "--bounds" in said[-1]


def test_a_window_is_cut_of_a_published_mosaic(tmp_path: Path) -> None:
    import rasterio

    plan, output = plan_of(), tmp_path / "out"
    publish(plan, request_for(output), FIRST)
    cut = ["export", str(output), str(tmp_path / "cut.tif"), "--bounds"]
    done = CliRunner().invoke(app, [*cut, "0", "-50", "100", "25"])
    assert done.exit_code == 0, done.output
    with rasterio.open(tmp_path / "cut.tif") as part, rasterio.open(output / "sr.tif") as whole:
        assert tuple(part.bounds) == (0, -50, 100, 25)
        window = rasterio.windows.from_bounds(0, -50, 100, 25, whole.transform)
        assert (part.read() == whole.read(window=window)).all() and (part.read() != 65535).any()
    wrong = CliRunner().invoke(app, [*cut, "5000", "5000", "5100", "5100"])
    assert wrong.exit_code == 2 and "no pixel of region 'made'" in wrong.output


def test_much_goes_to_the_requests_cluster(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builds: list[Any] = []

    def build(*arguments: Any) -> None:
        builds.append(arguments[5])
        build_on(*arguments)

    monkeypatch.setattr("flows.publish.publish.FEW_PARTS", 6)
    monkeypatch.setattr("flows.publish.publish.build_on", build)
    address = {"cluster": "address", "address": client.scheduler.address}
    publish(plan_of(), request_for(tmp_path / "out", compute=address), FIRST)
    assert builds == [sorted(FIRST)]
    publish(plan_of(), request_for(tmp_path / "out", compute=address), {Index(0, 0): 9})
    assert len(builds) == 1, "a few parts are made in the flow's own process"
