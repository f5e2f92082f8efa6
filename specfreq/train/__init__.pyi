from .loop import check as check
from .loop import fit as fit
from .recipe import Recipe as Recipe
from .recipe import learning_rate as learning_rate
from .state import VERSION as VERSION
from .state import Diverged as Diverged
from .state import version as version
