"""The settings of a run: what is valid, and what is refused with a sentence."""

from pathlib import Path

import pytest
import yaml

from dsdit.errors import RequestError
from dsdit.model.header import SHIPPED, read_config
from dsdit.training import read_training_config
from dsdit.training.building import weights_config
from tests.dsdit.training.tiny import SETTINGS


def test_the_shipped_recipe_is_valid():
    root = Path(__file__).parents[3]
    config = read_training_config(root / "infra" / "training" / "dsdit-tiny.yaml")
    shipped = read_config(SHIPPED / "dsdit-tiny")
    assert weights_config(config) == shipped and config.steps is not None
    assert read_training_config(root / "infra" / "training" / "dsdit-tiny.yaml", minutes=2).minutes == 2


@pytest.mark.parametrize(
    ("change", "word"), [({"surprise": 1}, "surprise"), ({"minutes": 5}, "exactly one"), ({"batch": 0}, "batch")]
)
def test_settings_are_checked(tmp_path, change, word):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({**SETTINGS, **change}))
    with pytest.raises(RequestError, match=word):
        read_training_config(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"scales": {3: 1}}, "greater than or equal to 4"),
        ({"scales": {17: 1}}, "less than or equal to 16"),
        ({"scales": {8.5: 1}}, "integer"),
        ({"scales": {8: 0}}, "above 0"),
        ({"scales": {8: -1}}, "greater than or equal to 0"),
        ({"scales": {15: 1}}, "240 px, 30 tokens: pos_embed_max_size is 20"),
        ({"clouds": 1.5}, "less than or equal to 1"),
        ({"fog": 0.1}, "fog"),
    ],
)
def test_data_settings_are_checked(tmp_path, data, message):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({**SETTINGS, "data": {**SETTINGS["data"], **data}}))
    with pytest.raises(RequestError, match=message):
        read_training_config(tmp_path / "c.yaml")
