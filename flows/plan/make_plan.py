"""From a request to a plan: lattice, search, measures, choice. No Prefect here, and no Dask.

Answers of the catalogs, measures, and the plan under its digest are stored below the output.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

import dsdit.plan.files
from catalogs.choose.cells import Dates, MeasuredCovers, choose_cells
from catalogs.choose.ranking import COMPOSITES
from catalogs.choose.reference_score import coarseness_us
from catalogs.item import SceneItem
from catalogs.measure.cache import Spread
from catalogs.measure.cover_and_fit import cached_fits
from dsdit.errors import PlanError, ReadError, RequestError
from dsdit.model.weights_config import WeightsConfig
from dsdit.mosaic.template import published_names
from dsdit.plan.candidates import Cells, Items
from dsdit.plan.files import write_plan
from dsdit.plan.pair_fits import Fits
from dsdit.plan.plan import ModelChoice, Plan
from dsdit.plan.sampler_settings import SamplerSettings
from dsdit.plan.seams import seam_pairs
from dsdit.sampling.passes import network_passes
from dsdit.store.objects import join
from flows.plan.ground_scale import check_ground_scale
from flows.plan.mtf_measures import sensor_notes
from flows.plan.pair_measures import measure_pairs
from flows.plan.prepared import Prepared, prepare
from flows.plan.search_and_measure import Log, OnUnreadable, measure_items, search_catalogs
from flows.request.request import Request

_PIXEL_TOLERANCE = 0.05
"""Projections stretch pixels by less."""


def sampler_settings(request: Request, config: WeightsConfig) -> SamplerSettings:
    """The setting of the weights that the request names, with the request's own values in it. Raises RequestError."""
    own = config.faithful if request.sampling.setting == "faithful" else config.sampler
    replaced = request.sampling.model_dump(exclude={"setting"}, exclude_none=True)
    try:
        return SamplerSettings(**{**asdict(own), **replaced})
    except ValueError as error:
        raise RequestError(f"sampling: {error}") from error


def describe_settings(request: Request, config: WeightsConfig) -> list[str]:
    """Both settings of the request's weights, with the request's own values in them; the chosen one comes first."""
    chosen, lines = request.sampling.setting, []
    for name in sorted(("default", "faithful"), key=lambda name: name != chosen):
        sampling = request.sampling.model_copy(update={"setting": name})
        settings = sampler_settings(request.model_copy(update={"sampling": sampling}), config)
        passes = network_passes(settings)
        lines.append(
            f"{name}: {settings.solver}, steps {settings.steps} ({settings.schedule}), "
            f"guidance {settings.guidance_scale:g}, ensemble {settings.ensemble}, "
            f"{passes} network pass{'es' if passes > 1 else ''} a tile"
        )
    return lines


