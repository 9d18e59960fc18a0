"""`python -m tests.faults [RUNS] [SEED] [FOLDER]`: the campaign on the Dask layer by itself, a line a kill."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.faults.campaign import quick_record, run_campaign
from tests.support.equator import make_equator
from tests.support.kept import AROUND_ZERO
from tests.support.running import make_weights


def main(arguments: list[str]) -> int:
    """Prints every trial; fails where one is not good."""
    runs, seed = (int(a) for a in [*arguments[:2], "80", "1"][:2])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments[2] if len(arguments) > 2 else temporary)
        catalog, weights = make_equator(folder / "catalog"), make_weights(folder / "weights")
        trials = run_campaign(
            runs,
            seed,
            lambda output: quick_record(catalog, weights, output, AROUND_ZERO),
            folder,
            lambda line: print(line, flush=True),
        )
    bad = [trial for trial in trials if not trial.good]
    ended, most = sum(trial.finished for trial in trials), max((trial.repeated for trial in trials), default=0)
    seconds = sum(trial.seconds for trial in trials) / max(1, len(trials))
    print(f"{len(trials)} trials, {ended} of them killed after the end, {len(bad)} bad")
    print(f"steps begun anew: at most {most}; {seconds:.1f} s a trial")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
