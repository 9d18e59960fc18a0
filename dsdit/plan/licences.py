"""Terms of the sources of a plan: their attributions, their licences, and the strictest rule on derivatives."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from dsdit.plan.plan import Plan

YEAR = "{year}"
"""Placeholder in a source's attribution for the years of its items."""
_STRICT = ("yes", "non-commercial", "no")
"""Values of a source's `derivatives`, from free to forbidden."""


def attributions(plan: Plan) -> list[str]:
    """Attributions of the sources, sorted, with the years of each source's items in the plan."""
    years: dict[str, set[int]] = {}
    if any(YEAR in str(source.get("attribution", "")) for source in plan.sources.values()):
        for item in plan.items:
            years.setdefault(item["source"], set()).add(datetime.fromisoformat(item["when"]).year)
    texts = {n: str(s["attribution"]) for n, s in plan.sources.items() if s.get("attribution")}
    return sorted({fill_years(text, years.get(name, ())) for name, text in texts.items()})


def fill_years(text: str, years: Iterable[int]) -> str:
    """An attribution with its placeholder filled: 2024, or 2023-2024 for the first and the last."""
    found = sorted(set(years))
    span = "" if not found else f"{found[0]}" if len(found) == 1 else f"{found[0]}-{found[-1]}"
    return " ".join(text.replace(YEAR, span).split())


def licences(plan: Plan) -> list[str]:
    """The licences of the sources, each once."""
    return sorted({str(source["licence"]) for source in plan.sources.values() if source.get("licence")})


def strictest(plan: Plan) -> tuple[str, list[str]] | None:
    """Whether derivatives of a mosaic of this plan are allowed (yes, non-commercial or no), and whose terms decide it.

    None where no source states `derivatives`.
    """
    stated = {name: str(s["derivatives"]) for name, s in plan.sources.items() if s.get("derivatives")}
    if not stated:
        return None
    rank = max(_STRICT.index(word) for word in stated.values())
    return _STRICT[rank], sorted(name for name, word in stated.items() if _STRICT.index(word) == rank)
