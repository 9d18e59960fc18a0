"""A plan with numbers chosen by hand: three scenes and two references around the grid's origin, fits and seams."""

from __future__ import annotations

from typing import Any

import shapely

from dsdit.grid import Grid
from dsdit.lattice.tiling import Lattice
from dsdit.plan.candidates import CellChoice, Cells, Items
from dsdit.plan.pair_fits import Correction, Fit, Fits, Registration
from dsdit.plan.plan import ModelChoice, Plan
from dsdit.plan.sampler_settings import SamplerSettings
from dsdit.region import Region
from dsdit.window import Index

LATTICE = Lattice(scale=8, token_px=8, tile_px=128, overlap_px=32, chunk_strides=4, shard_chunks=4, halo_px=64)
"""Shards of 1536 px, cells of 2048 px."""


def item(name: str, when: str) -> dict[str, Any]:
    """A record as a plan holds it."""
    return {"id": name, "source": "sky", "when": when, "digest": f"of {name}"}


def made_up_plan(**changes: Any) -> Plan:
    """A plan over an outline with a slanted edge, so that some shards are whole and others are cut."""
    grid = Grid("EPSG:32632", 1.25, LATTICE.scale)
    outline = shapely.Polygon([(-4000, -3500), (6000, -3500), (6000, 2500), (-1000, 4000), (-4000, 4000)])
    items = [item(f"s{k}", f"2024-0{k + 1}-03T10:00:00+00:00") for k in range(3)]
    items += [item(f"r{k}", f"2022-0{k + 1}-03T10:00:00+00:00") for k in range(2)]
    choices = {
        Index(row, col): CellChoice((abs(row + col) % 3, (abs(row + col) + 1) % 3), (3, 4) if col % 2 else (4,))
        for row in range(-3, 4)
        for col in range(-3, 5)
    }
    choices[Index(0, 0)] = CellChoice((0, 1, 2, 0, 1), (3, 4, 3, 4, 3))
    moved = Registration(1.5, -2.25, 0.9, 0.5, 7, Correction.APPLIED)
    unsure = Registration(0.0, 0.0, 0.3, 0.0, 0, Correction.UNSURE)
    fits = {
        (3, 0): Fit((1.1, 1.0, 0.9), (0.01, 0.0, -0.01), 500, moved),
        (3, 1): Fit((1.0, 1.0, 1.0), (0.02, 0.0, 0.0), 400, unsure),
        (4, 2): Fit((0.8, 0.9, 1.0), (0.0, 0.0, 0.0), 300),
    }
    seams = {(0, 1): Fit((1.01, 1.0, 0.99), (0.001, 0.0, 0.0), 9000), (1, 0): Fit((0.99, 1.0, 1.01), samples=9000)}
    model = ModelChoice("none", "ab" * 32)
    arguments: dict[str, Any] = {
        "region": Region("made", grid, outline.wkt),
        "lattice": LATTICE,
        "sampler": SamplerSettings(),
        "model": model,
        "mtf_nyquist": 0.3,
        "sources": {"sky": {"name": "sky", "role": "lr"}},
        "items": Items.of(items),
        "cells": Cells.of(choices),
        "fits": Fits.of(fits),
        "seams": Fits.of(seams),
        "known": ("an item of before",),
    }
    return Plan(**{**arguments, **changes})
