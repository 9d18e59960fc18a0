"""Stragglers: when a step has taken so long that a backup copy of it is started on another worker, or that it hangs.

A step is deterministic and writes whole objects, or gives back changes that count with their commit alone. So a second
copy is safe, and the first that is done wins. Where no copy ends either, the workers that run them are restarted.
"""

from __future__ import annotations

from collections import defaultdict, deque
from statistics import median

from flows.run.limits_and_hooks import STRAGGLER_S

IDLE_PERCENT = 10.0
"""CPU of one core below which a worker does nothing for the step that it runs."""
_BUSY_TIMES = 12
_TIMES, _ENOUGH, _KEPT = 4, 3, 64


class Pace:
    """How long the last steps of each kind took, from their submission on."""

    def __init__(self, least_s: float = STRAGGLER_S) -> None:
        self._least_s = least_s
        self._seconds: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_KEPT))

    def add(self, step: str, seconds: float) -> None:
        """Records a step that was done."""
        self._seconds[step].append(seconds)

    def limit_s(self, step: str) -> float:
        """Seconds after which a step of this kind is a straggler; longer while only few are done."""
        recent = self._seconds[step]
        return max(self._least_s, _TIMES * median(recent)) if len(recent) >= _ENOUGH else _TIMES * self._least_s


def should_launch_backup(
    age_s: float, limit_s: float, has_backup: bool, free_slots: int, workers: int, others: int
) -> bool:
    """Whether a step gets a backup copy now.

    Args:
        age_s: seconds since it was submitted.
        limit_s: age from which it is a straggler, see `Pace.limit_s`.
        has_backup: whether it was given out twice already; nobody gets a third copy.
        free_slots: futures that may still be submitted.
        workers: workers of the cluster.
        others: workers that do not have this step. Where none of all has it, no worker has begun it yet.
    """
    return age_s > limit_s and not has_backup and free_slots > 0 and 0 < others < workers


def is_hung(age_s: float, limit_s: float, idle_s: float) -> bool:
    """Whether a step hangs, and is not merely large.

    Args:
        age_s: seconds since its newest copy was submitted.
        limit_s: age from which it is a straggler, see `Pace.limit_s`.
        idle_s: seconds since when the worker of one of its copies has used no CPU.
    """
    return age_s > limit_s and (idle_s > limit_s or age_s > _BUSY_TIMES * limit_s)
