"""The recipes of the page on extending run as they are written."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from dsdit.sampling import SOLVERS, sample
from tests.test_docs import TEXTS, blocks

PAGE = TEXTS["infra/docs/extending.md"]
RECIPES = ("source", "solver", "sensor", "output layer", "cluster")


def run(name: str) -> dict[str, Any]:
    """Names that the page's Python has defined, of the block that begins with `# name`."""
    (text,) = (block for block in blocks(PAGE, "python") if block.startswith(f"# {name}\n"))
    assert len(text.splitlines()) <= 15
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


def test_cluster_of_ones_own_takes_work() -> None:
    from distributed import Client

    with run("cluster")["start"](1) as cluster, Client(cluster.scheduler_address) as client:
        assert client.submit(sum, [1, 2, 3]).result(timeout=60) == 6
