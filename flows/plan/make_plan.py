"""From a request to a plan: lattice, search, measures, choice. No Prefect here, and no Dask.

Everything that is kept lies below the output: the answers of the catalogs, the measures, the plan under its digest.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import dsdit.plan.files
from catalogs.choose.cells import Dates, MeasuredCovers, choose_cells
from catalogs.choose.ranking import COMPOSITES
from catalogs.choose.reference_score import coarseness_us
from catalogs.item import SceneItem
from catalogs.measure.cache import Spread
from catalogs.measure.cover_and_fit import kept_fits
from dsdit.errors import ReadError, RequestError
from dsdit.imaging.sensor import reach_px
from dsdit.lattice.layout import Layout
from dsdit.lattice.tiling import Lattice, default_shard, default_tile
from dsdit.model.header import WeightsHeader, read_config, read_header, resolve
from dsdit.model.weights_config import WeightsConfig
from dsdit.mosaic.template import published_names
from dsdit.mosaic.versions import mosaic_store
from dsdit.plan.files import write_plan
from dsdit.plan.plan import Fits, Items, ModelChoice, Plan, SamplerSettings
from dsdit.plan.seams import seam_pairs
from dsdit.sampling.passes import network_passes
from dsdit.store.objects import check_writable, join
from flows.plan.pair_measures import measure_pairs
from flows.plan.search_and_measure import Say, Searched, measure_items, open_source, search_catalogs, wanted_cells
from flows.request.cluster_file import load_cluster
from flows.request.land_mask import read_land
from flows.request.request import Request

_PIXEL_TOLERANCE = 0.05
"""Projections stretch pixels by less."""


def sampler_settings(request: Request, config: WeightsConfig) -> SamplerSettings:
    """The weights' own setting that the request names, with what the request says itself. Raises RequestError."""
    asked = request.sampling
    own = config.faithful if asked.setting == "faithful" else config.sampler
    said = {k: v for k, v in asked.model_dump(exclude={"setting"}).items() if v is not None}
    try:
        return SamplerSettings(**{**asdict(own), **said})
    except ValueError as error:
        raise RequestError(f"sampling: {error}") from error


def describe_settings(request: Request) -> list[str]:
    """Both settings of the request's weights, with what the request replaces in them; the chosen one comes first."""
    config, chosen = read_config(resolve(request.model.weights)), request.sampling.setting
    lines = []
    for name in sorted(("default", "faithful"), key=lambda name: name != chosen):
        asked = request.sampling.model_copy(update={"setting": name})
        made = sampler_settings(request.model_copy(update={"sampling": asked}), config)
        passes = network_passes(made)
        lines.append(
            f"{name}: {made.solver}, steps {made.steps} ({made.schedule}), guidance {made.guidance_scale:g}, "
            f"ensemble {made.ensemble}, {passes} network pass{'es' if passes > 1 else ''} a tile"
        )
    return lines


def make_lattice(request: Request, weights: WeightsHeader, mtf_nyquist: float) -> Lattice:
    """Sizes that the request leaves out follow from scale, network and region."""
    scale, token = request.scale, weights.token_px
    tile, overlap = default_tile(token, scale)
    tile, overlap = request.tiling.tile_px or tile, request.tiling.overlap_px or overlap
    halo = reach_px(scale, mtf_nyquist)
    side = max(request.region().window.shape)
    if overlap < tile:
        chunk, chunks = default_shard(tile, overlap, halo, side)
    else:
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


def make_layout(request: Request) -> tuple[Layout, WeightsHeader]:
    """The jobs of a request, and the weights whose tokens set its lattice. Raises RequestError, WeightsError."""
    weights = read_header(request.model.weights)
    mtf = open_source(request.lr).mtf_nyquist
    region, lattice = request.region(), make_lattice(request, weights, mtf)
    land = None if request.land is None else read_land(Path(request.land), region, lattice)
    layout = Layout(region, lattice, land)
    if layout.map.off_land and not layout.mosaic_jobs:
        raise RequestError(f"region {request.name!r} lies wholly off land {request.land!r}: give another file, or none")
    if not layout.mosaic_jobs:
        raise RequestError(f"region {request.name!r} holds no pixel of {request.gsd_m} m")
    return layout, weights


