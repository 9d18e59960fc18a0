"""Metadata of a mosaic: the attributes of its root, and its STAC item. They contain no locations and no secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pystac
import shapely
from pystac.utils import datetime_to_str

from dsdit.imaging.radiometry import SR_ADD_OFFSET, SR_FILL, SR_SCALE_FACTOR
from dsdit.lonlat import lonlat_bbox, shorten_outline, within_180
from dsdit.plan.licences import attributions, licences
from dsdit.plan.plan import Plan
from dsdit.steps.clearing import OUTLINE, outline_digest
from dsdit.steps.publish.report import Report, scenes_of

ITEM = "item.json"
"""Name of the item's file."""
MOST_VERTICES = 1000
"""Limit for the item's footprint."""
_MEDIA_TYPES = {".zarr": "application/vnd.zarr", ".icechunk": "application/vnd.zarr+icechunk"}
"""As xpystac compares them: a parameter such as a version would make it fail."""
_SPAN = ("start_datetime", "end_datetime")
_SPDX = re.compile(r"[A-Za-z0-9.+-]+")
"""Characters of an SPDX identifier; a sentence has spaces."""


def lasting_attributes(plan: Plan) -> dict[str, Any]:
    """Attributes of the mosaic's root that change only with the request, the sources or the weights."""
    return {
        "title": f"Super-resolved mosaic of {plan.region.name}",
        "Conventions": "CF-1.11",
        "comment": "Detail above the band limit of the low-resolution scenes is an estimate; "
        "see reference_weight, reference_age and residual in group lr.",
        "scale": plan.region.grid.scale,
        "gsd_m": plan.region.grid.gsd_m,
        "model": {"name": Path(plan.model.weights).name, "digest": plan.model.digest},
        "sampler": {
            "steps": plan.sampler.steps,
            "guidance_scale": plan.sampler.guidance_scale,
            "solver": plan.sampler.solver,
            "schedule": plan.sampler.schedule,
            "seed": plan.sampler.seed,
        },
        "attribution": attributions(plan),
        "licence": licences(plan),
        OUTLINE: outline_digest(plan),
    }


def metadata_changed(
    plan: Plan, attributes: Mapping[str, Any], published: Mapping[str, Any], item: pystac.Item
) -> bool:
    """Whether published attributes of the root, or the published item, differ from those of the plan but for the time.

    `item` is the one that a publish of the plan would write.
    """
    own = json.loads(json.dumps(lasting_attributes(plan)))
    here, there = (_without_time(record) for record in (json.loads(json.dumps(item_record(item))), published))
    return any(attributes.get(name) != value for name, value in own.items()) or here != there


def _without_time(item: Mapping[str, Any]) -> dict[str, Any]:
    properties = {name: value for name, value in item.get("properties", {}).items() if name != "updated"}
    return {**item, "properties": properties}


def group_attributes(plan: Plan, report: Report, when: datetime) -> dict[str, Any]:
    """Attributes of the mosaic's root: what it is, and its plan, model, settings, items and licences."""
    return {
        **lasting_attributes(plan),
        "history": f"{when.isoformat()} published by dsdit",
        "plan": plan.digest.hex(),
        "updated": when.isoformat(),
        "items": [json.loads(name) for name in plan.item_names],
        "jobs": report.jobs,
        "pixels": report.pixels,
    }


def stac_item(
    plan: Plan, when: datetime, name: str = "mosaic.zarr", cog: bool = True, scenes: Sequence[str] = ()
) -> pystac.Item:
    """One item that describes the mosaic `name` in its folder, with relative hrefs; `cog`: sr.tif is there too.

    `scenes` are the times of the first and last scene that pixels are from, by default of all scenes of the plan. Its
    `datetime` is that of the last one.
    A footprint across the antimeridian is split there, as RFC 7946 requires, and one of many vertices is simplified.
    """
    window, grid = plan.region.window, plan.region.grid
    footprint = shorten_outline(within_180(shapely.geometry.shape(plan.region.lonlat())), MOST_VERTICES)
    texts = [*scenes] or [item["when"] for item in scenes_of(plan)]
    times = [datetime.fromisoformat(text) for text in texts] or [when]
    span = min(times), max(times)
    x0, y0, x1, y1 = grid.bounds_of(window, grid.gsd_m)
    item = pystac.Item(
        id=f"{plan.region.name}-sr",
        geometry=dict(shapely.geometry.mapping(footprint)),
        bbox=lonlat_bbox(footprint),
        datetime=span[1],
        properties={
            **(dict(zip(_SPAN, map(datetime_to_str, span), strict=True)) if span[0] != span[1] else {}),
            "gsd": grid.gsd_m,
            "updated": when.isoformat(),
            **grid.crs_fields,
            "proj:bbox": [x0, y0, x1, y1],
            "proj:shape": list(window.shape),
            "proj:transform": [grid.gsd_m, 0.0, x0, 0.0, -grid.gsd_m, y1],
            "processing:software": {"dsdit": plan.model.digest[:12]},
            "license": _licence(plan),
            "attribution": "; ".join(attributions(plan)),
            "providers": _providers(plan),
        },
        stac_extensions=[
            "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
            "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
            *(["https://stac-extensions.github.io/raster/v1.1.0/schema.json"] if cog else []),
        ],
    )
    item.add_asset("mosaic", pystac.Asset(f"./{name}", media_type=_MEDIA_TYPES[Path(name).suffix], roles=["data"]))
    if name.endswith(".zarr"):  # a dataset, for readers that open no group of a hierarchy
        item.add_asset("sr_zarr", pystac.Asset(f"./{name}/0", media_type=_MEDIA_TYPES[".zarr"], roles=["data"]))
    if cog:
        fields = {"scale": SR_SCALE_FACTOR, "offset": SR_ADD_OFFSET, "nodata": int(SR_FILL), "data_type": "uint16"}
        bands = [dict(fields) for _ in plan.bands]
        kind = pystac.MediaType.COG
        item.add_asset(
            "sr", pystac.Asset("./sr.tif", media_type=kind, roles=["data"], extra_fields={"raster:bands": bands})
        )
    item.add_asset("picture", pystac.Asset("./picture.png", media_type=pystac.MediaType.PNG, roles=["overview"]))
    return item


def item_record(item: pystac.Item) -> dict[str, Any]:
    """The item as JSON, with a link to itself in its folder: pystac would make it a path of this machine."""
    record: dict[str, Any] = item.to_dict(include_self_link=False)
    link = {"rel": "self", "href": f"./{ITEM}", "type": str(pystac.MediaType.GEOJSON)}
    return {**record, "links": [link, *record["links"]]}


def _licence(plan: Plan) -> str:
    """The one licence by its SPDX name, else STAC's `other`; `providers` has the terms of each source."""
    found = licences(plan)
    return found[0] if len(found) == 1 and _SPDX.fullmatch(found[0]) else "other"


def _providers(plan: Plan) -> list[dict[str, Any]]:
    """The hosts of the sources with the terms of each, and dsdit as processor."""
    found: list[dict[str, Any]] = []
    for name, source in sorted(plan.sources.items()):
        terms = f"licence: {source.get('licence')}; derivatives: {source.get('derivatives')}"
        endpoint = str(source.get("endpoint") or "")
        place = {"url": endpoint} if endpoint.startswith("https://") else {}
        found.append({"name": name, "description": terms, "roles": ["host"], **place})
    return [*found, {"name": "dsdit", "roles": ["processor"]}]
