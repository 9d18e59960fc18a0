"""Stated and measured MTF of a source in one line, with what to do where they disagree."""

from __future__ import annotations

from dsdit.imaging.mtf import MtfEstimate

_BASIS = {"reference": "against references", "spectrum": "from the spectrum of LR alone, a rough figure"}


def mtf_text(stated: float, measured: MtfEstimate | None) -> str:
    """Both with the interval; a warning with what to write where the stated one is outside of it."""
    if measured is None:
        return f"states {stated:.3f}; not measured: too little clear ground, or too little detail"
    found = f"measured {measured.value:.3f} ({measured.low:.3f} to {measured.high:.3f}) {_BASIS[measured.method]}"
    if stated in measured:
        return f"states {stated:.3f}; {found}"
    return (
        f"beware: states {stated:.3f}, {found}: under a wrong MTF the result can be worse than interpolation; "
        f"if the measured one is right, write `mtf_nyquist: {measured.value:g}` into the source's file"
    )
