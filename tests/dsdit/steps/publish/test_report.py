"""The report's and the plan's notes on pairs."""

from __future__ import annotations

from dataclasses import replace

from dsdit.plan.candidates import Items
from dsdit.plan.pair_fits import Correction, Fit, Fits, Registration
from dsdit.steps.publish.report import registration_notes
from tests.benchmarks.wavefront_at_size import plan_of_jobs


def test_pairs_without_radiometry_are_counted() -> None:
    plan = plan_of_jobs(1, 1)
    assert registration_notes(plan) == ()
    note = "1 of 2 pairs share too little clear ground: their references keep their own radiometry"
    fits = {(2, 0): Fit(samples=900), (2, 1): Fit()}
    assert registration_notes(replace(plan, fits=Fits.of(fits))) == (note,)
    assert registration_notes(replace(plan, fits=Fits.of({(2, 0): Fit(samples=900)}))) == ()
    far = Registration(9.0, 12.0, 0.7, 0.2, 5, Correction.TOO_FAR)
    items = Items.of([{"id": name, "digest": name, "when": "2024-01-01T00:00:00+00:00"} for name in ("a", "b", "c")])
    flagged = replace(plan, items=items, fits=Fits.of(fits | {(2, 0): Fit(samples=900, registration=far)}))
    assert registration_notes(flagged) == (
        note,
        "pairs: 1 not measured, 1 above the limit",
        "c on a: misregistered by 15.00 m, above the limit (agreement 0.70), not moved",
    )
