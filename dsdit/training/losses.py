"""The losses of a run, one line a step, as a file that a resumed run goes on with."""

from __future__ import annotations

import csv
from pathlib import Path

LOSS_FILE = "losses.csv"
_SMOOTHING = 0.98


class LossLog:
    """`losses.csv` with the columns `step` and `loss`; a context manager, since the file stays open."""

    def __init__(self, path: Path, step: int) -> None:
        """Keeps what `path` holds up to `step`, the checkpoint's: later steps are done again."""
        self.smooth: float | None = None
        """Running mean of the losses."""
        kept: list[tuple[int, str]] = []
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.reader(file) if len(row) == 2 and row[0].isdecimal()]
            kept = [(int(number), loss) for number, loss in rows if int(number) <= step]
        partial = path.with_suffix(".partial")
        partial.write_text("step,loss\n" + "".join(f"{number},{loss}\n" for number, loss in kept), "utf-8")
        partial.replace(path)
        for _, loss in kept:
            self._follow(float(loss))
        self._file = path.open("a", encoding="utf-8")

    def _follow(self, loss: float) -> float:
        self.smooth = loss if self.smooth is None else _SMOOTHING * self.smooth + (1 - _SMOOTHING) * loss
        return self.smooth

    def add(self, step: int, loss: float) -> float:
        """One more step; returns the running mean."""
        self._file.write(f"{step},{loss!r}\n")
        self._file.flush()
        return self._follow(loss)

    def __enter__(self) -> LossLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
