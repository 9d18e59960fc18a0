"""The plan: frozen choices. Settings, the table of items, what each cell reads and in which order, and digests.

A plan is data. Any worker recomputes from it what a job needs; two runs with the same plan give the same bytes. What
stands under `settings` and in the digests of items decides whether a job is due; where output and scratch lie does not.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsdit.bands import BANDS
from dsdit.errors import PlanError
from dsdit.grid import Grid
from dsdit.lattice.layout import Layout
from dsdit.lattice.tiling import Lattice
from dsdit.plan.candidates import FEW_CANDIDATES, CellChoice, Cells, Items, pair_keys, row_digests
from dsdit.plan.item_table import grow_names, number_items
from dsdit.plan.pair_fits import Fit, Fits
from dsdit.plan.sampler_settings import SamplerSettings
from dsdit.plan.seams import first_scenes
from dsdit.region import Region
from dsdit.window import Index, Window

FORMAT = 4

__all__ = ["CellChoice", "Cells", "Fit", "Fits", "Items", "ModelChoice", "Plan", "SamplerSettings", "cell_window"]


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
    """Everything a worker has to know."""

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
    """(LR, LR) -> fit, by which scenes are brought together at seams (seams.py); empty where they stay apart."""
    ref_min_cover: float = 0.05
    """Tiles under this share of reference pixels run without reference."""
    skip_over: float = 0.9
    """Tiles with more than this share of cloud or no data are skipped."""
    composite: str = "first"
    """What an LR pixel takes: its first valid candidate, or the "median" of its first three."""
    keep_reference: bool = False
    """Whether the harmonised reference is kept in the mosaic's group `ref`."""
    land_wkt: str | None = None
    """Land mask in CRS units: says which jobs there are, and stands in no job's digest."""
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
        """The table into which the mosaic's arrays hold numbers: what was known, and this plan's own items."""
        return grow_names(self.known, self.items)

    @cached_property
    def item_numbers(self) -> NDArray[np.int32]:
        """(item + 1,) place of each item in `item_names`; the last one, -1, stands for no item."""
        return number_items(self.item_names, self.items)

    @cached_property
    def settings_digest(self) -> str:
        """Of all that touches every pixel alike."""
        return _digest(
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
    def digest(self) -> str:
        """Of the whole plan."""
        settings = {name: value for name, value in self.to_dict().items() if name != "bands"}
        whole = hashlib.sha256(_digest({**settings, **self._other_bands}).encode())
        for record in self.items.records:
            whole.update(str(record).encode() + b"\n")
        tables = [(table.keys_, table.values_, table.samples, table.shifts) for table in (self.fits, self.seams)]
        for column in (*self.cells.columns().values(), *tables[0], *tables[1]):
            whole.update(np.ascontiguousarray(column).tobytes())
        for name in self.item_names:
            whole.update(name.encode() + b"\n")
        return whole.hexdigest()

    @cached_property
    def _outline(self) -> bytes:
        return hashlib.sha256(self.region.footprint_wkt.encode()).digest()

    def job_digest(self, job: Index) -> str:
        """Of all that a job's shard depends on: settings, the cells it reaches with items and fits, its outline."""
        reach = self.reached_cells(job)
        outline = b"" if self.region.covers(self.lattice.mosaic_window(job)) else self._outline
        return self._join(self.cell_digests(reach).tobytes(), outline).hex()

    def reached_cells(self, job: Index) -> Window:
        """Cells on which a job's shard may depend."""
        margin = self.lattice.tile_px + 2 * self.lattice.halo_px + self.lattice.fill_px
        return self.lattice.cells_touching(self.lattice.mosaic_window(job).expand(margin))

    def job_digests(self) -> NDArray[np.uint8]:
        """(job, 32) `job_digest` of every mosaic job, in row-major order; a row of jobs at a time."""
        jobs = self.layout.mosaic_jobs
        covered = self.layout.map.covered(self.lattice.halo_px, self.region, self.lattice)
        found = []
        reach = [self.reached_cells(Index(jobs.window.row0, col)) for col in range(jobs.window.col0, jobs.window.col1)]
        known, first = np.zeros((0, 0, 32), np.uint8), reach[0].row0 if reach else 0
        for row in range(*jobs.window.shape[:1]):
            part = self.reached_cells(Index(row + jobs.window.row0, jobs.window.col0))
            known, first = known[part.row0 - first :], part.row0
            new = Window(first + len(known), part.col0, part.row1, reach[-1].col1)
            fresh = known[:0] if new.empty else self.cell_digests(new)
            known = np.concatenate([known, fresh]) if len(known) else fresh
            for col in np.flatnonzero(jobs.mask[row]).tolist():
                start, stop = reach[col].col0 - part.col0, reach[col].col1 - part.col0
                cells = known[:, start:stop].tobytes()
                found.append(self._join(cells, b"" if covered[row, col] else self._outline))
        return np.frombuffer(b"".join(found), np.uint8).reshape(-1, 32)

    def _join(self, cells: bytes, outline: bytes = b"") -> bytes:
        return hashlib.sha256(self._start + cells + outline).digest()

    @cached_property
    def _item_digests(self) -> NDArray[np.uint8]:
        """(item + 1, 32); the last row, zeros, stands for no item."""
        return np.concatenate([self.items.digests, np.zeros((1, 32), np.uint8)])

    @cached_property
    def _start(self) -> bytes:
        return bytes.fromhex(self.settings_digest)

    def stage_digest(self, job: Index) -> str:
        """Of what stage(job) writes."""
        cells = self.lattice.cells_touching(self.lattice.shard_window(job).expand(self.lattice.fill_px))
        return self._join(self.cell_digests(cells).tobytes()).hex()

    def sample_digest(self, job: Index) -> str:
        """Of what sample(job) writes."""
        return _digest(
            {
                "stages": [self.stage_digest(stage) for stage in self.layout.stages_of_sample(job).indices()],
                "tiles": self.layout.sample_tiles(job),
            }
        )

    def cell_digests(self, window: Window) -> NDArray[np.uint8]:
        """(row, col, 32) digest of each cell's place, candidates, fits and, where seams are taken out, neighbours."""
        lr, ref = self.cells.part(window)
        rows, cols = np.arange(window.row0, window.row1), np.arange(window.col0, window.col1)
        place = np.stack(np.meshgrid(rows, cols, indexing="ij"), -1).astype("<i8")
        near = first_scenes(self.cells, window).reshape(*window.shape, 9) if len(self.seams) else place[..., :0]
        found = np.empty((*window.shape, 32), np.uint8)
        wide = [-(-np.maximum((kind >= 0).sum(-1), 1) // FEW_CANDIDATES) for kind in (lr, ref)]
        for a in np.unique(wide[0]).tolist():
            for b in np.unique(wide[1]).tolist():
                some = (wide[0] == a) & (wide[1] == b)
                if not some.any():
                    continue
                scenes, references = lr[some, : a * FEW_CANDIDATES], ref[some, : b * FEW_CANDIDATES]
                found[some] = self._cell_digests(place[some], scenes, references, near[some])
        return found

    def _cell_digests(
        self, place: NDArray[np.int64], lr: NDArray[np.int32], ref: NDArray[np.int32], near: NDArray[np.int32]
    ) -> NDArray[np.uint8]:
        """(cell, 32) of cells whose candidates are (cell, n): another n gives other digests."""
        at = self.fits.place(pair_keys(ref[..., :, None], lr[..., None, :]))
        found = _rows(place, self._item_digests[lr], self._item_digests[ref], self.fits.rows[at])
        if not len(self.seams):
            return found
        at = self.seams.measured(pair_keys(lr[..., :, None], near[..., None, :]))
        # A cell without a measured pair is not touched by its neighbours; see `dsdit.plan.seams.balance`.
        met = (at >= 0).any((-2, -1))
        if met.any():
            found[met] = _rows(found[met], self._item_digests[near[met]], self.seams.rows[at[met]])
        return found

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


def cell_window(lattice: Lattice, cell: Index) -> Window:
    """HR pixels of a cell."""
    side = lattice.cell_px
    return Window(cell.row * side, cell.col * side, (cell.row + 1) * side, (cell.col + 1) * side)


def _rows(first: NDArray[Any], *more: NDArray[Any]) -> NDArray[np.uint8]:
    """(..., 32) digests of rows; the last axis of the first, and all further axes of the others, belong to a row."""
    lead = first.shape[:-1]
    parts = [np.ascontiguousarray(c).view(np.uint8).reshape(math.prod(lead), -1) for c in (first, *more)]
    return row_digests(np.concatenate(parts, 1)).reshape(*lead, 32).copy()


def _digest(record: Any) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
