from .candidates import CellChoice as CellChoice
from .candidates import Cells as Cells
from .candidates import Items as Items
from .files import latest_plan as latest_plan
from .files import read_plan as read_plan
from .files import write_plan as write_plan
from .pair_fits import Correction as Correction
from .pair_fits import Fit as Fit
from .pair_fits import Fits as Fits
from .pair_fits import Registration as Registration
from .plan import ModelChoice as ModelChoice
from .plan import Plan as Plan
from .sampler_settings import SamplerSettings as SamplerSettings

__all__ = [
    "CellChoice",
    "Cells",
    "Correction",
    "Fit",
    "Fits",
    "Items",
    "ModelChoice",
    "Plan",
    "Registration",
    "SamplerSettings",
    "latest_plan",
    "read_plan",
    "write_plan",
]
