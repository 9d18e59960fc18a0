"""The MTF that a source's YAML file states, replaced by a measured one; the rest of the file stays as it is."""

from __future__ import annotations

import re
from pathlib import Path

from catalogs.source import known_sources, load_source
from dsdit.errors import RequestError

_LINE = re.compile(r"^mtf_nyquist[ \t]*:.*$", re.MULTILINE)


def state_mtf(name_or_path: str | Path, mtf_nyquist: float) -> Path:
    """Writes `mtf_nyquist` into a source's own YAML file and returns its path. Raises RequestError.

    A source that ships is not changed: it is copied first.
    """
    text = str(name_or_path)
    if text in known_sources():
        raise RequestError(
            f"source {text} ships with the package and is not changed: copy it to a file of yours and check that"
        )
    load_source(text)
    path = Path(text)
    before = path.read_text(encoding="utf-8")
    line = f"mtf_nyquist: {mtf_nyquist:g}"
    after, count = _LINE.subn(line, before)
    if not count:
        after = f"{before.rstrip()}\n{line}\n"
    path.write_text(after, encoding="utf-8")
    try:
        stated = load_source(text).mtf_nyquist
    except RequestError:
        stated = None
    if stated != float(f"{mtf_nyquist:g}"):
        path.write_text(before, encoding="utf-8")
        raise RequestError(f"{path} cannot be changed line by line: write `{line}` into it yourself")
    return path
