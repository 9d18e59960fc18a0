from .evaluation.run import evaluate as evaluate
from .grid import Grid as Grid
from .mosaic.datatree import mosaic_versions as mosaic_versions
from .mosaic.datatree import open_mosaic as open_mosaic
from .plan.plan import Plan as Plan
from .region import Region as Region
from .sampling.scene import super_resolve as super_resolve

__version__: str
__all__ = ["Grid", "Plan", "Region", "evaluate", "mosaic_versions", "open_mosaic", "super_resolve"]
