"""A request is opened once a process: its file, its GeoJSON, land, sources and cluster, and one probe of its output."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pyproj import Transformer

from catalogs.source import SOURCES_FOLDER
from dsdit.mosaic.versions import mosaic_store
from flows.plan.make_plan import latest_plan, make_plan
from flows.plan.prepared import prepare
from flows.request.request import load_request
from tests.conftest import box
from tests.support.commands import ROOT, call, environment, prefect_home, write_request
from tests.support.running import NOW, sample_record

ONE_SHARD = box(100, 200, 220, 120)
ELSEWHERE = box(300, 400, 420, 320)
COUNTED = ("request.yaml", "region.geojson", "land.geojson", "lr.yaml", "ref.yaml", "cluster.yaml")
COMMAND = """
import atexit, json, os, sys
opened, changes = [], iter(sys.argv[1:4])
folder, output, moved = changes
del sys.argv[1:4]
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        path = os.fsdecode(arguments[0])
        if os.getpid() == own and (path.startswith(folder + "/")) and arguments[1] in ("r", "rb", "w", "wb", None):
            opened.append(path)
        if moved and ".probe-" in path:  # the region has been read: from here on its file is another one
            os.replace(moved, folder + "/region.geojson") if os.path.exists(moved) else None
own = os.getpid()
sys.addaudithook(hook)
from flows.cli.main import app
def report():
    if os.getpid() == own:
        record = {"opened": list(opened), "modules": sorted(sys.modules)}
        with open(output, "w") as file:
            json.dump(record, file)
atexit.register(report)
app()
"""


def polygon(bounds: tuple[float, ...]) -> dict[str, Any]:
    """GeoJSON in degrees of a rectangle in EPSG:32632."""
    x0, y0, x1, y1 = bounds
    to_degrees = Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    ring = [to_degrees.transform(x, y) for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0))]
    return {"type": "Polygon", "coordinates": [[list(point) for point in ring]]}


def write_files(folder: Path, catalog: Path, weights: Path) -> Path:
    """A request with a file of its own for everything it names, all of them named relative to it."""
    record = sample_record(catalog, weights, Path("out"), ONE_SHARD)
    del record["bounds"]
    (folder / "region.geojson").write_text(json.dumps(polygon(ONE_SHARD)))
    (folder / "land.geojson").write_text(json.dumps(polygon(box(0, 400, 400, 0))))
    for kind in ("lr", "ref"):
        shutil.copyfile(SOURCES_FOLDER / f"sample-{kind}.yaml", folder / f"{kind}.yaml")
        record[kind]["source"] = f"{kind}.yaml"
    shutil.copyfile(ROOT / "infra/clusters/local.yaml", folder / "cluster.yaml")
    record |= {"geojson": "region.geojson", "land": "land.geojson", "compute": {"cluster": "cluster.yaml"}}
    return write_request(folder / "request.yaml", record)


def watched(folder: Path, moved: Path | str, *arguments: str) -> tuple[Counter[str], list[str]]:
    """How often a command opened each file of `folder`, and the modules that it imported."""
    answer = folder.parent / "opened.json"
    command = [sys.executable, "-c", COMMAND, str(folder), str(answer), str(moved), *arguments]
    done = call(command, environment(prefect_home()))
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads(answer.read_text())
    probes = [path for path in record["opened"] if ".probe-" in path]
    counts = Counter(Path(path).name for path in record["opened"])
    return counts | Counter({"probes": len({Path(path).name.split(".partial")[0][:40] for path in probes})}), record[
        "modules"
    ]


def test_a_plan_opens_each_file_once_and_loads_no_torch(catalog: Path, weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    path = write_files(folder, catalog, weights)
    counts, modules = watched(folder, "", "plan", str(path))
    opened = {name: counts[name] for name in (*COUNTED, "probes")}
    assert opened == dict.fromkeys((*COUNTED, "probes"), 1) | {"cluster.yaml": 0}, "a plan needs no cluster"
    assert {"flows.plan.make_plan", "catalogs.source"} <= set(modules)
    assert not {"torch", "prefect", "distributed"} & set(modules)
    assert (folder / "out/plan.png").exists()


def test_a_run_opens_each_file_once_and_keeps_the_region_that_it_read(
    catalog: Path, weights: Path, tmp_path: Path
) -> None:
    folder, moved = tmp_path / "files", tmp_path / "moved.geojson"
    folder.mkdir()
    path = write_files(folder, catalog, weights)
    region = load_request(str(path)).region()
    moved.write_text(json.dumps(polygon(ELSEWHERE)))
    counts, _ = watched(folder, moved, "run", str(path))
    assert {name: counts[name] for name in (*COUNTED, "probes")} == dict.fromkeys((*COUNTED, "probes"), 1)
    assert not moved.exists() and load_request(str(path)).region() != region, "the file changed during the run"
    output = str(folder / "out")
    assert latest_plan(output).region == region
    assert mosaic_store(output).versions() == [1]
    assert json.loads((folder / "out/report.json").read_text())["jobs"]["done"] == 1


def test_what_changes_after_it_was_opened_changes_no_plan(catalog: Path, weights: Path, tmp_path: Path) -> None:
    prepared = prepare(load_request(str(write_files(tmp_path, catalog, weights))))
    first = make_plan(prepared, NOW)
    (tmp_path / "region.geojson").write_text(json.dumps(polygon(ELSEWHERE)))
    (tmp_path / "lr.yaml").write_text("not a source")
    (tmp_path / "land.geojson").unlink()
    assert make_plan(prepared, NOW).digest == first.digest
    with pytest.raises(ValueError, match=r"lr\.yaml"):
        prepare(prepared.request)
