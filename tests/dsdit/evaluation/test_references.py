"""References of an evaluation: matched to LR alone, moved for the network, and wrong ones from another place."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dsdit.errors import RequestError
from dsdit.evaluation.case import make_case
from dsdit.evaluation.influence import influence_maps
from dsdit.evaluation.pairs import Scene, matched_pair, read_pairs
from dsdit.evaluation.rows import ROWS, make_rows, nfe_row, other_reference
from dsdit.evaluation.run import evaluate, other_place
from dsdit.imaging.sensor import EVALUATION_MTF, decimate
from dsdit.model.weights import load_weights
from tests.dsdit.evaluation.test_metrics import two_dates, write_pair


def scene(number=0, shape=(192, 128), place="", light=(1.0, 0.0)):
    hr, ref = two_dates(shape, seed=number)
    ref = np.clip(ref * light[0] + light[1], 0, 255).astype(np.uint8)
    return Scene(f"x-{number}", "x", "", hr, ref, place or f"place {number}")


def moments(picture, scale):
    sensed = decimate(picture, scale, EVALUATION_MTF)
    return np.concatenate([sensed.mean((1, 2)), sensed.std((1, 2))])


@pytest.mark.parametrize("scale", [4, 8, 10, 16])
def test_a_reference_has_the_moments_of_lr_at_every_scale(scale):
    """Truth above LR's band limit has no influence."""
    pair = scene(shape=(256, 256), light=(0.7, 30))
    hr, ref = matched_pair(pair, scale)
    side = 256 // scale * scale
    assert hr.shape == ref.shape == (3, side, side)
    assert moments(ref, scale) == pytest.approx(moments(hr, scale), abs=1e-4)


def test_an_image_smaller_than_an_lr_pixel_is_refused():
    hr, ref = two_dates((12, 40))
    with pytest.raises(RequestError, match=r"\(12, 40\).*scale 16"):
        matched_pair(Scene("x-0", "x", "", hr, ref), 16)


@pytest.mark.parametrize("shape", [(192, 128), (96, 64), (256, 256)])
def test_a_wrong_reference_gets_the_radiometry_of_the_pair(shape):
    case, other = make_case(scene(0), 8), scene(1, shape, light=(0.6, 20))
    wrong = other_reference(case, other)
    assert wrong.shape == case.hr.shape
    assert np.abs(moments(wrong, 8) - moments(case.hr, 8)).max() < (0.02 if shape == (192, 128) else 0.1)
    if shape == (96, 64):
        assert np.array_equal(wrong[:, :96, :64], wrong[:, 96:, :64][:, ::-1])


def test_the_wrong_reference_is_from_the_nearest_earlier_other_place():
    scenes = [scene(k, place=place) for k, place in enumerate("abbbca")]
    assert [other_place(scenes, k).id for k in range(6)] == ["x-4", "x-0", "x-0", "x-0", "x-3", "x-4"]
    assert other_place(scenes[1:4], 1) is None


def test_places_are_the_manifests(tmp_path):
    hr, ref = two_dates((64, 64))
    for name in ("x-0", "x-1"):
        write_pair(tmp_path, hr, ref, name=name)
    assert [s.place for s in read_pairs(tmp_path, "val")] == ["x-0", "x-1"]
    (tmp_path / "pairs/manifest.csv").write_text("split,id,place\nval,x-0,town\nval,x-1,town\n")
    assert [s.place for s in read_pairs(tmp_path, "val")] == ["town", "town"]
    made = evaluate(tmp_path, rows=["bicubic", "model_wrong_reference"])
    assert set(made["rows"]) == {"bicubic"}
    assert made["notes"][0] == "model_wrong_reference is left out of 2 pairs: there is no pair of another place"


def test_the_names_of_rows_are_those_that_are_made():
    case, weights = make_case(scene(0), 8), load_weights("dsdit-tiny")
    assert set(make_rows(weights, case, scene(1), [3])) == {*ROWS, nfe_row(3)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": ["modle"]}, "modle.*model_faithful"),
        ({"rows": ["model_nfe4"], "nfe": [2]}, "model_nfe4.*model_nfe2.*--nfe"),
        ({"scale": 1}, "scale is 1.*2 and 16"),
        ({"scale": 17}, "scale is 17"),
    ],
)
def test_unknown_rows_and_scales_are_refused_before_anything_is_read(tmp_path, options, message):
    with pytest.raises(RequestError, match=message):
        evaluate(tmp_path / "nowhere", **options)


class Cubed:
    """A model whose decoder is not linear: a picture is R and the cube of the latent."""

    token_px, device, dtype = 8, torch.device("cpu"), torch.float32

    def __init__(self):
        self.given = []

    def conditions(self, restored, ref, ref_valid, ref_high, scale):
        self.given.append((ref[0], ref_high[0]))

    def latent_shape(self, height, width):
        return 3, height, width

    def denoise(self, z, sigma, conditions, ref_scale):
        return SimpleNamespace(x0=torch.full_like(z, 0.5 + ref_scale), weighting=torch.zeros(1, 16, 16))

    def decode(self, latent, restored):
        return torch.as_tensor(restored) + latent**3


def test_influence_is_a_difference_of_pictures_from_the_moved_reference():
    hr, _ = two_dates()
    case = make_case(Scene("x-0", "x", "", hr, np.roll(hr, 2, axis=2)), 8)
    assert np.abs(case.registered - case.ref).mean() > 0.05
    model = Cubed()
    maps = influence_maps(SimpleNamespace(model=model), case)
    assert maps["guidance"][:128, :128] == pytest.approx(1.5**3 - 0.5**3, abs=1e-5)
    assert np.array_equal(model.given[0][0], case.registered[:, :128, :128])
    assert np.array_equal(model.given[0][1], case.moved_detail[:, :128, :128])
