"""The wrapper around DSDiT: streams, gate, and that one step does not depend on the noise."""

import numpy as np
import pytest
import torch

from dsdit.model import Conditions, DSDiT, DSDiTConfig, PixelCodec, TinyModel
from dsdit.sampling import guided, sample, spaced_sigmas


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    network = DSDiT(
        DSDiTConfig(depth=2, hidden_size=32, num_heads=2, in_channels=73, pos_embed_max_size=8, qk_norm="rms")
    )
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return TinyModel(network.eval().requires_grad_(False))


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return [rng.normal(0, 0.3, (2, 3, 16, 24)).astype(np.float32) for _ in range(3)]


def conditions(model, pictures, valid=None, scale=8):
    restored, ref, high = pictures
    valid = np.ones((2, 16, 24), bool) if valid is None else valid
    return model.conditions(restored, ref, valid, high, scale)


@pytest.mark.parametrize("lap_px", [0, 8])
def test_codec_is_a_rotation(lap_px):
    image = torch.randn(2, 3, 16, 24)
    codec = PixelCodec(lap_px=lap_px)
    latent = codec.encode_detail(image)
    assert latent.shape == codec.encode(image).shape == (2, codec.channels, 4, 6)
    assert torch.allclose(codec.decode_detail(latent), image, atol=1e-6)
    assert torch.allclose(latent.square().sum(), image.square().sum(), rtol=1e-5)
    assert torch.equal(latent, codec.encode(image)) == (lap_px == 0)


def test_what_a_token_draws_fades_into_its_neighbours():
    """A whole token of one colour: lapped, its largest step falls from 1 to what a sine window of 8 px has."""
    latent = torch.zeros(1, 48, 8, 8)
    latent[:, :, 2:4, 2:4] = 1
    steps = {}
    for lap_px in (0, 8):
        picture = PixelCodec(lap_px=lap_px).decode_detail(latent)[0, 0]
        steps[lap_px] = float(picture[12].diff().abs()[11:].max())
    assert steps[0] == 1
    assert steps[8] < 0.25


def test_lapping_leaves_the_edges_of_a_tile_alone():
    image = torch.randn(1, 3, 32, 32)
    unlapped, lapped = (torch.nn.functional.pixel_shuffle(PixelCodec(lap_px=n).encode_detail(image), 4) for n in (0, 8))
    assert torch.equal(unlapped[..., :4, :4], lapped[..., :4, :4])


def test_decode_undoes_encode(model, pictures):
    restored, hr, _ = pictures
    assert np.allclose(model.decode(model.encode(hr, restored), restored).numpy(), hr, atol=1e-6)


def test_streams_hold_what_is_documented(model, pictures):
    valid = np.ones((2, 16, 24), bool)
    valid[:, :, :10] = False
    given = conditions(model, [pictures[0], np.where(valid[:, None], pictures[1], np.nan), pictures[2]], valid, 16)
    assert torch.all(given.lr[:, 48] == 1.0)
    assert given.ref[0, 48, 0].tolist() == [0, 0, 0.5, 1, 1, 1]
    assert torch.isfinite(given.ref).all()
    assert torch.all(given.ref[:, :, :, :1] == 0) and torch.all(given.ref_high_band[..., :10] == 0)
    missing = conditions(model, pictures, np.zeros((2, 16, 24), bool))
    expected = conditions(model, pictures).without_reference()
    assert torch.equal(missing.ref, expected.ref) and torch.equal(missing.ref_high_band, expected.ref_high_band)


def kernel_of(model, row, col, value=1.0):
    """(1, 25, 4, 6) kernels whose only tap is (row, col) off the centre."""
    taps = torch.zeros(1, model.kernel_px**2, 4, 6)
    taps[:, (row + 2) * model.kernel_px + col + 2] = value
    return taps


@pytest.mark.parametrize(("row", "col"), [(0, 0), (1, 0), (0, -2), (-1, 2)])
def test_a_kernel_of_one_tap_moves_the_high_band(model, row, col):
    high = torch.randn(1, 3, 16, 24)
    taken = model.codec.decode_detail(model._taken(kernel_of(model, row, col, 0.5), high))
    inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    expected = torch.roll(high, (-row, -col), (2, 3)) / 2
    assert torch.allclose(taken[inner], expected[inner], atol=1e-6)


def test_kernels_fade_between_latent_pixels(model):
    """Two halves with different gains: bilinear between their centres, so that no line shows where they meet."""
    taps = kernel_of(model, 0, 0)
    taps[..., 3:] *= 3
    taken = model.codec.decode_detail(model._taken(taps, torch.ones(1, 3, 16, 24)))[0, 0, 8]
    assert taken[9:15].tolist() == pytest.approx([1.0, 1.25, 1.75, 2.25, 2.75, 3.0], abs=1e-5)


def test_one_step_is_the_mean_whatever_the_noise(model, pictures):
    given = conditions(model, pictures)
    velocity = guided(lambda z, s, ref_scale: (z - model.denoise(z, s, given, ref_scale).x0) / s, 1.0)
    shape = (2, *model.latent_shape(16, 24))
    one, other = (sample(velocity, torch.randn(shape), spaced_sigmas(1)) for _ in range(2))
    mean = model.denoise(torch.zeros(shape), 1.0, given).x0
    assert torch.allclose(one, mean, atol=1e-5) and torch.allclose(other, mean, atol=1e-5)


def test_clean_latent_passes_at_small_sigma(model, pictures):
    given = conditions(model, pictures)
    z = torch.randn(2, *model.latent_shape(16, 24))
    assert torch.allclose(model.denoise(z, 1e-4, given).x0, z, atol=1e-2)


def test_ref_scale_scales_the_gate_per_sample(model, pictures):
    given = conditions(model, pictures)
    z = torch.randn(2, *model.latent_shape(16, 24))
    both = model.denoise(z, 0.8, given, torch.tensor([1.0, 0.0]))
    assert torch.all(both.gate[1] == 0) and torch.all(both.gate[0] > 0)
    assert torch.allclose(both.x0[1], model.denoise(z, 0.8, given, 0.0).x0[1], atol=1e-5)
    assert both.gate.shape == (2, 4, 6) and both.weighting.shape == (2, 2, 3)


def test_tiles_off_the_token_grid_are_refused(model):
    with pytest.raises(ValueError, match="multiple of 8 px"):
        model.latent_shape(16, 20)


def test_batch_neighbours_and_order_change_no_bit(model):
    rng = np.random.default_rng(1)
    given = model.conditions(
        *(rng.normal(0, 0.3, s).astype(np.float32) for s in [(6, 3, 16, 24)] * 2),
        np.ones((6, 16, 24), bool),
        rng.normal(0, 0.3, (6, 3, 16, 24)).astype(np.float32),
        8,
    )
    z = torch.randn(6, *model.latent_shape(16, 24))
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    shuffled = Conditions(given.lr[order], given.ref[order], given.ref_high_band[order])
    assert torch.equal(model.denoise(z, 1.0, given).x0[order], model.denoise(z[order], 1.0, shuffled).x0)
