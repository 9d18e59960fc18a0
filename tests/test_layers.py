"""One direction of imports, one owner for each heavy library, and a light front door."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
ORDER = ["dsdit", "catalogs", "flows"]
OWNERS = {
    "zarr": {"dsdit/store.py", "dsdit/mosaic_group.py"},
    "fsspec": {"dsdit/store.py"},
    "icechunk": {"dsdit/icechunk_store.py"},
    "distributed": {
        "flows/cluster.py",
        "flows/futures.py",
        "flows/publishing.py",
        "flows/wavefront.py",
        "flows/workers.py",
    },
    "dask_cuda": {"flows/cluster.py"},
    "dask_kubernetes": {"flows/cluster.py"},
    "dask_jobqueue": {"flows/cluster.py"},
    "pystac_client": {"catalogs/endpoints.py"},
    "requests": {"catalogs/endpoints.py", "catalogs/session.py", "catalogs/redirects.py"},
    "rustac": {"catalogs/geoparquet.py"},
    "stackstac": {"catalogs/exploring.py"},
    "xarray": {"catalogs/__init__.py", "catalogs/exploring.py", "dsdit/opening.py"},
    "cql2": {"catalogs/filtering.py"},
    "antimeridian": {"dsdit/lonlat.py"},
    "prefect": {"flows/tasks.py", "flows/sr_region.py", "flows/serving.py", "flows/alarms.py"},
    "diffusers": {"dsdit/model/sd3_autoencoder.py"},
    "pyarrow": {"dsdit/tables.py"},
}
LEVELS = [
    {"errors", "bands", "window", "status", "mounts", "storage_settings", "allocator", "lonlat"},
    {"grid", "region", "tiling", "blend", "radiometry", "sensor", "job_map", "layout"},
    {"choices", "fits", "item_numbers", "sampler_settings", "seams", "plan", "terms"},
    {"registration"},
    {"imagery"},
    {"model", "store", "bulk", "tables", "plan_files", "tile_states", "receipt_objects"}
    | {"receipt_tables", "receipts", "history", "lease", "versions"},
    {"mosaic_store", "icechunk_store", "opening"},
    {"sampling", "mosaic_group"},
    {"steps", "training", "evaluate", "evaluation"},
]


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
    return names


def sources() -> list[Path]:
    return [p for package in ORDER for p in sorted((ROOT / package).rglob("*.py"))]


def test_packages_import_downwards_only() -> None:
    for path in sources():
        mine = ORDER.index(path.relative_to(ROOT).parts[0])
        for name in imports(path):
            top = name.split(".")[0]
            if top in ORDER:
                assert ORDER.index(top) <= mine, f"{path.relative_to(ROOT)} imports {name}"


def test_modules_of_dsdit_import_downwards_only() -> None:
    level = {name: k for k, names in enumerate(LEVELS) for name in names}
    for path in sorted((ROOT / "dsdit").rglob("*.py")):
        own = path.relative_to(ROOT / "dsdit").parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        assert own in level, f"{own} has no level"
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "dsdit" and len(parts) > 1:
                assert level[parts[1]] <= level[own], f"{path.relative_to(ROOT)} imports {name}"


def test_heavy_libraries_have_one_owner() -> None:
    for path in sources():
        for name in imports(path):
            owners = OWNERS.get(name.split(".")[0])
            place = path.relative_to(ROOT).as_posix()
            assert owners is None or place in owners, f"{place} imports {name}"


def test_files_have_one_subject() -> None:
    for path in sources():
        assert len(path.read_text().splitlines()) <= 300, path
        assert path.stem not in {"utils", "util", "helpers", "common", "misc"}, path


def test_import_dsdit_loads_no_torch() -> None:
    code = "import sys, dsdit, dsdit.plan, dsdit.layout, dsdit.receipts; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
