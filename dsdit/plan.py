"""The plan: frozen choices. Settings, the table of items, what each cell reads and in which order, and digests.

A plan is data. Any worker recomputes from it what a job needs; two runs with the same plan give the same bytes. What
stands under `settings` and in the digests of items decides whether a job is due; where output and scratch lie does not.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from dsdit.errors import PlanError
from dsdit.grid import Grid
from dsdit.layout import Layout
from dsdit.region import Region
from dsdit.tiling import Lattice
from dsdit.window import Index, Window

FORMAT = 1


@dataclass(frozen=True)
class SamplerSettings:
    """How the network is run."""

    steps: int = 1
    """Steps of the solver from noise to picture."""
    solver: str = "euler"
    guidance_scale: float = 1.0
    """Autoguidance weight; 1 takes one network call a step, others two."""
    guidance_from: str = "ref_scale"
    """What autoguidance leads away from: "ref_scale" is the published pass with ref_scale 0, in which patch-level
    weighting still hears the reference; "no_reference" is the tile as if none had been found."""
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    """Noise levels at which autoguidance acts."""
    start_sigma: float = 1.0
    """Noise level at which sampling starts; below 1 it starts from the LR picture under noise."""
    seed: int = 0
    """Key of the noise."""
    batch: int = 8
    """Tiles per network call; always filled up to this size."""

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> SamplerSettings:
        """Inverse of `asdict`, from JSON."""
        return cls(**{**record, "guidance_interval": tuple(record["guidance_interval"])})


@dataclass(frozen=True)
class ModelChoice:
    """Which weights."""

    weights: str
    """Name of shipped weights, or a folder."""
    digest: str
    """sha256 of config and tensors."""
    device: str = "cpu"
    dtype: str = "float32"


@dataclass(frozen=True)
class CellChoice:
    """Candidates of one cell, best first, as numbers into the plan's items."""

    lr: tuple[int, ...] = ()
    ref: tuple[int, ...] = ()


@dataclass(frozen=True)
class Fit:
    """lr = gain * ref + offset in reflectance, per band, measured over the whole overlap of two items."""

    gain: tuple[float, ...] = (1.0, 1.0, 1.0)
    offset: tuple[float, ...] = (0.0, 0.0, 0.0)
    samples: int = 0
    """Pixels behind the fit; 0 where nothing could be measured and the reference is taken as it is."""


