from .case import Case as Case
from .case import make_case as make_case
from .run import Rows as Rows
from .run import evaluate as evaluate

__all__ = ["Case", "Rows", "evaluate", "make_case"]
