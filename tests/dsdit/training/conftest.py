"""A tiny data folder in the layout of the real one: smooth random pictures, two dates and single ones."""

import csv

import numpy as np
import pytest

from tests.dsdit.training.tiny import picture, write

CLEAR = "clear"


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """DIR with pairs/ (train and val; one research pair) and single/."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    pairs, singles = [], []
    (root / "pairs").mkdir()
    (root / "single").mkdir()
    kinds = [
        ("train", "naipca-0", CLEAR),
        ("train", "naipca-1", CLEAR),
        ("train", "levir-0", "research"),
        ("val", "naipca-2", CLEAR),
        ("val", "szt-0", "research"),
    ]
    for split, name, licence in kinds:
        b = picture(rng, 144, 160)
        a = np.clip(b * 0.8 + 20 + rng.normal(0, 3, b.shape), 0, 255)
        write(root / "pairs" / f"A_{name}.jpg", a)
        write(root / "pairs" / f"B_{name}.jpg", b)
        pairs.append({"split": split, "id": name, "a": f"A_{name}.jpg", "b": f"B_{name}.jpg", "licence_class": licence})
    for name in ("uav-0", "uav-1"):
        write(root / "single" / f"{name}.jpg", picture(rng, 160, 136))
        singles.append({"split": "train", "id": name, "file": f"{name}.jpg", "licence_class": CLEAR})
    for folder, rows in (("pairs", pairs), ("single", singles)):
        with (root / folder / "manifest.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    return root
