"""Training: recipes, the loop, what it is fed, its state, checkpoints, processes. See `train.fit`."""

import lazy_loader

# a recipe is described without torch, which the loop imports
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
