"""Errors that a person reads: one sentence with the value that is wrong and the way out.

Each is a `DsditError`, so that a command prints the sentence alone and a flow can distinguish a refused request
from a defect of the program.
"""

__all__ = [
    "CatalogError",
    "DsditError",
    "FailedJobsError",
    "LeaseError",
    "PlanError",
    "ReadError",
    "RequestError",
    "StoreError",
    "WeightsError",
]


class DsditError(Exception):
    """Base of every error whose message is meant for the user."""


class RequestError(DsditError, ValueError):
    """The request, region or settings cannot be used as written."""


class CatalogError(DsditError):
    """A catalog cannot be reached, gives an invalid answer, or has links that must not be followed."""


class FailedJobsError(DsditError):
    """Some jobs of a run failed; the others are done."""


class LeaseError(DsditError):
    """Another run holds the output, or has taken it from this one."""


class PlanError(DsditError):
    """No plan is possible, or a plan does not fit what it is applied to."""


class ReadError(DsditError):
    """An asset could not be read: names item, asset and cause."""


class StoreError(DsditError):
    """An output or scratch location cannot be used."""


class WeightsError(DsditError):
    """A weights folder or checkpoint is missing, damaged, hostile or of another shape."""
