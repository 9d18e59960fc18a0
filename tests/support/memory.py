"""Peak anonymous memory of a piece of Python, measured from outside its process."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def peak_anonymous_bytes(code: str, *arguments: str | Path) -> int:
    """Highest RssAnon of a process of its own that runs `code`, sampled every 2 ms; mapped files do not count.

    Fails where the code fails.
    """
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT)
    peak = 0
    status = Path(f"/proc/{process.pid}/status")
    try:
        while process.poll() is None:
            found = re.search(r"RssAnon:\s+(\d+) kB", status.read_text())
            peak = max(peak, 1024 * int(found[1]) if found else 0)
            time.sleep(0.002)
    except ProcessLookupError:
        pass
    finally:
        if process.poll() is None:
            process.wait(60)
    assert process.returncode == 0, f"the measured process ended with {process.returncode}"
    return peak
