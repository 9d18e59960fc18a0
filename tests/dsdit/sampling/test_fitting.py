"""A batch that memory does not hold is refused before the run, in a process whose memory really is bounded."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.commands import ROOT, call, environment

TRY = """
import resource, sys
from dataclasses import replace
import torch
from dsdit.errors import RequestError
from dsdit.model.weights import load_weights
from dsdit.plan.sampler_settings import SamplerSettings
from dsdit.sampling.fitting import check_batch_fits
from dsdit.sampling.sampler import TileSampler
torch.set_num_threads(1)
weights = load_weights(sys.argv[1], "cpu", torch.float32)
sampler = TileSampler(weights, SamplerSettings(batch=2))
check_batch_fits(sampler, 128, 8)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 600_000_000,) * 2)
check_batch_fits(sampler, 128, 8)
for batch in (1000, 100_000):
    try:
        check_batch_fits(TileSampler(weights, replace(sampler.settings, batch=batch)), 128, 8)
    except RequestError as error:
        print(error)
print("calls", sampler.calls)
"""


def test_a_batch_that_fits_is_tried_and_one_that_does_not_is_refused(weights: Path, tmp_path: Path) -> None:
    done = call([sys.executable, "-c", TRY, str(weights)], {**environment(tmp_path), "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    *refused, calls = done.stdout.splitlines()
    assert [line.partition(" tiles")[0] for line in refused] == ["sampling.batch: 1000", "sampling.batch: 100000"]
    for line in refused:
        assert "of 128 px a network call do not fit the memory of cpu (" in line and "give a smaller one" in line
    assert calls == "calls 0"
