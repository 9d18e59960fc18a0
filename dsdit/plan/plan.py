"""The plan: everything that a run decided before it started, frozen.

It holds region, lattice, settings, the table of items, the candidates of each cell and the fits of pairs. Any worker
recomputes from it what a job needs; two runs of one plan give the same bytes. Digests say which jobs are due: they hold
what decides pixels, and not where output and scratch are.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsdit.bands import BANDS
from dsdit.digest import Digest, Digests, json_digest
from dsdit.errors import PlanError
from dsdit.grid import Grid
from dsdit.lattice.layout import Layout
from dsdit.lattice.tiling import Lattice
from dsdit.plan.candidates import Cells, Items
from dsdit.plan.item_table import grow_names, number_items
from dsdit.plan.job_digests import JobDigests
from dsdit.plan.pair_fits import Fits
from dsdit.plan.sampler_settings import SamplerSettings
from dsdit.region import Region
from dsdit.window import Index, Window

FORMAT = 4


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
class Plan:
    """Everything a worker has to know. Equal plans have equal digests."""

    region: Region
    lattice: Lattice
    sampler: SamplerSettings
    model: ModelChoice
    mtf_nyquist: float
    """Of the LR source at the LR Nyquist frequency; see `dsdit.imaging.sensor`."""
    sources: dict[str, dict[str, Any]]
    """Source records by name, as read from their YAML."""
    items: Items
    """Item records; each has `id`, `digest`, `when`."""
    cells: Cells
    fits: Fits = field(default_factory=lambda: Fits.of({}))
    """(reference, LR) -> fit."""
    seams: Fits = field(default_factory=lambda: Fits.of({}))
    """(LR, LR) -> fit, by which scenes are balanced at seams (seams.py); empty where they are left as they are."""
    ref_min_cover: float = 0.05
    """Tiles under this share of reference pixels run without reference."""
    skip_over: float = 0.9
    """Tiles with more than this share of cloud or no data are skipped."""
    composite: str = "first"
    """What an LR pixel takes: its first valid candidate, or the "median" of its first three."""
    keep_reference: bool = False
    """Whether the harmonised reference is written to the mosaic's group `ref`."""
    land_wkt: str | None = None
    """Land mask in CRS units: decides which jobs there are, and is part of no job's digest."""
    bands: tuple[str, ...] = BANDS
    """Names along the `band` axis of every array, in order."""
    known: tuple[str, ...] = ()
    """Names of the items that the mosaic's arrays may already hold as numbers; see `dsdit.plan.item_table`."""

    @cached_property
    def layout(self) -> Layout:
        """Jobs and tiles."""
        return Layout(self.region, self.lattice, self.land_wkt)

    @cached_property
    def item_names(self) -> tuple[str, ...]:
        """Names to which numbers in the mosaic's arrays point: those known before, then this plan's own."""
        return grow_names(self.known, self.items)

    @cached_property
    def item_numbers(self) -> NDArray[np.int32]:
        """(item + 1,) number of each item in `item_names`; the last one is -1, for no item."""
        return number_items(self.item_names, self.items)

    @cached_property
    def settings_digest(self) -> Digest:
        """Of all that touches every pixel alike."""
        return json_digest(
            {
                "format": FORMAT,
                "grid": asdict(self.region.grid),
                "lattice": asdict(self.lattice),
                "sampler": self.sampler.digested,
                "model": {"digest": self.model.digest, "dtype": self.model.dtype},
                "mtf_nyquist": self.mtf_nyquist,
                "ref_min_cover": self.ref_min_cover,
                "skip_over": self.skip_over,
                "composite": self.composite,
                "keep_reference": self.keep_reference,
                **self._other_bands,
            }
        )

    @property
    def _other_bands(self) -> dict[str, list[str]]:
        """What digests hold of bands: nothing of red, green and blue, so that those of RGB mosaics do not change."""
        return {} if self.bands == BANDS else {"bands": list(self.bands)}

    @cached_property
    def digest(self) -> Digest:
        """Of the whole plan."""
        settings = {name: value for name, value in self.to_dict().items() if name != "bands"}
        whole = hashlib.sha256(json_digest({**settings, **self._other_bands}).hex().encode())
        for record in self.items.records:
            whole.update(str(record).encode() + b"\n")
        tables = [(table.keys_, table.values_, table.samples, table.shifts) for table in (self.fits, self.seams)]
        for column in (*self.cells.columns().values(), *tables[0], *tables[1]):
            whole.update(np.ascontiguousarray(column).tobytes())
        for name in self.item_names:
            whole.update(name.encode() + b"\n")
        return whole.digest()

    @cached_property
    def _jobs(self) -> JobDigests:
        return JobDigests(self.settings_digest, self.layout, self.items, self.cells, self.fits, self.seams)

    def stage_digest(self, job: Index) -> Digest:
        """Of what stage(job) writes."""
        return self._jobs.of_stage(job)

    def sample_digest(self, job: Index) -> Digest:
        """Of what sample(job) writes."""
        return self._jobs.of_sample(job)

    def job_digest(self, job: Index) -> Digest:
        """Of all that a job's shard depends on: settings, the cells it reaches with items and fits, its outline."""
        return self._jobs.of_mosaic(job)

    def job_digests(self) -> Digests:
        """(job, 32) `job_digest` of every mosaic job, in row-major order."""
        return self._jobs.of_mosaics

    def cell_digests(self, window: Window) -> Digests:
        """(row, col, 32) digest of each cell's position, candidates, fits and, where seams are balanced, neighbours."""
        return self._jobs.of_cells(window)

    def reached_cells(self, job: Index) -> Window:
        """Cells on which a job's shard may depend."""
        return self._jobs.reached_cells(job)

    def to_dict(self) -> dict[str, Any]:
        """Settings as plain JSON: all but the tables."""
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
            "composite": self.composite,
            "keep_reference": self.keep_reference,
            "bands": list(self.bands),
            "land_wkt": self.land_wkt,
            "sources": self.sources,
        }

    @classmethod
    def from_dict(
        cls,
        record: dict[str, Any],
        items: Items,
        cells: Cells,
        fits: Fits,
        seams: Fits,
        known: tuple[str, ...] = (),
    ) -> Plan:
        """Inverse of `to_dict`, with the tables. Raises PlanError for another format."""
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
            composite=record["composite"],
            keep_reference=record["keep_reference"],
            bands=tuple(record.get("bands", BANDS)),
            land_wkt=record.get("land_wkt"),
            sources=record["sources"],
            items=items,
            cells=cells,
            fits=fits,
            seams=seams,
            known=known,
        )
