"""A request with everything that it names opened: once a process, and passed from the plan to the publish.

No file that the request names is opened again afterwards, so that one that changes during a run cannot give one step
another region, source or cluster than the step before had.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from catalogs.source import Source, load_source
from dsdit.errors import RequestError
from dsdit.imaging.sensor import reach_px
from dsdit.lattice.layout import Layout
from dsdit.lattice.tiling import Lattice, default_shard, default_tile
from dsdit.model.header import WeightsHeader, read_header
from dsdit.mosaic.own_output import check_location, check_own
from dsdit.mosaic.versions import MosaicStore, mosaic_store
from dsdit.region import Region
from dsdit.store.objects import check_writable
from dsdit.window import Window
from flows.plan.ground_scale import check_ground_scale
from flows.request.cluster_file import ClusterFile, load_cluster
from flows.request.land_mask import read_land
from flows.request.request import Request, scratch_of
from flows.request.settings import References, SampleRegion, Scenes

MAX_SHARDS = 10_000_000
"""Shards, and cells, of the rectangle around a region: the land of the Earth has as many at 1.25 m."""


@dataclass(frozen=True)
class Prepared:
    """What a plan and a run are made from. `prepare` builds it."""

    request: Request
    layout: Layout
    """Region, lattice and land mask."""
    lr_source: Source
    ref_source: Source | None
    """None for a request without references."""
    weights: WeightsHeader
    store: MosaicStore
    """Versions of the mosaic at the request's output."""

    @property
    def region(self) -> Region:
        """The footprint on the grid."""
        return self.layout.region

    @property
    def lattice(self) -> Lattice:
        """Tiles, shards and cells."""
        return self.layout.lattice

    @cached_property
    def cluster(self) -> ClusterFile:
        """The cluster's file, read once. Its kind loads Dask, which a plan alone does not need. Raises RequestError."""
        return load_cluster(self.request.compute.cluster)

    @cached_property
    def cells(self) -> Window:
        """Cells whose choices the run needs: with balancing, the neighbours of those that it stages too."""
        return self.layout.cells.expand(1) if self.request.lr.balance else self.layout.cells


def prepare(request: Request, to_run: bool = False) -> Prepared:
    """Opens what the request names and tries whether its output can be written; `to_run` tries its scratch too.

    Makes the sample region of a request that has one, and leaves nothing else behind. Reads no tensor. Raises
    RequestError, WeightsError or StoreError where a plan or run could not begin.
    """
    if request.sample_region is not None:
        _make_sample_region(request.sample_region)
    weights = read_header(request.model.weights)
    lr_source = open_source(request.lr)
    ref_source = None if request.ref is None else open_source(request.ref)
    layout = make_layout(request, weights, lr_source.mtf_nyquist)
    check_location("output", request.output)
    if request.scratch is not None:
        check_location("scratch", request.scratch)
    check_writable(request.output)
    if to_run and request.scratch is not None:
        check_writable(request.scratch_url)
    # Only now: a location that cannot be reached has its own sentence.
    check_own(request.output, request.scratch_url if to_run else scratch_of(request.output, None))
    store = mosaic_store(request.output, request.store)
    prepared = Prepared(request, layout, lr_source, ref_source, weights, store)
    if to_run:
        _ = prepared.cluster  # read now, so that a file that cannot be used is refused before anything is written
    return prepared


def _make_sample_region(settings: SampleRegion) -> None:
    """Makes the sample region where it does not exist: its footprint is among its files."""
    folder = Path(settings.folder)
    if not (folder / "items.json").exists():
        from catalogs.sample_region import make_sample_region

        make_sample_region(folder, seed=settings.seed, size_m=settings.size_m)


def open_source(choice: Scenes | References) -> Source:
    """The source of a request, with its endpoint replaced where the request gives another one. Raises RequestError."""
    source = load_source(choice.source)
    if source.derivatives == "no":
        raise RequestError(f"source {source.name} allows no derivatives ({source.licence}): take another one")
    return source if choice.endpoint is None else source.at(choice.endpoint)


def make_layout(request: Request, weights: WeightsHeader, mtf_nyquist: float) -> Layout:
    """The jobs of a request. Raises RequestError where it has none."""
    region = request.region()
    lattice = make_lattice(request, weights, mtf_nyquist, max(region.window.shape))
    _check_size(region, lattice)
    check_ground_scale(region)
    land = None if request.land is None else read_land(Path(request.land), region, lattice)
    layout = Layout(region, lattice, land)
    if layout.map.off_land and not layout.mosaic_jobs:
        raise RequestError(f"region {request.name!r} is wholly off land {request.land!r}: give another file, or none")
    if not layout.mosaic_jobs:
        raise RequestError(f"region {request.name!r} holds no pixel of {request.gsd_m} m")
    return layout


def _check_size(region: Region, lattice: Lattice) -> None:
    """Raises RequestError for more shards or cells than a plan can have, before anything is allocated for them."""
    window = region.window
    for name, side in (("shards", lattice.shard_px), ("cells", lattice.cell_px)):
        rows, cols = window.coarsen(side).shape
        if rows * cols > MAX_SHARDS:
            raise RequestError(
                f"region {region.name!r} has {rows:,} x {cols:,} {name} of {side:,} px, and a run can have "
                f"{MAX_SHARDS:,}: give a smaller footprint, or larger pixels, tiles or shards"
            )


def make_lattice(request: Request, weights: WeightsHeader, mtf_nyquist: float, side_px: int) -> Lattice:
    """Sizes that the request leaves out follow from scale, network and `side_px`, the region's longer side."""
    scale, token = request.scale, weights.token_px
    tile, overlap = default_tile(token, scale)
    tile, overlap = request.tiling.tile_px or tile, request.tiling.overlap_px or overlap
    halo = reach_px(scale, mtf_nyquist)
    if overlap < tile:
        chunk, chunks = default_shard(tile, overlap, halo, side_px)
    else:  # refused by Lattice, with its sentence
        chunk = chunks = 1
    return Lattice(
        scale=scale,
        token_px=token,
        tile_px=tile,
        overlap_px=overlap,
        chunk_strides=request.tiling.chunk_strides or chunk,
        shard_chunks=request.tiling.shard_chunks or chunks,
        halo_px=halo,
    )
