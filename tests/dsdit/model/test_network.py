"""What the published numbers do not show: shapes that are refused, q/k norm, starting values."""

import pytest
import torch

from dsdit.model import DSDiT, DSDiTConfig

SMALL = DSDiTConfig(depth=1, hidden_size=32, num_heads=2, in_channels=4, pos_embed_max_size=8, qk_norm="rms")


def test_rms_norm_has_the_names_of_sd35():
    names = {k for k in DSDiT(SMALL).state_dict() if ".ln_" in k}
    assert names == {f"joint_blocks.0.{s}_block.attn.ln_{p}.weight" for s in ("x", "lr", "ref") for p in ("q", "k")}


def test_a_new_network_is_silent_and_weighs_evenly():
    x = torch.randn(2, 4, 8, 12)
    velocity, weighting = DSDiT(SMALL)(x, torch.tensor([1000.0, 10.0]), x, x, return_weighting=True)
    assert velocity.shape == x.shape
    assert torch.all(velocity == 0)
    assert torch.all(weighting == 0.5)


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (1, 4, 7, 8), (1, 4, 8, 18)])
def test_inputs_that_do_not_fit_are_refused(shape):
    x = torch.zeros(shape)
    with pytest.raises(ValueError, match=r"wanted|position table"):
        DSDiT(SMALL)(x, torch.ones(1), x, x)


def test_streams_of_different_shapes_are_refused():
    x = torch.zeros(1, 4, 8, 8)
    with pytest.raises(ValueError, match="differ in shape"):
        DSDiT(SMALL)(x, torch.ones(1), x, x[..., :4])


@pytest.mark.parametrize(
    "values",
    [{"depth": 0}, {"num_heads": 3}, {"hidden_size": 30}, {"qk_norm": "layer"}, {"patch_size": 2.0}, {"depth": True}],
)
def test_config_is_validated(values):
    good = {"depth": 1, "hidden_size": 32, "num_heads": 2}
    with pytest.raises(ValueError, match=next(iter(values)) if "hidden_size" not in values else "hidden_size"):
        DSDiTConfig(**{**good, **values})
