"""Import paths of version 0.1 for the public names, which work for one release more."""

import importlib
import sys
import warnings
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import final

MOVED = {
    "bleep.pipeline": "bleep",
    "bleep.prediction": "bleep.predictors",
    "bleep.prediction.baselines": "bleep.predictors.baselines",
    "bleep.prediction.calibration": "bleep.predictors.calibration",
    "bleep.prediction.combined": "bleep.predictors.calibration",
    "bleep.prediction.ensemble": "bleep.predictors",
    "bleep.prediction.reference": "bleep.retrieval.reference",
    "bleep.prediction.regression": "bleep.predictors.baselines",
    "bleep.prediction.retrieval": "bleep.predictors.retrieval",
    "bleep.settings": "bleep.config",
    "bleep.tissue": "bleep.data",
    "bleep.tissue.panel": "bleep.data.panel",
    "bleep.tissue.section": "bleep.data.section",
    "bleep.tissue.slides": "bleep.data.slides",
    "bleep.tissue.sources": "bleep.data.readers",
    "bleep.tissue.splits": "bleep.data.splits",
    "bleep.tissue.tiles": "bleep.data.tiles",
}
"""Old module, and where its public names are now. Remove this module with version 0.3."""


@final
class _Finder(MetaPathFinder, Loader):
    """Answer for an old path with the module that holds its names now."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        new = MOVED[spec.name]
        warnings.warn(f"{spec.name} is {new} since version 0.2; import from there", DeprecationWarning, stacklevel=2)
        found = importlib.import_module(new)
        alias = ModuleType(spec.name, found.__doc__)
        alias.__getattr__ = lambda name: getattr(found, name)  # type: ignore[method-assign]
        alias.__path__ = []
        return alias

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: every name is looked up where it is now."""


def install() -> None:
    """Let old paths be found; once is enough."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
