"""Predict spatially resolved gene expression from H&E histology, by retrieval from measured spots.

Names are loaded on first use, so that `import bleep` costs next to nothing.
"""

import lazy_loader

from bleep import _old_paths

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
_old_paths.install()
