"""The published schedule and solver, reached from settings: sampler, plan, request and evaluation."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dsdit.errors import RequestError
from dsdit.evaluation.case import make_case
from dsdit.evaluation.pairs import Scene
from dsdit.evaluation.rows import make_rows
from dsdit.evaluation.run import evaluate
from dsdit.model.header import read_config
from dsdit.model.weights import load_weights
from dsdit.plan.sampler_settings import SamplerDefaults, SamplerSettings
from dsdit.sampling import published_sigmas, sample
from dsdit.sampling.passes import network_passes
from dsdit.sampling.sampler import TileSampler
from dsdit.sampling.tile_batch import TileBatch
from flows.plan.make_plan import describe_settings, sampler_settings
from flows.request.request import make_request
from tests.support.running import make_weights, sample_record
from tests.support.shards import plan_of

PUBLISHED = {"schedule": "published", "solver": "published_dpmpp_2m", "steps": 5}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return make_weights(tmp_path_factory.mktemp("weights") / "random")


@torch.inference_mode()
def test_a_run_is_the_published_functions(weights):
    loaded = load_weights(weights)
    rng = np.random.default_rng(0)
    restored, ref, high = rng.uniform(-0.5, 0.5, (3, 2, 3, 32, 48)).astype(np.float32)
    valid = np.ones((2, 32, 48), bool)
    noise = rng.standard_normal((2, *loaded.model.latent_shape(32, 48))).astype(np.float32)
    batch = TileBatch(restored, ref, valid, high, noise, 8)
    settings = SamplerSettings(**PUBLISHED, batch=2)
    sampler = TileSampler(loaded, settings)
    drawn, _ = sampler(batch)
    conditions = loaded.model.conditions(restored, ref, valid, high, 8)
    levels = published_sigmas(5)
    latent = sample(
        lambda z, s: (z - loaded.model.denoise(z, s, conditions).x0) / s,
        torch.from_numpy(noise),
        levels,
        "published_dpmpp_2m",
    )
    assert np.allclose(drawn, loaded.model.decode(latent, restored).numpy(), rtol=0, atol=1e-5)
    assert sampler.calls == sampler.passes == network_passes(settings) == 5
    spaced, _ = TileSampler(loaded, replace(settings, schedule="spaced"))(batch)
    assert np.abs(drawn - spaced).max() > 1e-3


def test_the_published_schedule_has_no_truncated_start():
    with pytest.raises(ValueError, match=r"start_sigma is 0\.5.*spaced"):
        SamplerDefaults(schedule="published", start_sigma=0.5)
    with pytest.raises(ValueError, match=r"even.*published"):
        SamplerDefaults(schedule="even")


def test_a_request_reaches_both(weights, tmp_path):
    record = sample_record(tmp_path, weights, tmp_path / "out", (0, 0, 640, 640), sampling=PUBLISHED)
    made = sampler_settings(make_request(record), read_config(weights))
    assert {name: getattr(made, name) for name in PUBLISHED} == PUBLISHED
    with pytest.raises(RequestError, match="schedule"):
        make_request({**record, "sampling": {"schedule": "even"}})
    truncated = make_request({**record, "sampling": {**PUBLISHED, "start_sigma": 0.5}})
    with pytest.raises(RequestError, match=r"sampling: start_sigma is 0\.5"):
        sampler_settings(truncated, read_config(weights))


@pytest.mark.parametrize("chosen", ["default", "faithful"])
def test_both_settings_are_listed_the_chosen_one_first(tmp_path, chosen):
    record = sample_record(tmp_path, Path("dsdit-tiny"), tmp_path / "out", (0, 0, 640, 640))
    request = make_request({**record, "sampling": {"setting": chosen, "schedule": "published"}})
    config = load_weights("dsdit-tiny").config
    lines = describe_settings(request, config)
    other = {"default": "faithful", "faithful": "default"}[chosen]
    assert [line.partition(":")[0] for line in lines] == [chosen, other]
    for line in lines:
        own = config.faithful if line.startswith("faithful") else config.sampler
        assert f"steps {own.steps} (published), guidance {own.guidance_scale:g}, ensemble {own.ensemble}" in line
    assert lines[0].partition(":")[2] != lines[1].partition(":")[2]


def test_the_schedule_counts_in_digests_where_it_is_not_spaced():
    """Plans made before there was a choice have no schedule; what they did is not due again."""
    plan = plan_of()
    before = {name: value for name, value in asdict(plan.sampler).items() if name != "schedule"}
    assert plan.sampler.digested == before and SamplerSettings.from_dict(before) == plan.sampler
    other = replace(plan, sampler=replace(plan.sampler, schedule="published"))
    assert other.settings_digest != plan.settings_digest


def test_an_evaluation_reaches_both(monkeypatch, tmp_path, weights):
    drawn = []

    def draw(weights, lr, scale, ref, settings):
        drawn.append(settings)
        return np.zeros((3, 64, 64), np.float32)

    monkeypatch.setattr("dsdit.evaluation.rows.super_resolve", draw)
    pixels = np.random.default_rng(0).integers(0, 255, (3, 64, 64)).astype(np.uint8)
    loaded, case = load_weights("dsdit-tiny"), make_case(Scene("a", "a", "", pixels, pixels), 8)
    settings_of = {}
    for name, make in make_rows(loaded, case, None, [2], PUBLISHED).items():
        drawn.append(None)
        make()
        settings_of[name] = drawn[-1]
    assert settings_of["model"] == replace(loaded.config.sampler, **PUBLISHED)
    assert settings_of["model_faithful"] == replace(loaded.config.faithful, **PUBLISHED)
    assert settings_of["model_nfe2"] == replace(loaded.config.faithful, **{**PUBLISHED, "steps": 2})
    for options, message in (({"solver": "rk4"}, "rk4.*heun"), ({"schedule": "even"}, "even")):
        with pytest.raises(RequestError, match=message):
            evaluate(tmp_path, weights, sampling=options)
