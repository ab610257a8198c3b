"""Parts of other packages, by name: readers, trunks, losses, indexes, predictors and metrics.

A package lists its parts as entry points of the groups `bleep.readers`, `bleep.trunks` and so on; in Python `register` does the
same for as long as the process lives. Nothing is imported before it is asked for. What each kind of part must be able to do
is in docs/how-to/extend.
"""

import hashlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, final, get_args, runtime_checkable

from bleep.errors import ConfigError

KindName = Literal["readers", "trunks", "losses", "indexes", "predictors", "metrics"]
KINDS: tuple[KindName, ...] = get_args(KindName)
"""The kinds of parts; the group of a kind's entry points is `bleep.KIND`."""

OWN: Mapping[KindName, tuple[str, ...]] = {
    "readers": (
        "folder", "her2st", "st2k", "visium", "segmented", "xenium", "h5ad", "hest", "spatialdata", "liver", "wsi", "patches",
        "toy",
    ),
    "trunks": ("features", "textures", "centred-textures"),
    "losses": ("clip", "siglip", "mse", "huber", "log_cosh", "pearson", "heg_mse", "hvg_mse"),
    "indexes": ("auto", "flat", "ivf", "ivfpq", "hnsw", "sq", "diskann"),
    "predictors": (
        "combined", "mean of both", "plain mean", "retrieval", "regression", "classifier", "ensemble",
        "ridge", "ridge on colour", "ridge on stains", "ridge on random trunk", "image-kNN", "mean",
        "robust ridge", "image-kNN by section", "ridge on colour by section", "component retrieval",
        "robust ridge on textures", "component retrieval on textures",
    ),
}  # fmt: skip
"""Names of bleep's own parts, which no other may have: tables and settings could not tell the two apart. Metrics are told from
bleep's own scores by the word before them, and further trunks are looked up where they are built."""

T = TypeVar("T")


@runtime_checkable
class EntryPoint(Protocol):
    """What is asked of an entry point; other packages bring classes of their own for it."""

    name: str
    value: str
    dist: Any

    def load(self) -> Any:
        """Import the module and return the part."""
        ...


_registered: dict[tuple[KindName, str], Any] = {}
_TAKEN = "is the name of one of bleep's own {kind}"


@final
@dataclass(frozen=True, slots=True)
class Origin:
    """Where a part comes from, as a run remembers it."""

    kind: KindName
    name: str
    package: str
    """The distribution that lists it, or the module that registered it."""
    version: str = ""
    """Of the distribution; empty for a module."""

    def describe(self) -> str:
        """Return the package and how it is made available."""
        if self.version:
            return f"the package {self.package} {self.version}, which is not installed here: pip install {self.package}"
        return f"the module {self.package}, which registers it in Python: import it first, or list it as an entry point"


def register(kind: KindName, name: str) -> Callable[[T], T]:
    """Return a decorator that makes a part known by this name, until the process ends.

    A part registered again under its name replaces the earlier one.

    Raises:
        ConfigError: there is no such kind of part, the name is empty, or one of bleep's own parts has it.

    >>> @register("metrics", "largest_error")
    ... def largest_error(predicted, measured):
    ...     return abs(predicted - measured).max(axis=0)
    >>> load("metrics", "largest_error") is largest_error
    True

    """
    if kind not in KINDS:
        raise ConfigError(f"{kind!r} is no kind of part; expected {', '.join(KINDS)}")
    given: object = name
    if not isinstance(given, str) or not given.strip():
        raise ConfigError(f"{name!r} is no name for a part of bleep.{kind}; expected words such as 'my part'")
    if name in OWN.get(kind, ()):
        raise ConfigError(f"{name}: {_TAKEN.format(kind=kind)}; register yours by another name")

    def keep(part: T) -> T:
        _registered[kind, name] = part
        return part

    return keep


def names(kind: KindName) -> tuple[str, ...]:
    """Return the names of all parts of a kind that are not bleep's own, sorted."""
    return tuple(sorted({name for group, name in _registered if group == kind} | {point.name for point in _points(kind)}))


def load(kind: KindName, name: str, *, noted: bool = False) -> Any:
    """Return a part, imported if it is an entry point's; `noted` where a run of before names it already.

    Raises:
        ConfigError: nothing has this name, two packages or bleep itself do, or the package cannot be imported.

    """
    if not noted:
        refuse_clash(kind, name, OWN.get(kind, ()))
    if (kind, name) in _registered:
        return _registered[kind, name]
    found = _found(kind, name)
    try:
        return found.load()
    except Exception as error:  # whatever the other package raises while it is imported
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"{name}: is {found.value} of the package {_package(found)[0]}, which cannot be loaded ({said}); mend that package"
        ) from error


def origin(kind: KindName, name: str) -> Origin:
    """Return where a part comes from.

    Raises:
        ConfigError: nothing has this name, or two packages do.

    """
    if (kind, name) in _registered:
        return Origin(kind, name, str(getattr(_registered[kind, name], "__module__", "") or "unknown"))
    return Origin(kind, name, *_package(_found(kind, name)))


def refuse_clash(kind: KindName, name: str, own: tuple[str, ...]) -> None:
    """Refuse a part of a package that is called as one of bleep's `own`.

    Raises:
        ConfigError: naming the package.

    """
    if name in own and name in names(kind):
        package = origin(kind, name).package
        raise ConfigError(
            f"{name}: {_TAKEN.format(kind=kind)}, and {package} brings another of that name; give that one another name"
        )


def source_digest(kind: KindName, name: str) -> str:
    """Return a sha256 of the Python files that a part is written in: those of its package, or of its module alone.

    Empty where files do not say what it is: it was made in a notebook or inside of a function, or has been made anew since.
    """
    part: Any = load(kind, name, noted=True)
    module = sys.modules.get(getattr(part, "__module__", None) or "")
    words = str(getattr(part, "__qualname__", "<locals>")).split(".")
    found: Any = module
    for word in words:
        found = getattr(found, word, None)
    if module is None or found is not part:
        return ""
    package = sys.modules.get(module.__name__.partition(".")[0])
    folders = [Path(folder) for folder in getattr(package, "__path__", ())]
    files = sorted({path for folder in folders for path in folder.rglob("*.py")}) or [
        Path(getattr(module, "__file__", None) or "")
    ]
    digest = hashlib.sha256()
    try:
        for path in files:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    except OSError:  # installed without sources, or in a notebook
        return ""
    return digest.hexdigest()


def _found(kind: KindName, name: str) -> EntryPoint:
    found = {point.value: point for point in _points(kind) if point.name == name}
    if not found:
        there = ", ".join(names(kind)) or "none is installed"
        raise ConfigError(f"{name}: no package lists such a part among its bleep.{kind}; found: {there}")
    if len(found) > 1:
        packages = " and ".join(sorted(_package(point)[0] for point in found.values()))
        raise ConfigError(f"{name}: the packages {packages} both list it among their bleep.{kind}; uninstall one of them")
    return next(iter(found.values()))


def _package(point: EntryPoint) -> tuple[str, str]:
    return (point.dist.name, point.dist.version) if point.dist is not None else (point.value.partition(":")[0], "")


@cache
def _points(kind: KindName) -> tuple[EntryPoint, ...]:
    found: Any = entry_points(group=f"bleep.{kind}")
    return tuple(found)