def check_request(request: Request) -> None:
    """Raises Request-, Catalog-, Weights- or StoreError where a run could not begin; leaves nothing behind."""
    make_layout(request)
    if request.ref is not None:
        open_source(request.ref)
    load_cluster(request.compute.cluster)
    check_places(request)


def check_places(request: Request) -> None:
    """Raises RequestError or StoreError where the request's store cannot lie at its output, or nothing be written."""
    check_writable(request.output)
    mosaic_store(request.output, request.store)
    check_writable(request.scratch_url)


def _coarseness(request: Request, searched: Searched, items: list[SceneItem]) -> NDArray[np.int64]:
    stated = searched.ref_source.gsd_m if searched.ref_source else request.gsd_m
    return coarseness_us([item.gsd_m or stated for item in items], request.gsd_m)


def _tell_pixels(request: Request, say: Say) -> None:
    """Says so where LR's lattice is not the grid of the source's pixels: A would be taken for another sensor's."""
    source, asked = open_source(request.lr), request.gsd_m * request.scale
    if abs(asked / source.gsd_m - 1) > _PIXEL_TOLERANCE:
        say(
            f"beware: gsd_m {request.gsd_m:g} at scale {request.scale} makes LR pixels of {asked:g} m, and "
            f"{source.name} has {source.gsd_m:g} m: gsd_m {source.gsd_m / request.scale:g} at this scale would fit"
        )


def make_plan(request: Request, now: datetime, say: Say, spread: Spread | None = None) -> Plan:
    """Searches, measures and chooses; many measures are made by `spread`. Raises Request-, Catalog-, WeightsError."""
    layout, weights = make_layout(request)
    _tell_pixels(request, say)
    searched = search_catalogs(request, layout, now, say)
    items, lr, covers = measure_items(request, layout, searched, say, spread)
    age = request.ref.max_age_days if request.ref else None
    measured, wanted = MeasuredCovers.of(covers), wanted_cells(request, layout)
    coarse = _coarseness(request, searched, items)
    digests = {scene.digest for scene in searched.carried}
    old = np.array([item.digest in digests for item in items], bool)
    cells = choose_cells(Dates.of_items(items), len(lr), measured, wanted, request.lr.rule, age, coarse, old)
    used, cells = cells.only_used(len(items))
    items = [items[n] for n in used.tolist()]
    lr_source, ref_source = searched.lr_source, searched.ref_source
    grid, folder = layout.region.grid, join(request.output, "measures")

    def told(error: ReadError) -> None:
        say(f"measure: {error}")

    fits = Fits.of({})
    if request.ref is not None and ref_source is not None:
        fits = measure_pairs(request.ref, ref_source, lr_source, items, cells, grid, folder, told, spread)
    keys = seam_pairs(cells) if request.lr.balance else np.empty(0, np.int64)
    seams = kept_fits(keys, items, lr_source, lr_source, grid, folder, told, spread)
    sources = {s.name: s.model_dump(mode="json") for s in (lr_source, ref_source) if s is not None}
    return Plan(
        region=layout.region,
        lattice=layout.lattice,
        sampler=sampler_settings(request, weights.config),
        model=ModelChoice(request.model.weights, weights.digest, request.model.device, request.model.dtype),
        mtf_nyquist=lr_source.mtf_nyquist,
        sources=sources,
        items=Items.of([item.to_dict() for item in items]),
        cells=cells,
        fits=fits,
        seams=Fits.of(seams),
        composite=COMPOSITES[request.lr.rule],
        keep_reference=request.keep_reference,
        land_wkt=layout.land_wkt,
        known=_known_names(request.output),
    )


def _known_names(output: str) -> tuple[str, ...]:
    """Names behind the numbers in the mosaic's arrays: the last plan's; without any plan, the published mosaic's."""
    return dsdit.plan.files.known_names(join(output, "plans")) or published_names(output)


def keep_plan(plan: Plan, output: str, latest: bool = True) -> str:
    """Writes the plan under its digest, as the output's latest if it is to be run; returns its location."""
    return write_plan(plan, join(output, "plans"), latest)


def latest_plan(output: str) -> Plan:
    """The plan of the last run at `output`. Raises StoreError where nothing was run."""
    return dsdit.plan.files.latest_plan(join(output, "plans"))


def utc_now() -> datetime:
    """Now, aware, in UTC."""
    return datetime.now(UTC)
