"""Schedules, solvers, guidance and noise of sampling. Importing this package loads torch."""

from dsdit.sampling.guidance import autoguidance, guided
from dsdit.sampling.noise import block_noise, noise_window
from dsdit.sampling.schedule import published_sigmas, sigmas_of, spaced_sigmas
from dsdit.sampling.solver import SOLVERS, sample

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
