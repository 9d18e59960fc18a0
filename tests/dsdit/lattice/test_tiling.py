"""The lattices: every pixel of a region has its tiles, and no job reads beyond its 3 x 3 neighbours."""

from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsdit.errors import RequestError
from dsdit.grid import Grid
from dsdit.imaging.sensor import EVALUATION_MTF, reach_px
from dsdit.lattice.layout import Layout
from dsdit.lattice.tiling import Lattice, default_shard, default_tile
from dsdit.region import Region
from dsdit.window import Index, Window


def lattice(scale: int = 8, token: int = 8, chunks: int = 1, strides: int | None = None) -> Lattice:
    tile, overlap = default_tile(token, scale)
    halo = reach_px(scale, EVALUATION_MTF)
    chunk, needed = default_shard(tile, overlap, halo, 0)
    return Lattice(scale, token, tile, overlap, strides or chunk, chunks * needed, halo)


@pytest.mark.parametrize(
    ("token", "scale", "tile", "stride"),
    [(16, 8, 512, 384), (16, 16, 512, 384), (16, 10, 480, 400), (8, 8, 128, 96), (8, 10, 160, 120)],
)
def test_sizes_of_the_published_lattices(token: int, scale: int, tile: int, stride: int) -> None:
    assert default_tile(token, scale) == (tile, tile - stride)


windows = st.builds(
    lambda r, c, h, w: Window(r, c, r + h, c + w),
    st.integers(-5000, 5000),
    st.integers(-5000, 5000),
    st.integers(1, 1500),
    st.integers(1, 900),
)


@given(windows, st.sampled_from([4, 8, 10, 16]))
def test_tiles_touching_is_exact(window: Window, scale: int) -> None:
    lat = lattice(scale)
    touching = lat.tiles_touching(window)
    for tile in touching.expand(1).indices():
        touches = not lat.tile_window(tile).intersect(window).empty
        assert touches == (tile in touching)


@settings(max_examples=30, deadline=None)
@given(windows, st.sampled_from([8, 10]), st.integers(1, 2))
def test_no_job_reads_beyond_its_neighbours(window: Window, scale: int, chunks: int) -> None:
    grid = Grid("EPSG:3857", 1.25, scale)
    layout = Layout(Region.from_bounds("r", grid, grid.bounds_of(window, 1.25)), lattice(scale, chunks=chunks))
    assert layout.region.window == window
    sampled = {tile for job in layout.sample_jobs for tile in layout.sample_tiles(job)}
    for job in layout.mosaic_jobs:
        near = set(job.neighbours())
        assert set(layout.stages_of_mosaic(job).indices()) <= near & set(layout.stage_jobs)
        assert set(layout.samples_of_mosaic(job)) <= near & set(layout.sample_jobs)
        reach = layout.clip(job).expand(layout.lattice.halo_px)
        assert set(layout.lattice.tiles_touching(reach).indices()) <= set(layout.tiles_of_mosaic(job)) <= sampled
    for job in layout.sample_jobs:
        assert set(layout.stages_of_sample(job).indices()) <= set(job.neighbours()) & set(layout.stage_jobs)
        tiles = [layout.lattice.tile_window(tile) for tile in layout.sample_tiles(job)]
        assert layout.sample_context(job) == reduce(Window.union, tiles).expand(2 * layout.lattice.halo_px)
        for tile in layout.sample_tiles(job):
            assert layout.lattice.owner(tile) == job


@settings(max_examples=30, deadline=None)
@given(windows)
def test_shards_cover_the_region_once(window: Window) -> None:
    grid = Grid("EPSG:3857", 1.25, 8)
    layout = Layout(Region.from_bounds("r", grid, grid.bounds_of(window, 1.25)), lattice())
    area = 0
    for job in layout.mosaic_jobs:
        height, width = layout.clip(job).shape
        area += height * width
    assert area == window.shape[0] * window.shape[1]


def test_a_part_needs_a_part_of_the_tiles() -> None:
    grid = Grid("EPSG:3857", 1.25, 8)
    whole = Layout(Region.from_bounds("a", grid, grid.bounds_of(Window(-700, -300, 800, 500), 1.25)), lattice())
    part = Layout(Region.from_bounds("b", grid, grid.bounds_of(Window(-33, 17, 240, 191), 1.25)), lattice())
    tiles = {t for j in whole.sample_jobs for t in whole.sample_tiles(j)}
    assert {t for j in part.sample_jobs for t in part.sample_tiles(j)} < tiles


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tile_px": 100}, "multiple of 8"),
        ({"overlap_px": 0}, "multiple of 8"),
        ({"overlap_px": 96}, "at most half"),
        ({"chunk_strides": 1, "shard_chunks": 1}, "too small"),
        ({"halo_px": 3}, "multiple of scale"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, int], message: str) -> None:
    good = {"scale": 8, "token_px": 8, "tile_px": 128, "overlap_px": 32, "chunk_strides": 4, "shard_chunks": 1}
    Lattice(**good, halo_px=104)
    with pytest.raises(RequestError, match=message):
        Lattice(**{**good, "halo_px": 104, **changes})


def test_index_orders_and_prints_with_its_sign() -> None:
    assert str(Index(-3, 12)) == "-000003+000012"
    assert Index(-1, 5) < Index(0, -5)
