"""Bytes, objects and requests of a plan's work: what is read, written, and in scratch. Upper bounds, uncompressed."""

from __future__ import annotations

from dataclasses import dataclass

from dsdit.mosaic.mosaic_arrays import LEVEL_ARRAYS, shard_specs
from dsdit.mosaic.template import level_count
from dsdit.plan.plan import Plan
from dsdit.steps.scratch import SCRATCH
from dsdit.store.array_spec import shard_bytes
from flows.plan.work import Work

WRITE_REQUESTS, _READ_REQUESTS = 3, 2.5
"""Requests that Zarr takes to write a shard (it looks for the one before) and to read parts of one (size, index and
chunks); a test counts them."""
_SAMPLE_READS, _MOSAIC_READS = 4, 5
"""Arrays that a sample reads of each stage around it, and a mosaic of each stage and sample around it together."""
_COG_BLOCK_PX = 512
"""Side of a block of a COG: what one request reads."""
_LR_VALUE_BYTES, _MASK_BYTES = 2, 2
"""Bytes of an LR pixel: of one band, and of the mask."""
_LEVEL_OBJECTS, _LEVEL_REQUESTS = 2, 4
"""Objects of a shard of a coarser level (`sr` and `status`), and requests for each besides its writing: four shards of
the finer level are read for it."""
_RECEIPT_REQUESTS = 2
"""Requests for the receipt of a step: one that looks for an earlier one and one that writes."""


@dataclass(frozen=True)
class Traffic:
    """What moves between catalogs, workers and stores."""

    bytes_read: int
    """From catalogs."""
    bytes_written: int
    """To the mosaic."""
    bytes_scratch_peak: int
    """In scratch at the same time."""
    bytes_scratch: int
    """Written to scratch over the whole run."""
    objects: int
    """Of the mosaic."""
    requests: int
    """To catalogs and to the store of the mosaic."""
    requests_of_scratch: int
    """To the store of scratch, where that is an object store."""


def count_traffic(plan: Plan, work: Work) -> Traffic:
    """The traffic of a plan's work."""
    lattice, bands = plan.lattice, len(plan.bands)
    stage, sample = (shard_bytes(SCRATCH[step], lattice, bands) for step in ("stage", "sample"))
    # All coarser levels together have a third of the pixels of level 0: 1/4 + 1/16 + ...
    shard = shard_bytes(shard_specs(plan), lattice, bands) + shard_bytes(LEVEL_ARRAYS, lattice, bands) / 3
    coarse = _coarse_objects(plan, work.due)
    objects = work.due * len(shard_specs(plan)) + coarse
    requests = _reads(plan, work) + WRITE_REQUESTS * objects + coarse * _LEVEL_REQUESTS + _RECEIPT_REQUESTS * work.due
    return Traffic(
        bytes_read=_bytes_read(plan, work),
        bytes_written=int(work.due * shard),
        bytes_scratch_peak=work.stages_open * stage + work.samples_open * sample,
        bytes_scratch=work.stages * stage + work.samples * sample,
        objects=objects,
        requests=requests,
        requests_of_scratch=requests_of_scratch(work.stages, work.samples, work.due),
    )


def requests_of_scratch(stages: int, samples: int, mosaics: int, around: int = 9) -> int:
    """Requests of so many steps where scratch is in an object store; `around` are the neighbours that each reads."""
    around = min(around, stages)
    written = stages * len(SCRATCH["stage"]) + samples * len(SCRATCH["sample"])
    read = around * (_SAMPLE_READS * samples + _MOSAIC_READS * mosaics)
    receipts = _RECEIPT_REQUESTS * (around * (samples + 2 * mosaics) + stages + samples)
    return int(WRITE_REQUESTS * written + _READ_REQUESTS * read) + receipts


def _bytes_read(plan: Plan, work: Work) -> int:
    """A stage with a scene reads its shard of LR (bands and mask) and, where there are references, one byte a band."""
    hr, lr = plan.lattice.shard_px**2, (plan.lattice.shard_px // plan.lattice.scale) ** 2
    bands = len(plan.bands)
    ref = hr * bands if _has_references(plan) else 0
    return work.stages_with_scene * (ref + lr * (_LR_VALUE_BYTES * bands + _MASK_BYTES))


def _reads(plan: Plan, work: Work) -> int:
    """Requests to catalogs: for each file its header, and every block that a shard can touch."""
    lr, hr = (_blocks(side) ** 2 + 1 for side in (plan.lattice.shard_px // plan.lattice.scale, plan.lattice.shard_px))
    lr_files = len(plan.bands) + 1  # each band and the mask
    return work.stages_with_scene * (lr_files * lr + (hr if _has_references(plan) else 0))


def _blocks(side_px: int) -> int:
    """Blocks along a side of a window, which may begin within one."""
    return -(-side_px // _COG_BLOCK_PX) + 1


def _coarse_objects(plan: Plan, due: int) -> int:
    """Objects of the coarser levels: four shards of a level become one of the next."""
    return sum(_LEVEL_OBJECTS * -(-due // 4**level) for level in range(1, level_count(plan))) if due else 0


def _has_references(plan: Plan) -> bool:
    return bool((plan.cells.ref[..., 0] >= 0).any())
