"""Files and folders below a root, as every reader looks for them: links are followed, what the system left is not seen."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

LEFT_ALONE = ("__MACOSX",)
"""Folders that archives made on a Mac carry beside the real files; names that begin with a dot are left alone too."""


def hidden(name: str) -> bool:
    """Return whether a name is one of the system's own: `._a.h5ad`, `.ipynb_checkpoints`, `.DS_Store`, `__MACOSX`."""
    return name.startswith(".") or name in LEFT_ALONE


def inside(folder: Path) -> list[Path]:
    """Return the visible files and folders directly in a folder, sorted by name."""
    return sorted(path for path in folder.iterdir() if not hidden(path.name))


def below(root: Path) -> Iterator[Path]:
    """Yield every visible file and folder below a root; folders that are links are followed, each folder is met once.

    Real folders come before linked ones, so that a folder is met under its own name if it lies below the root itself.
    Zarr stores are yielded and not looked into.
    """
    seen: set[str] = set()
    waiting, linked = [root] if root.is_dir() else [], list[Path]()
    while waiting or linked:
        folder = waiting.pop() if waiting else linked.pop(0)
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        with os.scandir(folder) as entries:
            found = sorted((entry for entry in entries if not hidden(entry.name)), key=lambda entry: entry.name)
        for entry in found:
            path = folder / entry.name
            yield path
            if path.suffix != ".zarr" and entry.is_dir():
                (linked if entry.is_symlink() else waiting).append(path)


def find(root: Path, *patterns: str) -> list[Path]:
    """Return the files and folders below a root whose path ends in one of these patterns, sorted."""
    return sorted(path for path in below(root) if fits(path.relative_to(root), patterns))


def fits(path: Path, patterns: Iterable[str]) -> bool:
    """Return whether the end of a path is one of these patterns."""
    return any(path.match(pattern) for pattern in patterns)


def visible(folder: Path, pattern: str) -> list[Path]:
    """Return the files and folders directly in a folder whose name fits a pattern, sorted; none where it is no folder."""
    return [path for path in inside(folder) if path.match(pattern)] if folder.is_dir() else []
