"""Predict spatially resolved gene expression from H&E histology, by retrieval from measured spots.

Names are loaded on first use, so that `import bleep` costs next to nothing.
"""

from typing import Any

import lazy_loader

from bleep import _old_paths

_attach, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
_old_paths.install()


def __getattr__(name: str) -> Any:
    """Return a public name, or the version of the package that is installed."""
    if name == "__version__":
        from importlib.metadata import version

        return version("bleep-st")
    return _attach(name)
