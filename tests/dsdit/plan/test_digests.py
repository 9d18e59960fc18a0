"""Digests keep their values: receipts of mosaics that exist hold them, and one that differs makes its job due."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from dsdit.bands import BANDS
from dsdit.plan.pair_fits import Fits
from dsdit.plan.plan import Plan
from dsdit.window import Index, Window
from tests.dsdit.plan.made_up import made_up_plan

INSIDE, CUT = Index(0, 0), Index(-3, 3)
"""A job whose shard is wholly in the region, and one at its edge."""
SETTINGS = "c81b8809192e5352e56689b70899cc764ee58e773f4213a16475725aca065406"
KNOWN = {
    "seams": {
        "plan": "da3abba44204ad8804514cae8bad8d20a96ba6f32b42d3e484c94ff1e6c21323",
        "inside": "0234b5351bcb61259cc150ff468c83852ee1ca1f0f1b3659a86e1e8c77fe5b22",
        "cut": "38c2f08413409fff7b1664dd4b0be2b073918880d666b828fb65e80d1cbc3a81",
        "sample": "91cc198f7405685110f9675d47cc540bb7eaa152db01df59b15f6831b90c6066",
        "jobs": "eac4d9120362d175886d545ef441a39817f8477fcda42f75403cc8ac95c9013f",
        "cells": "80932f410e1f7557e6ba6cbeeddaac9328a41b4a5e91561042beb7d078d90562",
    },
    "no seams": {
        "plan": "e9400b2693b5fa4ba3ef72c63d47b84c4a3cb5078faf2941d08bfce482f7baad",
        "inside": "d6ba7ade82f8c4db577f4f0bb2ce629db0ea4a6bce81b77c47e8cee30e635ce0",
        "cut": "6f39a44f4ea64989e007eb5b008bf690c96fbe4482ca62fc5d6776291cdc502d",
        "sample": "7a1e3e4e11a99923f080e15b02ca42dc7f98918804cc468d3aa1d68686540918",
        "jobs": "8eb8703a213880395cbd0605cf9bde224fe3b8adabf49441ef7b43de45e0a9b4",
        "cells": "0ad81252e5b25371d10420fd2208f5f2712676edd080cd96fdf6c682f8af90a7",
    },
}
"""In hex, as the first release computed them; of arrays the sha256 of their bytes."""


@pytest.fixture(params=list(KNOWN))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def plan(kind: str) -> Plan:
    return made_up_plan() if kind == "seams" else made_up_plan(seams=Fits.of({}))


def test_digests_have_the_values_of_the_first_release(plan: Plan, kind: str) -> None:
    known = KNOWN[kind]
    assert plan.settings_digest.hex() == SETTINGS
    assert plan.digest.hex() == known["plan"]
    assert [plan.job_digest(job).hex() for job in (INSIDE, CUT)] == [known["inside"], known["cut"]]
    assert plan.stage_digest(INSIDE).hex() == known["inside"]  # both reach the same cells, and no outline counts
    assert plan.sample_digest(INSIDE).hex() == known["sample"]
    assert hashlib.sha256(plan.job_digests().tobytes()).hexdigest() == known["jobs"]
    cells = plan.cell_digests(Window(-4, -4, 5, 6))
    assert hashlib.sha256(cells.tobytes()).hexdigest() == known["cells"]


def test_bands_count_in_digests_where_they_are_not_red_green_and_blue(plan: Plan) -> None:
    assert plan.bands == BANDS
    four = replace(plan, bands=(*BANDS, "nir"))
    assert four.settings_digest != plan.settings_digest
    assert four.digest != plan.digest
    assert four.job_digest(INSIDE) != plan.job_digest(INSIDE)
    assert replace(plan, bands=("blue", "green", "red")).settings_digest not in (
        plan.settings_digest,
        four.settings_digest,
    )


def test_digests_are_computed_once_and_do_not_depend_on_the_window_they_are_read_on(plan: Plan, kind: str) -> None:
    assert plan.job_digests() is plan.job_digests()
    window = Window(-4, -4, 5, 6)
    whole = plan.cell_digests(window)
    fresh = made_up_plan() if kind == "seams" else made_up_plan(seams=Fits.of({}))
    for part in (Window(4, 5, 5, 6), Window(-1, -4, 2, 1), Window(-4, -1, 5, 0)):
        np.testing.assert_array_equal(fresh.cell_digests(part), whole[part.within(window)])
    for number, job in enumerate(plan.layout.mosaic_jobs):
        assert plan.job_digests()[number].tobytes() == fresh.job_digest(job)
