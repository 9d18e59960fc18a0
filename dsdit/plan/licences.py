"""The terms of what a plan is made from: what its sources ask to be said, their licences, and the strictest of all."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from dsdit.plan.plan import Plan

YEAR = "{year}"
"""Stands in a source's attribution for the years of its items."""
_STRICT = ("yes", "non-commercial", "no")
"""What a source says of derivatives, from free to forbidden."""


def attributions(plan: Plan) -> list[str]:
    """What the sources ask to be said, with the years of each source's items in the plan."""
    years: dict[str, set[int]] = {}
    if any(YEAR in str(source.get("attribution", "")) for source in plan.sources.values()):
        for item in plan.items:
            years.setdefault(item["source"], set()).add(datetime.fromisoformat(item["when"]).year)
    texts = {n: str(s["attribution"]) for n, s in plan.sources.items() if s.get("attribution")}
    return sorted({fill_years(text, years.get(name, ())) for name, text in texts.items()})


def fill_years(text: str, years: Iterable[int]) -> str:
    """An attribution with its placeholder filled: 2024, or 2023-2024 for the first and the last."""
    found = sorted(set(years))
    said = "" if not found else f"{found[0]}" if len(found) == 1 else f"{found[0]}-{found[-1]}"
    return " ".join(text.replace(YEAR, said).split())


def licences(plan: Plan) -> list[str]:
    """The licences of the sources, each once."""
    return sorted({str(source["licence"]) for source in plan.sources.values() if source.get("licence")})


def strictest(plan: Plan) -> tuple[str, list[str]] | None:
    """What may be made of a mosaic of this plan (yes, non-commercial or no), and the sources that ask for it.

    None where no source says anything.
    """
    said = {name: str(s["derivatives"]) for name, s in plan.sources.items() if s.get("derivatives")}
    if not said:
        return None
    rank = max(_STRICT.index(word) for word in said.values())
    return _STRICT[rank], sorted(name for name, word in said.items() if _STRICT.index(word) == rank)
