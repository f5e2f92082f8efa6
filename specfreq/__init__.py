"""specfreq: how image classifiers use frequency, phase and texture.

The heavy parts are imported when first used, so that ``import specfreq`` and ``specfreq --help`` are quick.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