@dataclass(frozen=True)
class Plan:
    """Everything a worker has to know."""

    region: Region
    lattice: Lattice
    sampler: SamplerSettings
    model: ModelChoice
    mtf_nyquist: float
    """Of the LR source at the LR Nyquist frequency; see `dsdit.sensor`."""
    sources: dict[str, dict[str, Any]]
    """Source records by name, as read from their YAML."""
    items: tuple[dict[str, Any], ...]
    """Item records; each has `id`, `digest`, `when`."""
    cells: dict[Index, CellChoice]
    fits: dict[tuple[int, int], Fit] = field(default_factory=dict)
    """(reference, LR) -> fit."""
    ref_min_cover: float = 0.05
    """Tiles under this share of reference pixels run without reference."""
    skip_over: float = 0.9
    """Tiles with more than this share of cloud or no data are skipped."""
    keep_reference: bool = False
    """Whether the harmonised reference is kept in the mosaic's group `ref`."""

    @cached_property
    def layout(self) -> Layout:
        """Jobs and tiles."""
        return Layout(self.region, self.lattice)

    @cached_property
    def settings_digest(self) -> str:
        """Of all that touches every pixel alike."""
        return _digest(
            {
                "format": FORMAT,
                "grid": asdict(self.region.grid),
                "lattice": asdict(self.lattice),
                "sampler": asdict(self.sampler),
                "model": {"digest": self.model.digest, "dtype": self.model.dtype},
                "mtf_nyquist": self.mtf_nyquist,
                "ref_min_cover": self.ref_min_cover,
                "skip_over": self.skip_over,
                "keep_reference": self.keep_reference,
            }
        )

    @cached_property
    def digest(self) -> str:
        """Of the whole plan."""
        return _digest(self.to_dict())

    def job_digest(self, job: Index) -> str:
        """Of all that a job's shard depends on: settings, the cells it reaches with items and fits, its outline."""
        halo = self.lattice.halo_px
        reach = self.lattice.mosaic_window(job).expand(self.lattice.tile_px + 2 * halo)
        return _digest(
            {
                "settings": self.settings_digest,
                "cells": [
                    self._cell_record(cell)
                    for cell in self.lattice.cells_touching(reach).indices()
                    if cell in self.cells
                ],
                "outline": None
                if self.region.covers(self.lattice.mosaic_window(job))
                else hashlib.sha256(self.region.footprint_wkt.encode()).hexdigest(),
            }
        )

    def stage_digest(self, job: Index) -> str:
        """Of what stage(job) writes."""
        cells = self.lattice.cells_touching(self.lattice.shard_window(job))
        return _digest(
            {"settings": self.settings_digest, "cells": [self._cell_record(cell) for cell in cells.indices()]}
        )

    def sample_digest(self, job: Index) -> str:
        """Of what sample(job) writes."""
        return _digest(
            {
                "stages": [self.stage_digest(stage) for stage in self.layout.stages_of_sample(job)],
                "tiles": self.layout.sample_tiles(job),
            }
        )

    def _cell_record(self, cell: Index) -> list[Any]:
        choice = self.cells.get(cell, CellChoice())
        fits = [asdict(self.fits[ref, lr]) for ref in choice.ref for lr in choice.lr if (ref, lr) in self.fits]
        return [
            list(cell),
            [self.items[i]["digest"] for i in choice.lr],
            [self.items[i]["digest"] for i in choice.ref],
            fits,
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "format": FORMAT,
            "region": {"name": self.region.name, "footprint_wkt": self.region.footprint_wkt},
            "grid": asdict(self.region.grid),
            "lattice": asdict(self.lattice),
            "sampler": asdict(self.sampler),
            "model": asdict(self.model),
            "mtf_nyquist": self.mtf_nyquist,
            "ref_min_cover": self.ref_min_cover,
            "skip_over": self.skip_over,
            "keep_reference": self.keep_reference,
            "sources": self.sources,
            "items": list(self.items),
            "cells": [[*cell, list(c.lr), list(c.ref)] for cell, c in sorted(self.cells.items())],
            "fits": [[*pair, asdict(fit)] for pair, fit in sorted(self.fits.items())],
        }

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Plan:
        """Inverse of `to_dict`. Raises PlanError for another format."""
        if record.get("format") != FORMAT:
            raise PlanError(f"the plan has format {record.get('format')!r}, this program reads {FORMAT}: plan again")
        region = Region(record["region"]["name"], Grid(**record["grid"]), record["region"]["footprint_wkt"])
        return cls(
            region=region,
            lattice=Lattice(**record["lattice"]),
            sampler=SamplerSettings.from_dict(record["sampler"]),
            model=ModelChoice(**record["model"]),
            mtf_nyquist=record["mtf_nyquist"],
            ref_min_cover=record["ref_min_cover"],
            skip_over=record["skip_over"],
            keep_reference=record["keep_reference"],
            sources=record["sources"],
            items=tuple(record["items"]),
            cells={Index(r, c): CellChoice(tuple(lr), tuple(ref)) for r, c, lr, ref in record["cells"]},
            fits={(ref, lr): Fit(tuple(f["gain"]), tuple(f["offset"]), f["samples"]) for ref, lr, f in record["fits"]},
        )


def cell_window(lattice: Lattice, cell: Index) -> Window:
    """HR pixels of a cell."""
    side = lattice.cell_px
    return Window(cell.row * side, cell.col * side, (cell.row + 1) * side, (cell.col + 1) * side)


def _digest(record: Any) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
