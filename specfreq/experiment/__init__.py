"""Experiments: a typed description -> a run in its own directory -> results, each computed once."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