def make_plan(
    request: Request | Prepared,
    now: datetime | None = None,
    log: Log = lambda _: None,
    spread: Spread | None = None,
    on_unreadable: OnUnreadable = lambda _: None,
) -> Plan:
    """Searches, measures and chooses. Raises RequestError, CatalogError, WeightsError or StoreError.

    Args:
        request: opened first, where it is not prepared.
        now: aware; end of a period that moves. By default the time of the call.
        log: gets a line for each thing that a person should know.
        on_unreadable: gets the error of each file that could not be measured; a line of it is logged too.
        spread: takes many measures elsewhere, see `flows.plan.on_cluster`; by default this process takes all.
    """
    prepared = request if isinstance(request, Prepared) else prepare(request)
    request, now = prepared.request, now or utc_now()
    _check_pixel_size(prepared, log)
    searched = search_catalogs(prepared, now, log)

    def on_error(error: ReadError) -> None:
        log(f"measure: {error}")
        on_unreadable(error)

    items, lr, covers = measure_items(prepared, searched, on_error, spread)
    carried = {scene.digest for scene in searched.carried}
    cells = choose_cells(
        Dates.of_items(items),
        len(lr),
        MeasuredCovers.of(covers),
        prepared.cells,
        request.lr.rule,
        request.ref.max_age_days if request.ref else None,
        _coarseness(prepared, items),
        np.array([item.digest in carried for item in items], bool),
    )
    _check_references(request, cells, log)
    used, cells = cells.only_used(len(items))
    items = [items[n] for n in used.tolist()]
    lr_source, ref_source = prepared.lr_source, prepared.ref_source
    grid, folder = prepared.region.grid, join(request.output, "measures")

    fits = Fits.of({})
    if request.ref is not None and ref_source is not None:
        fits = measure_pairs(request.ref, ref_source, lr_source, items, cells, grid, folder, on_error, spread)
    for line in sensor_notes(prepared, items, cells, on_error, spread):
        log(line)
    keys = seam_pairs(cells) if request.lr.balance else np.empty(0, np.int64)
    seams = cached_fits(keys, items, lr_source, lr_source, grid, folder, on_error, spread)
    return Plan(
        region=prepared.region,
        lattice=prepared.lattice,
        sampler=sampler_settings(request, prepared.weights.config),
        model=ModelChoice(request.model.weights, prepared.weights.digest, request.model.device, request.model.dtype),
        mtf_nyquist=lr_source.mtf_nyquist,
        sources={s.name: s.model_dump(mode="json") for s in (lr_source, ref_source) if s is not None},
        items=Items.of([item.to_dict() for item in items]),
        cells=cells,
        fits=fits,
        seams=Fits.of(seams),
        composite=COMPOSITES[request.lr.rule],
        keep_reference=request.keep_reference,
        land_wkt=prepared.layout.land_wkt,
        known=_known_names(request.output),
    )


def _check_references(request: Request, cells: Cells, log: Log) -> None:
    """Logs a warning where no scene has a reference. Raises PlanError where the request requires them."""
    if request.ref is None or not (cells.lr[..., 0] >= 0).any() or (cells.ref[..., 0] >= 0).any():
        return
    text = (
        f"no reference of {request.ref.source} covers any scene of region {request.name!r} within "
        f"{request.ref.max_age_days:g} days of it: check its endpoint and collection, or raise ref.max_age_days"
    )
    if request.ref.required:
        raise PlanError(f"{text} (ref.required is true, so nothing is written)")
    log(f"beware: {text}; detail is drawn without references")


def _coarseness(prepared: Prepared, items: list[SceneItem]) -> NDArray[np.int64]:
    """(n,) penalty of each item for pixels larger than the target's."""
    target = prepared.request.gsd_m
    default = prepared.ref_source.gsd_m if prepared.ref_source else target
    return coarseness_us([item.gsd_m or default for item in items], target)


def _check_pixel_size(prepared: Prepared, log: Log) -> None:
    """Logs where metres of the CRS are off on the ground.

    Also where LR's lattice is not the grid of the source's pixels: the sensor model would be wrong.
    """
    request, source = prepared.request, prepared.lr_source
    if note := check_ground_scale(prepared.region):
        log(f"beware: {note}")
    lr_gsd_m = request.gsd_m * request.scale
    if abs(lr_gsd_m / source.gsd_m - 1) > _PIXEL_TOLERANCE:
        log(
            f"beware: gsd_m {request.gsd_m:g} at scale {request.scale} makes LR pixels of {lr_gsd_m:g} m, and "
            f"{source.name} has {source.gsd_m:g} m: gsd_m {source.gsd_m / request.scale:g} at this scale would fit"
        )


def _known_names(output: str) -> tuple[str, ...]:
    """Names behind the numbers in the mosaic's arrays: of the last plan; without any plan, of the published mosaic."""
    return dsdit.plan.files.known_names(join(output, "plans")) or published_names(output)


def keep_plan(plan: Plan, output: str, latest: bool = True) -> str:
    """Writes the plan under its digest, as the output's latest where `latest`; returns its location."""
    return write_plan(plan, join(output, "plans"), latest)


def latest_plan(output: str) -> Plan:
    """The plan of the last run at `output`. Raises StoreError where there is none."""
    return dsdit.plan.files.latest_plan(join(output, "plans"))


def utc_now() -> datetime:
    """Now, aware, in UTC."""
    return datetime.now(UTC)
