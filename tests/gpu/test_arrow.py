"""A region on `cluster: cuda` with `device: cuda`, from its catalog to its mosaic, without Prefect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.request.cluster_file import load_cluster
from flows.request.request import make_request
from flows.run.workers import try_batch_on
from tests.support.clustered import digest_of, open_client, run_on
from tests.support.equator import equator_record
from tests.support.kept import AROUND_ZERO, equator_catalog
from tests.support.running import prepare, run_here

pytestmark = pytest.mark.gpu


def taken_bytes() -> int:
    """Most memory of the GPU that the tensors of this process took."""
    import torch

    return torch.cuda.max_memory_allocated()


def test_a_region_twice_from_scratch(
    device: str, weights: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    catalog = equator_catalog(tmp_path_factory.getbasetemp())

    def record(name: str, device: str) -> dict[str, Any]:
        model = {"weights": str(weights), "device": device}
        compute = {"cluster": "cuda"} if device == "cuda" else {"workers": 1}
        return equator_record(catalog, weights, tmp_path / name, AROUND_ZERO, model=model, compute=compute)

    one = record("one", device)
    compute = make_request(one).compute
    with open_client(compute) as client:
        try_batch_on(client, prepare(one)[2], needs=getattr(load_cluster(compute.cluster), "needs", None))
        first, second = run_on(one, client=client), run_on(record("two", device), client=client)
        assert device != "cuda" or max(client.run(taken_bytes).values()) > 0
    for ran in (first, second):
        assert ran.report.tiles == {"planned": 16, "done": 16}
    assert digest_of(first) == digest_of(second)
    on_cpu = run_here(record("cpu", "cpu"))
    assert first.pixels(name="status").tobytes() == on_cpu.pixels(name="status").tobytes()
    steps = np.abs(first.pixels().astype(np.int64) - on_cpu.pixels().astype(np.int64))
    assert steps.mean() < 0.05 and steps.max() <= 2, f"stored steps from the CPU: {steps.mean():.3g}, {steps.max()}"
