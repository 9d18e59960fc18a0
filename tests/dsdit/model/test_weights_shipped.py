"""The weights that ship: small enough, licensed, and with every way into the picture opened by training."""

import pytest
import torch

from dsdit.model.header import SHIPPED
from dsdit.model.weights import load_weights

NAMES = sorted(path.name for path in SHIPPED.iterdir() if path.is_dir())


@pytest.mark.parametrize("name", NAMES)
def test_every_zero_projection_has_left_zero(name):
    """Patch-level weighting begins with a projection of zeros: a block where it stays ignores the reference."""
    state = load_weights(name).model.network.state_dict()
    projections = {key: value for key, value in state.items() if ".zero_proj.weight" in key}
    assert projections
    for key, value in projections.items():
        assert torch.isfinite(value).all() and value.square().mean().sqrt() > 1e-3, key


@pytest.mark.parametrize("name", NAMES)
def test_size_and_papers(name):
    size = sum(path.stat().st_size for path in (SHIPPED / name).iterdir())
    assert size <= 30e6
    config = load_weights(name).config
    assert config.licence and config.training_data
    assert (SHIPPED / name / "README.md").is_file()
