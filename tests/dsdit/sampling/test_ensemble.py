"""Forms undo themselves, and an ensemble of all is the same from every side."""

import numpy as np
import pytest

from dsdit.model.weights import load_weights
from dsdit.plan.sampler_settings import SamplerDefaults
from dsdit.sampling.ensemble import COUNTS, FORMS, averaged
from dsdit.sampling.picture import super_resolve


def picture(height, width, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (3, height, width)).astype(np.float32)


def test_the_eight_forms_differ_and_undo_themselves():
    values = picture(16, 16)
    oriented = [form.apply(values) for form in FORMS]
    assert len({each.tobytes() for each in oriented}) == 8
    for form, each in zip(FORMS, oriented, strict=True):
        assert np.array_equal(form.put_back(each), values)


@pytest.mark.parametrize("count", COUNTS)
def test_the_mean_over_the_forms_of_what_depends_on_the_side(count):
    """A ramp oriented over every form averages to the constant between its ends as soon as its mirror is among them."""
    ramp = np.broadcast_to(np.linspace(-1, 1, 8, dtype=np.float32), (1, 8, 8))
    mean, same = averaged(count, lambda form: (ramp, form.apply(ramp)))
    assert np.allclose(mean, ramp if count == 1 else 0, atol=1e-7)
    assert np.allclose(same, ramp, atol=1e-7)


def test_other_counts_are_refused():
    with pytest.raises(ValueError, match="3 forms"):
        averaged(3, lambda form: (picture(8, 8), picture(8, 8)))


def test_a_mirrored_scene_gives_the_mirrored_picture():
    """With the mirrors among the forms; with one form the network takes sides."""
    weights = load_weights("dsdit-tiny")
    lr, ref = picture(16, 16), picture(128, 128, 1)

    def difference(count):
        settings = SamplerDefaults(ensemble=count)
        one = super_resolve(weights, lr, 8, ref, settings)
        other = super_resolve(weights, lr[..., ::-1].copy(), 8, ref[..., ::-1].copy(), settings)[..., ::-1]
        return float(np.abs(one - other).max())

    assert difference(1) > 1e-2
    assert difference(4) < 1e-4
