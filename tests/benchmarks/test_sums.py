"""The page of sums is what its program prints, and its sums are those of a count by hand."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.sums import page, rows

ROOT = Path(__file__).parent.parent.parent


def test_the_page_is_what_the_program_prints() -> None:
    assert (ROOT / "infra" / "SUMS.md").read_text() == page()


def test_a_thousand_shards_by_hand() -> None:
    found = dict(rows(1000 * 3.2**2))
    assert found["shards (jobs), tiles"] == "1,000; 64,000"
    assert found["objects"] == f"{1000 * (2 + 6 + 1) + 1000 * 2 / 3:,.0f}"
    assert found["device-hours a second of network time a tile"] == "18"
