"""Steps that take far too long: when one counts as such. What becomes of it is settled in `flows.run.loop`.

A step is deterministic and writes whole objects, or gives back changes that count with their commit alone: a second
copy of it is safe, and the first that is done wins.
"""

from __future__ import annotations

from collections import defaultdict, deque
from statistics import median

LEAST_S = 600.0
"""No step counts as a straggler before it."""
_TIMES, _ENOUGH, _KEPT = 4, 3, 64


class Pace:
    """How long steps of each kind took lately, from being given to the cluster on."""

    def __init__(self, least_s: float = LEAST_S) -> None:
        self._least_s = least_s
        self._seconds: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_KEPT))

    def took(self, step: str, seconds: float) -> None:
        """Notes a step that was done."""
        self._seconds[step].append(seconds)

    def limit_s(self, step: str) -> float:
        """Seconds after which a step of this kind is a straggler; more of them while too few are done to tell."""
        seen = self._seconds[step]
        return max(self._least_s, _TIMES * median(seen)) if len(seen) >= _ENOUGH else _TIMES * self._least_s
