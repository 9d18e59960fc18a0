"""One direction of imports between packages, no circle within them, one owner for each heavy library, a light door."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ["dsdit", "catalogs", "flows"]
OWNERS = {
    "zarr": {"dsdit/store/arrays.py", "dsdit/mosaic/template.py"},
    "fsspec": {"dsdit/store/objects.py"},
    "icechunk": {"dsdit/mosaic/icechunk_versions.py"},
    "distributed": {
        "flows/run/dask_cluster.py",
        "flows/clusters/address.py",
        "flows/clusters/cuda.py",
        "flows/clusters/local.py",
        "flows/run/dask_executor.py",
        "flows/run/futures.py",
        "flows/run/loop.py",
        "flows/run/result_channel.py",
        "flows/run/workers.py",
    },
    "dask_cuda": {"flows/clusters/cuda.py"},
    "dask_kubernetes": {"flows/clusters/kubernetes.py"},
    "dask_jobqueue": {"flows/clusters/slurm.py"},
    "pystac_client": {"catalogs/search/api.py"},
    "requests": {"catalogs/search/api.py", "catalogs/search/http.py", "catalogs/read/redirects.py"},
    "rustac": {"catalogs/search/geoparquet.py"},
    "stackstac": {"catalogs/lazy_stack.py"},
    "xarray": {
        "catalogs/lazy_stack.py",
        "dsdit/mosaic/datatree.py",
        "dsdit/sampling/scene.py",
        "dsdit/sampling/scene_input.py",
    },
    "cql2": {"catalogs/cql2_filter.py"},
    "antimeridian": {"dsdit/lonlat.py"},
    "prefect": {"flows/tasks.py", "flows/sr_region.py", "flows/serve.py", "flows/alarms.py"},
    "diffusers": {"dsdit/model/autoencoder_files.py", "dsdit/model/sd3_autoencoder.py"},
    "pyarrow": {"dsdit/store/parquet.py"},
}
LAYERS = [
    ["dsdit nouns"],
    ["dsdit.lattice", "dsdit.imaging", "dsdit.store"],
    ["dsdit.plan"],
    ["dsdit.receipts"],
    ["dsdit.mosaic"],
    ["dsdit.model"],
    ["dsdit.sampling"],
    ["dsdit.steps", "dsdit.evaluation"],
    ["dsdit.training"],
    ["catalogs nouns"],
    ["catalogs.search"],
    ["catalogs.read"],
    ["catalogs.measure"],
    ["catalogs.choose"],
    ["catalogs.staging", "catalogs.sample_region", "catalogs tools"],
    ["flows nouns"],
    ["flows.request"],
    ["flows.run"],
    ["flows.clusters"],
    ["flows.plan"],
    ["flows.publish"],
    ["flows tasks"],
    ["flows.cli"],
]
"""From the ground up. A package's own files that are no folder are its nouns, but for those below."""
HIGHER = {
    "catalogs.lazy_stack": "catalogs tools",
    "catalogs.check_source": "catalogs tools",
    "flows.due_jobs": "flows tasks",
    "flows.tasks": "flows tasks",
    "flows.sr_region": "flows tasks",
    "flows.serve": "flows tasks",
}


def sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(path): path for path in sources()}


def imported(path: Path, everywhere: bool = True) -> set[str]:
    """Modules that a file names; `everywhere` False leaves out what only a function or a type checker imports."""
    names: set[str] = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names.update(inner & MODULES.keys())
            if inner - MODULES.keys():
                names.add(node.module)
    return names


def layer(name: str) -> str:
    parts = name.split(".")
    folder = ".".join(parts[:2])
    if (ROOT / Path(*parts[:2])).is_dir() and len(parts) > 1:
        return folder
    return HIGHER.get(folder, f"{parts[0]} nouns")


def test_packages_import_downwards_only() -> None:
    floor = {name: number for number, names in enumerate(LAYERS) for name in names}
    for name, path in MODULES.items():
        if name in PACKAGES:  # a package's door hands on names from inside
            continue
        assert layer(name) in floor, f"{name}: {layer(name)} is in no layer"
        for other in imported(path):
            if other.split(".")[0] in PACKAGES and other not in PACKAGES:
                assert floor[layer(other)] <= floor[layer(name)], f"{name} imports {other}"


def test_no_import_circle() -> None:
    graph = {name: {m for m in imported(path) if m in MODULES} for name, path in MODULES.items()}
    list(TopologicalSorter({name: found - {name} for name, found in graph.items()}).static_order())


def test_heavy_libraries_have_one_owner() -> None:
    for path in sources():
        for name in imported(path):
            owners = OWNERS.get(name.split(".")[0])
            place = path.relative_to(ROOT).as_posix()
            assert owners is None or place in owners, f"{place} imports {name}"


def test_files_have_one_subject() -> None:
    for path in sources():
        assert len(path.read_text().splitlines()) <= 300, path
        assert path.stem not in {"utils", "util", "helpers", "common", "misc"}, path


def test_no_folder_has_more_files_and_packages_than_a_reader_keeps_in_mind() -> None:
    for folder in sorted({path.parent for path in sources()}):
        files = [p for p in folder.glob("*.py") if p.name != "__init__.py"]
        packages = [p for p in folder.iterdir() if (p / "__init__.py").exists()]
        assert len(files) + len(packages) <= (22 if folder == ROOT / "dsdit" else 20), folder


def test_import_dsdit_loads_no_torch() -> None:
    modules = "dsdit, dsdit.plan.plan, dsdit.lattice.layout, dsdit.receipts.receipts"
    code = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
