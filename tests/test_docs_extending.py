"""The recipes of the page on extending run as they are written."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dsdit.sampling import SOLVERS, sample
from tests.test_docs import ROOT, TEXTS, blocks

PAGE = TEXTS["infra/docs/extending.md"]
RECIPES = ("source", "solver", "sensor", "output layer", "cluster")


def recipe(name: str) -> str:
    """The page's Python that begins with `# name`."""
    (text,) = (block for block in blocks(PAGE, "python") if block.startswith(f"# {name}\n"))
    return text


def run(name: str) -> dict[str, Any]:
    """Names that a recipe has defined."""
    text = recipe(name)
    names: dict[str, Any] = {}
    exec(compile(text, f"extending.md, {name}", "exec"), names)
    return names


def test_there_are_five_short_recipes() -> None:
    parts = dict(zip(PAGE.split("\n## ")[1:], RECIPES, strict=True))
    for text, name in parts.items():
        assert name in text.splitlines()[0].lower()
    assert all(len(block.splitlines()) <= 15 for language in ("python", "yaml") for block in blocks(PAGE, language))


def test_solver_has_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dsdit.sampling.solver.SOLVERS", SOLVERS)
    before = set(SOLVERS)
    try:
        run("solver")
        (name,) = set(SOLVERS) - before

        def error(steps: int) -> float:
            """dx/ds = -x from 1 down to 0.2, whose solution is x(0.2) = e^0.8 x(1)."""
            sigmas = torch.linspace(1, 0.2, steps + 1, dtype=torch.float64)
            ended = sample(lambda x, _: -x, torch.ones(1, dtype=torch.float64), sigmas, name)
            return abs(float(ended) - math.exp(0.8))

        assert math.log2(error(40) / error(80)) == pytest.approx(2, abs=0.1)
    finally:
        for name in set(SOLVERS) - before:
            del SOLVERS[name]


def test_sensor_sees_the_mean() -> None:
    names = run("sensor")
    assert names["lr"].shape == (3, 80, 80)
    assert np.allclose(names["lr"].mean(), names["hr"].mean(), atol=1e-3)


def test_cluster_of_ones_own_takes_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import flows.clusters
    from flows.request.cluster_file import load_cluster
    from flows.request.settings import Compute
    from flows.run.executor import open_executor
    from flows.run.limits_and_hooks import RunLimits

    (tmp_path / "threads.py").write_text(recipe("cluster"))
    (tmp_path / "mine.yaml").write_text("kind: threads\noptions: {threads_per_worker: 1}\n")
    monkeypatch.setattr(flows.clusters, "__path__", [*flows.clusters.__path__, str(tmp_path)])
    compute = Compute(cluster=str(tmp_path / "mine.yaml"), workers=1)
    try:
        with open_executor(load_cluster(compute.cluster), compute) as executor:
            assert dict(executor.map(abs, iter([-2, 3]), RunLimits())) == {-2: 2, 3: 3}
    finally:
        sys.modules.pop("flows.clusters.threads", None)


SMALL = """
import sys
from pathlib import Path
import numpy as np
import dsdit
from catalogs.sample_region import make_sample_region
from dsdit.status import LrState
from tests.flows.test_notebook import publish_small
from tests.support.running import make_weights
folder = Path(sys.argv[1])
make_sample_region(folder / "catalog", seed=7, size_m=(480.0, 640.0), margin_m=600.0)
publish_small(folder / "catalog", make_weights(folder / "weights"), folder / "output")
layer = dsdit.open_mosaic(str(folder / "output"))["lr/lr_state"]
print(dsdit.__file__, layer.dtype, layer.dims, int((layer == LrState.VALID).sum()))
"""


@pytest.mark.short
def test_output_layer_is_written(tmp_path: Path) -> None:
    """The recipe's two edits, in a copy of the packages."""
    copy = tmp_path / "copy"
    for name in ("dsdit", "catalogs", "flows", "infra", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.png", "*.jpg"))
    specs, shard = copy / "dsdit/mosaic/mosaic_arrays.py", copy / "dsdit/steps/shard.py"
    edit(specs, "\nLEVEL_ARRAYS = (", recipe("output layer") + "\nLEVEL_ARRAYS = (")
    edit(specs, "\nLR_ARRAYS = (", "\nLR_ARRAYS = (LR_STATE, ")
    edit(shard, "    LR_ITEM,\n", "    LR_ITEM,\n    LR_STATE,\n")
    entry = recipe("values of the output layer").splitlines()[1].strip("{}")
    edit(shard, "values: dict[str, NDArray[Any]] = {\n", f"values: dict[str, NDArray[Any]] = {{\n        {entry},\n")
    command = [sys.executable, "-c", SMALL, str(tmp_path)]
    done = subprocess.run(
        command, cwd=copy, env={**os.environ, "PYTHONPATH": str(copy)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    place, *shown, count = done.stdout.splitlines()[-1].split(" ")
    assert Path(place).is_relative_to(copy)
    assert " ".join(shown) == "uint8 ('y', 'x')"
    assert int(count) > 32 * 40 * 0.5


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, (path.name, old)
    path.write_text(text.replace(old, new))
