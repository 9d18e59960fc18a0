"""The page own-files: its Python, sources, request and commands lead from two GeoTIFFs to a mosaic."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.transform import from_origin
from scipy.ndimage import gaussian_filter

from dsdit.imaging.sensor import EVALUATION_MTF, decimate
from tests.support.commands import DSDIT, environment, prefect_home
from tests.test_docs import TEXTS, blocks

PAGE = TEXTS["infra/docs/own-files.md"]
WEST, NORTH = 485_800.0, 5_207_680.0
SIDE_PX, SCALE = 384, 8
"""1,920 m at 5 m: 400 m more than the page's region on the west and north, 240 m on the other sides."""
pytestmark = pytest.mark.short


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two GeoTIFFs, 8 bit, and the three YAML files of the page, below the names that it gives them."""
    place = tmp_path_factory.mktemp("own")
    (place / "files").mkdir()
    random = np.random.default_rng(3)
    fine = np.stack([gaussian_filter(random.normal(size=(SIDE_PX, SIDE_PX)), 2) for _ in range(3)])
    fine = np.clip(110 + 120 * fine, 1, 255)
    coarse = fine.reshape(3, SIDE_PX // SCALE, SCALE, -1, SCALE).mean((2, 4))
    for name, values, gsd_m in (("scene", coarse, 5 * SCALE), ("reference", fine, 5)):
        _, rows, cols = values.shape
        profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "height": rows, "width": cols, "crs": "EPSG:26914"}
        transform = from_origin(WEST, NORTH, gsd_m, gsd_m)
        with rasterio.open(place / "files" / f"{name}.tif", "w", transform=transform, **profile) as file:
            file.write(values.round().astype("uint8"))
    named = re.findall(r"`([\w-]+\.yaml)`[^\n]*\n(?:[^`]|`(?!``))*?```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in named] == ["my-scenes.yaml", "my-references.yaml", "REGION.yaml"]
    for name, text in named:
        (place / name).write_text(text)
    return place


def test_page_leads_from_two_files_to_a_mosaic(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = blocks(PAGE, "python")
    assert len([line for line in text.splitlines() if line.strip()]) <= 15
    monkeypatch.chdir(folder)
    exec(compile(text, "own-files.md", "exec"), {})  # its names in a place of their own
    (commands,) = (block for block in blocks(PAGE, "sh") if block.startswith("dsdit sources check"))
    quick = ["--set", "sampling.ensemble=1", "--set", "sampling.guidance_scale=1", "--set", "compute.cluster=serial"]
    shown = ""
    for command in map(shlex.split, commands.splitlines()):
        arguments = command[1:] + (quick if command[1] in ("plan", "run") else [])
        done = subprocess.run(
            [*DSDIT, *arguments],
            env=environment(prefect_home()),
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        shown += done.stdout
    assert "my-scenes: public domain" in shown and "100% valid" in shown
    mosaic = Path(shown.splitlines()[-1])
    assert mosaic.absolute() == folder / "output" / "mine" / "mosaic.zarr"
    tree = xr.open_datatree(mosaic, engine="zarr", consolidated=False, chunks={})
    inside = {"x": slice(486_200, 487_480), "y": slice(5_207_280, 5_206_000)}
    assert (tree["0/status"].sel(inside) == 1).all()  # done, with a reference
    sr, lr = (tree[name].astype("float32").sel(inside) for name in ("0/sr", "lr/lr"))
    assert sr.shape == (3, 256, 256)
    inner = (slice(None), slice(4, -4), slice(4, -4))  # A sees no neighbours beyond the cut
    seen = decimate(sr.values, SCALE, EVALUATION_MTF)
    assert np.abs(seen - lr.values)[inner].mean() < 0.001
