"""Files below a root, as every reader looks for them; and what a run's folder holds."""

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bleep.errors import DataError

LEFT_ALONE = ("__MACOSX",)
"""Folders that archives made on a Mac carry beside the real files; names that begin with a dot are left alone too."""


log = logging.getLogger(__name__)


def hidden(name: str) -> bool:
    """Return whether a name is one of the system's own: `._a.h5ad`, `.ipynb_checkpoints`, `.DS_Store`, `__MACOSX`."""
    return name.startswith(".") or name in LEFT_ALONE


def inside(folder: Path) -> list[Path]:
    """Return the visible files and folders directly in a folder, sorted by name.

    Raises:
        DataError: it cannot be looked into.

    """
    with _looked_into(folder):
        return sorted(path for path in folder.iterdir() if not hidden(path.name))


def below(root: Path) -> Iterator[Path]:
    """Yield every visible file and folder below a root; folders that are links are followed, each folder is met once.

    Real folders come before linked ones, so that a folder is met under its own name if it lies below the root itself.
    Zarr stores are yielded and not looked into. Links that lead nowhere are told.

    Raises:
        DataError: a folder cannot be looked into, so that what it holds would be left out unnoticed.

    """
    seen: set[str] = set()
    waiting, linked = [root] if root.is_dir() else [], list[Path]()
    while waiting or linked:
        folder = waiting.pop() if waiting else linked.pop(0)
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        with _looked_into(folder), os.scandir(folder) as entries:
            found = sorted((entry for entry in entries if not hidden(entry.name)), key=lambda entry: entry.name)
            folders = {entry.name: entry.is_symlink() for entry in found if entry.is_dir()}
        for entry in found:
            path = folder / entry.name
            yield path
            if path.suffix != ".zarr" and entry.name in folders:
                (linked if folders[entry.name] else waiting).append(path)
            elif entry.is_symlink() and not path.exists():
                log.warning("%s: is a link to what is not there, so nothing is read from it", path)


@contextlib.contextmanager
def _looked_into(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{error.filename or folder}: cannot be looked into ({error.strerror}), so a section there would be left out; ask "
            "for the right to read it, or move it away"
        ) from None


def find(root: Path, *patterns: str) -> list[Path]:
    """Return the files and folders below a root whose path ends in one of these patterns, sorted, but links to nothing."""
    return sorted(path for path in below(root) if fits(path.relative_to(root), patterns) and path.exists())


def fits(path: Path, patterns: Iterable[str]) -> bool:
    """Return whether the end of a path is one of these patterns."""
    return any(path.match(pattern) for pattern in patterns)


def visible(folder: Path, pattern: str) -> list[Path]:
    """Return the files and folders directly in a folder whose name fits a pattern, sorted; none where it is no folder."""
    return [path for path in inside(folder) if path.match(pattern)] if folder.is_dir() else []


CONFIG, PANEL, BATCH, FACTS, MODEL, LOG, STATE, REFERENCE, LOCK = NAMES = (
    "config.yaml", "panel.json", "batch.safetensors", "run.json", "model.safetensors", "log.jsonl", "state", "reference",
    ".lock",
)  # fmt: skip
"""Names inside a run's folder."""
CALIBRATION, CALIBRATED = "calibration", "calibration.json"
"""Names inside a run's folder, and inside the folder of a calibration."""
ENSEMBLE = "ensemble.json"
"""Name of the file that makes a folder an ensemble of runs."""
EPOCHS = "epochs"
"""Name of the folder of a run that holds it as it was after some epochs."""
STORES = "tiles"
"""Name of the stores of tiles inside the cache."""
OF_TUNING = ("study.db", "trials.csv")
"""Names that only the folder of a tuning holds; the runs below it are its trials."""
MANIFEST = "manifest.json"
"""Name of what an index says of itself, inside the folder of the reference."""


def newest_run(root: Path = Path("runs")) -> Path:
    """Return the finished run below `root` whose weights were written last; the trials of a tuning do not count, nor what a run
    keeps of itself as it was earlier.

    Raises:
        DataError: there is none.

    """
    whole_ones = (path for path in find(root, MODEL) if not _is_no_result(path.parent, root))
    found: Sequence[Path] = sorted(whole_ones, key=lambda path: path.stat().st_mtime)
    if not found:
        raise DataError(f"{root}/: holds no trained run; train one, or name it with --run or $BLEEP_RUN")
    return found[-1].parent


def _is_no_result(folder: Path, root: Path) -> bool:
    if folder.parent.name == EPOCHS:
        return True
    above = [parent for parent in folder.parents if parent.is_relative_to(root)]
    return any((parent / name).exists() for parent in above for name in OF_TUNING)
