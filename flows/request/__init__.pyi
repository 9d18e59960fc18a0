from .request import Request as Request
from .request import load_request as load_request
from .request import make_request as make_request
from .request import region_names as region_names

__all__ = ["Request", "load_request", "make_request", "region_names"]
