from .plan.cost import cost as cost
from .plan.make_plan import make_plan as make_plan
from .request.request import Request as Request
from .request.request import load_request as load_request
from .sr_region import run_region as run_region

__all__ = ["Request", "cost", "load_request", "make_plan", "run_region"]
