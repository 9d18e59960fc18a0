"""Fields of an untrusted JSON record, read by type.

Any JSON may be where a number or a name is expected. A value of the wrong type is treated as missing and recorded in
`left`, so that the caller can report it; null counts as missing and is not recorded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MAX_TEXT = 256
"""Characters of the longest name, code or time that is accepted."""

MAX_EPSG = 2**31 - 1
"""Largest code of a CRS."""


class Fields:
    """One record. `left` has, for each field that was left out, its value and what was expected."""

    def __init__(self, record: object) -> None:
        self._record: Mapping[str, Any] = record if isinstance(record, Mapping) else {}
        self.left: dict[str, tuple[object, str]] = {}

    def number(self, key: str, least: float = -math.inf, most: float = math.inf) -> float | None:
        """A finite number from `least` to `most`."""
        value = finite(self._record.get(key))
        if value is not None and least <= value <= most:
            return value
        limits = "" if least == -math.inf else f" from {least:g} to {most:g}"
        self._without(key, f"a number{limits}")
        return None

    def whole(self, key: str, least: int, most: int) -> int | None:
        """A whole number from `least` to `most`, which may be written as text."""
        value = self._record.get(key)
        text = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16
        number = float(value) if text else finite(value)  # type: ignore[arg-type]
        if number is not None and number.is_integer() and least <= number <= most:
            return int(number)
        self._without(key, f"a whole number from {least} to {most}")
        return None

    def text(self, key: str) -> str | None:
        """Text that can be shown on one line; empty text is none."""
        value = self._record.get(key)
        if isinstance(value, str) and value.isprintable() and len(value) <= MAX_TEXT:
            return value or None
        self._without(key, f"text that can be printed, of up to {MAX_TEXT} characters")
        return None

    def crs_code(self, key: str) -> str | None:
        """Code of a CRS such as EPSG:32632, which may be written as the number alone."""
        value = self._record.get(key)
        number = finite(value)
        if isinstance(value, str) and value.isascii() and value.isdigit():
            number = float(value)
        if number is not None and number.is_integer() and 1 <= number <= MAX_EPSG:
            return f"EPSG:{int(number)}"
        return self.text(key)

    def get(self, key: str, kind: type[Any]) -> Any:
        """A value of this very kind, whatever it holds."""
        value = self._record.get(key)
        if isinstance(value, kind):
            return value
        self._without(key, f"a {kind.__name__}")
        return None

    def _without(self, key: str, expected: str) -> None:
        if (value := self._record.get(key)) is not None:
            self.left[key] = value, expected


def finite(value: object) -> float | None:
    """A value of an untrusted record as a finite number; None for anything else."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def number_of(fields: object, key: str) -> float | None:
    """A field of an untrusted record as a finite number; None where there is none."""
    return finite(fields.get(key)) if isinstance(fields, Mapping) else None
