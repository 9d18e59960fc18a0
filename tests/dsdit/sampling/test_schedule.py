"""Noise levels: ends, order, and refusals."""

import pytest
import torch

from dsdit.sampling import published_sigmas, spaced_sigmas


@pytest.mark.parametrize("schedule", [published_sigmas, spaced_sigmas])
@pytest.mark.parametrize("steps", [1, 2, 5, 40])
def test_from_one_down_to_zero(schedule, steps):
    sigmas = schedule(steps)
    assert sigmas.shape == (steps + 1,) and sigmas.dtype == torch.float32
    assert sigmas[0] == 1 and sigmas[-1] == 0
    assert torch.all(sigmas[1:] < sigmas[:-1])


def test_one_step_is_from_noise_to_picture():
    assert published_sigmas(1).tolist() == spaced_sigmas(1).tolist() == [1.0, 0.0]


def test_spaced_applies_the_shift_once():
    assert spaced_sigmas(2).tolist() == [1.0, 0.75, 0.0]


@pytest.mark.parametrize("schedule", [published_sigmas, spaced_sigmas])
def test_impossible_schedules_are_refused(schedule):
    with pytest.raises(ValueError, match="steps"):
        schedule(0)
    with pytest.raises(ValueError, match="shift"):
        schedule(3, shift=0.0)


@pytest.mark.parametrize("start", [0.2, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("steps", [1, 4])
def test_a_truncated_start_begins_at_its_sigma(start, steps):
    sigmas = spaced_sigmas(steps, start=start)
    assert float(sigmas[0]) == pytest.approx(start) and sigmas[-1] == 0
    assert torch.all(sigmas[1:] < sigmas[:-1])
    u = sigmas.double() / (3 - 2 * sigmas.double())
    assert torch.allclose(u.diff(), u.diff()[:1].expand(steps), atol=1e-6)


@pytest.mark.parametrize("start", [0.0, 1.1, -0.5])
def test_impossible_starts_are_refused(start):
    with pytest.raises(ValueError, match="start"):
        spaced_sigmas(2, start=start)


def test_levels_are_those_of_torchs_linspace_bit_for_bit():
    """The schedules were first written in torch; mosaics must not change."""

    def shifted(u):
        return 3.0 * u / (1 + 2.0 * u)

    trained = shifted(torch.arange(1, 1001, dtype=torch.float64) / 1000)
    for steps in (*range(1, 70), 999, 1000):
        times = torch.linspace(float(trained[-1]), float(trained[0]), steps, dtype=torch.float64)
        assert torch.equal(published_sigmas(steps)[:-1], shifted(times).float())
        for start in (1.0, 0.37):
            times = torch.linspace(start / (3 - 2 * start), 0, steps + 1, dtype=torch.float64)
            assert torch.equal(spaced_sigmas(steps, start=start)[1:], shifted(times).float()[1:])
