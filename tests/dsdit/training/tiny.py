"""The smallest run, a network of one block and four steps, and pictures for it."""

import numpy as np
from PIL import Image

from dsdit.evaluation.pairs import Scene
from dsdit.imaging.sensor import upsample
from dsdit.training.config import DataConfig

SETTINGS = {
    "network": {"depth": 1, "hidden_size": 32, "num_heads": 1, "pos_embed_max_size": 20},
    "data": {"origins": {"naipca": 1.0}, "scales": {8: 1.0}},
    "batch": 2,
    "steps": 4,
    "autocast": False,
}


def picture(rng, height, width):
    coarse = upsample(rng.uniform(40, 215, (3, height // 8, width // 8)).astype(np.float32), 8)
    fine = coarse + upsample(rng.normal(0, 25, (3, height // 2, width // 2)).astype(np.float32), 2)
    return np.clip(fine, 0, 255)


def write(path, values):
    Image.fromarray(values.astype(np.uint8).transpose(1, 2, 0)).save(path, quality=95)


def pair(rng, name, height=144, width=160):
    """Two dates that agree: B, and A darker with a little noise."""
    b = picture(rng, height, width)
    return Scene(name, name.split("-")[0], "clear", b.astype(np.uint8), (b * 0.8 + 20).astype(np.uint8))


def mild(**hard):
    """Settings under which a reference is what it is, but for `hard`; scale 8."""
    kind = dict.fromkeys(("wrong_reference", "jitter", "blur", "clouds", "missing_reference", "darkened"), 0.0)
    return DataConfig(**{"origins": {"naipca": 1.0}, "scales": {8: 1.0}, **kind, **hard})
