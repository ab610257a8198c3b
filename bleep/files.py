"""Writing so that a file or folder is there whole or not at all."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from bleep.errors import DataError

UMASK = os.umask(0o022)
"""Rights that new files of this process do not give; it can be asked for only by setting it."""
os.umask(UMASK)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; on success it takes the place of `path`, on failure it is removed.

    Raises:
        DataError: the place cannot be written to.

    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if temporary.is_dir():
            _replace_folder(temporary, path)
        else:
            with contextlib.suppress(OSError):
                # Some libraries write files that others may not read; some file systems know no such rights.
                temporary.chmod(0o666 & ~UMASK)
            temporary.replace(path)
    except (OSError, SafetensorError) as error:
        # safetensors says what the system told it in an error of its own.
        why = getattr(error, "strerror", None) or str(error).rpartition("I/O error: ")[2]
        raise DataError(f"{path}: cannot be written ({why}); choose another place or free some space") from None
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        elif temporary.exists():
            temporary.unlink()


def check_writable(path: Path) -> None:
    """Refuse a place that a file could not be written to, before the work that would fill it.

    Raises:
        DataError: it is a folder, a part of its path is a file, or the nearest folder there takes no files.

    """
    there = next(folder for folder in path.absolute().parents if folder.exists())
    why = "a folder is there" if path.is_dir() else None if there.is_dir() else f"{there} is a file"
    if why is None:
        try:
            with tempfile.TemporaryFile(dir=there):
                return
        except OSError as error:
            why = str(error.strerror)
    raise DataError(f"{path}: cannot be written ({why}); choose another place")


def write_text(path: Path, text: str) -> None:
    """Write text, whole or not at all."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, tree: Mapping[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    write_text(path, json.dumps(tree, indent=1) + "\n")


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON mapping.

    Raises:
        DataError: the file is missing or damaged.

    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; expected {what} there") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: is damaged ({str(error).splitlines()[0]}); expected {what}") from None
    if not isinstance(tree, dict):
        raise DataError(f"{path}: holds a {type(tree).__name__}; expected {what}")
    return tree


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], facts: Mapping[str, str] | None = None) -> None:
    """Write arrays as safetensors with text facts in the header, whole or not at all."""
    from safetensors.numpy import save_file

    with whole(path) as temporary:
        save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, temporary, dict(facts or {}))


def _replace_folder(temporary: Path, path: Path) -> None:
    if path.exists():
        old = path.with_name(f".{path.name}.{os.getpid()}.old")
        path.replace(old)
        try:
            temporary.replace(path)
        except BaseException:
            old.replace(path)
            raise
        shutil.rmtree(old)
    else:
        temporary.replace(path)
