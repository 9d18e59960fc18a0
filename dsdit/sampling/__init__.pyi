from .guidance import autoguidance as autoguidance
from .guidance import guided as guided
from .noise import block_noise as block_noise
from .noise import noise_window as noise_window
from .schedule import published_sigmas as published_sigmas
from .schedule import sigmas_of as sigmas_of
from .schedule import spaced_sigmas as spaced_sigmas
from .solver import SOLVERS as SOLVERS
from .solver import sample as sample

__all__ = [
    "SOLVERS",
    "autoguidance",
    "block_noise",
    "guided",
    "noise_window",
    "published_sigmas",
    "sample",
    "sigmas_of",
    "spaced_sigmas",
]
