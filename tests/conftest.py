"""Fixtures that are made once a session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.commands import prefect_home

# Examples are not timed: these machines are shared. CI takes the same ones every time.
settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("untimed")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Prefect's files of this process alone: two processes of tests run side by side.
os.environ["PREFECT_HOME"] = str(prefect_home())
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["DO_NOT_TRACK"] = "1"

SHARED = Path(__file__).parent.parent.parent / "shared"
CORNER = (720000.0, 5322000.0)
"""North-west corner of the sample region in EPSG:32632."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files whose tests take long come first, so that processes that share the files end together."""
    items.sort(key=lambda item: "flows" not in item.path.parts and "faults" not in item.path.parts)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Imagery beside the project; where it lies, no test may do without it."""
    if not (SHARED / "data").is_dir():
        if os.environ.get("DSDIT_REQUIRE_SHARED") == "1":
            pytest.fail(f"DSDIT_REQUIRE_SHARED is set and {SHARED / 'data'} is not a folder")
        pytest.skip("the imagery beside the project is not here")
    return SHARED / "data"


@pytest.fixture(scope="session")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample region, 480 x 640 m (y, x) with 600 m of land around."""
    from catalogs.sample_region import make_sample_region

    folder = tmp_path_factory.mktemp("catalog") / "sample"
    make_sample_region(folder, seed=7, size_m=(480.0, 640.0), margin_m=600.0)
    return folder


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network of random weights."""
    import torch

    from tests.support.running import make_weights

    torch.set_num_threads(1)
    return make_weights(tmp_path_factory.mktemp("weights") / "random")


def box(west_m: float, south_m: float, east_m: float, north_m: float) -> tuple[float, float, float, float]:
    """Bounds in EPSG:32632 of metres east and south of the sample region's north-west corner."""
    x, y = CORNER
    return x + west_m, y - south_m, x + east_m, y - north_m
