"""Writing so that a file or folder is there whole or not at all."""

import contextlib
import ctypes
import glob
import json
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from bleep.errors import DataError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)


@contextlib.contextmanager
def alone(path: Path, busy: str) -> Iterator[None]:
    """Hold a lock file, made for that and removed at the end; so is its folder, unless something was put there.

    Args:
        path: name of the lock file.
        busy: what is said where another process holds it.

    Raises:
        DataError: another process holds it, or it cannot be made there; it is a link or no plain file.

    """
    new = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = _waitless(path)
    except (BlockingIOError, Timeout):
        raise DataError(busy) from None
    except OSError as error:
        # What the system says of a link that is not followed helps nobody.
        why = "a link or something else that is no lock is there" if path.is_symlink() else error.strerror or str(error)
        raise DataError(f"{path}: cannot be written ({why}); choose another place") from None
    try:
        yield
    finally:
        _let_go(held, path)
        with contextlib.suppress(OSError):
            for folder in new:
                folder.rmdir()


def hold_folder(folder: Path) -> int | None:
    """Hold a folder until `release` or the end of the process; None where the file system knows no such locks.

    Raises:
        BlockingIOError: another holds it, or it is gone or a link.

    """
    if fcntl is None:
        return None
    try:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | NOFOLLOW)
    except OSError:
        raise BlockingIOError(folder) from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between opening and locking, another may have removed it.
        if folder.lstat().st_ino == os.fstat(held).st_ino:
            return held
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:
        os.close(held)
        return None
    os.close(held)
    raise BlockingIOError(folder)


def release(held: int | None) -> None:
    """Let go of what `hold_folder` returned."""
    if held is not None:
        # A process forked meanwhile shares the lock: closing alone would leave it with that one.
        with contextlib.suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_UN)
        os.close(held)


def _waitless(path: Path) -> "int | FileLock":
    if fcntl is None:
        lock = FileLock(path, timeout=0)
        lock.acquire()
        return lock
    while True:
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | NOFOLLOW, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(held).st_mode):
                raise OSError(None, "no plain file")
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The one before removes its file before it lets go: then this lock is of a name that is gone.
            with contextlib.suppress(FileNotFoundError):
                if path.lstat().st_ino == os.fstat(held).st_ino:
                    return held
        except BaseException:
            os.close(held)
            raise
        os.close(held)


def _let_go(held: "int | FileLock", path: Path) -> None:
    if isinstance(held, int):
        with contextlib.suppress(OSError):
            path.unlink()
        release(held)
    else:
        held.release()
        with contextlib.suppress(OSError):
            path.unlink()


SHOWN, LEFT, OLD = 40, ".part", "old"
"""Characters of a name that the folder for its writing shows; how such folders end; where in it an old folder waits."""
FRESH = 3600
"""Seconds for which a file system without locks is given the benefit of the doubt."""
BOX = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}\.part", re.DOTALL)
UMASK = os.umask(0o022)
"""Rights that new files of this process do not give; it can be asked for only by setting it."""
os.umask(UMASK)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a temporary name; on success what was written there takes the place of `path`, on failure it is removed.

    The name lies in a folder beside `path` that is made for this once, with a random name, and held while it is written to. So
    two writers never meet in it, and what a killed one left is told from what is being written, and removed by the next.

    Raises:
        DataError: the place cannot be written to.

    """
    box, held = None, None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent, path.name)
        box, held = _box(path)
        temporary = box / path.name
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
        # What cannot be written anywhere has no better place.
        place = isinstance(error, OSError) or "I/O error" in str(error)
        way_out = "; choose another place or free some space" if place else ""
        raise DataError(f"{short(path)}: cannot be written ({why}){way_out}") from None
    finally:
        if box is not None:
            shutil.rmtree(box, ignore_errors=True)
            release(held)


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove what killed writers left of a file of this name in a folder, or of any; what one had moved away is put back."""
    for box in folder.glob(f".{glob.escape((name or '')[:SHOWN])}*{LEFT}") if folder.is_dir() else ():
        found = BOX.fullmatch(box.name)
        if found is None or (name is not None and found["name"] != name[:SHOWN]) or box.is_symlink():
            continue
        try:
            held = hold_folder(box)
            if held is None and time.time() - box.stat().st_mtime < FRESH:
                continue
        except OSError:
            continue
        for old in (box / OLD).iterdir() if (box / OLD).is_dir() else ():
            if not (folder / old.name).exists():
                old.replace(folder / old.name)
        shutil.rmtree(box, ignore_errors=True)
        release(held)


def short(path: Path) -> Path | str:
    """Return a path as sentences name it: one of a name that is too long for any disk is cut."""
    text = str(path)
    return path if len(text) <= 300 else f"{text[:120]}...{text[-40:]}"


def check_file(path: Path) -> None:
    """Refuse what is there but is no plain file, or a link to one: pipes and devices never end.

    Raises:
        DataError: see above.

    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise DataError(f"{path}: is no plain file but a pipe, a device or a socket; expected a file")


def check_writable(path: Path) -> None:
    """Refuse a place that a file could not be written to, before the work that would fill it.

    Raises:
        DataError: it is a folder, a part of its path is a file, or the nearest folder there takes no files.

    """
    try:
        there = next(folder for folder in path.absolute().parents if folder.exists())
        why = "a folder is there" if path.is_dir() else None if there.is_dir() else f"{there} is a file"
        if why is None:
            with tempfile.TemporaryFile(dir=there):
                return
    except (OSError, ValueError) as error:
        why = str(getattr(error, "strerror", None) or error)
    raise DataError(f"{short(path)}: cannot be written ({why}); choose another place")


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
        check_file(path)
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; expected {what} there") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: is damaged ({str(error).splitlines()[0]}); expected {what}") from None
    if not isinstance(tree, dict):
        raise DataError(f"{path}: holds a {type(tree).__name__}; expected {what}")
    return tree


def odd_values(tree: Any, expected: Any, name: str = "") -> Iterator[str]:
    """Yield the names of what in JSON is missing or of another kind than expected.

    Args:
        tree: what was read.
        expected: a type, a mapping of names to what is expected there, or a list of the one kind of its items.
        name: what the names begin with.

    """
    if isinstance(expected, Mapping):
        for key, inner in expected.items():
            yield from odd_values(tree.get(key) if isinstance(tree, dict) else None, inner, f"{name}/{key}".lstrip("/"))
    elif isinstance(expected, list):
        if isinstance(tree, list):
            for number, here in enumerate(tree):
                yield from odd_values(here, expected[0], f"{name}/{number}")
        else:
            yield name
    elif not isinstance(tree, expected) or (isinstance(tree, bool) and expected is not bool):
        yield name


def read_lines(path: Path, what: str) -> list[dict[str, Any]]:
    """Read a JSON mapping of each line; none where there is no such file.

    Raises:
        DataError: the file is damaged.

    """
    try:
        check_file(path)
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: is damaged ({str(error).splitlines()[0]}); expected {what}") from None
    if not all(isinstance(line, dict) for line in lines):
        raise DataError(f"{path}: holds lines that are no mappings; expected {what}")
    return lines


def write_tensors(path: Path, tensors: Mapping[str, Any], facts: Mapping[str, str] | None = None) -> None:
    """Write arrays as safetensors with text facts in the header, whole or not at all."""
    import numpy as np
    from safetensors.numpy import save_file

    with whole(path) as temporary:
        save_file({name: np.asarray(array, order="C") for name, array in tensors.items()}, temporary, dict(facts or {}))


def _box(path: Path) -> tuple[Path, int | None]:
    """Make a folder of a random name beside a place, and hold it."""
    while True:
        box = Path(tempfile.mkdtemp(LEFT, f".{path.name[:SHOWN]}.", path.parent))
        # Whoever sweeps may have held it first, and removes it then.
        with contextlib.suppress(BlockingIOError):
            return box, hold_folder(box)


def _replace_folder(temporary: Path, path: Path) -> None:
    if not path.exists():
        temporary.replace(path)
    elif not _exchanged(temporary, path):
        old = temporary.parent / OLD / path.name
        old.parent.mkdir()
        path.replace(old)
        try:
            temporary.replace(path)
        except BaseException:
            old.replace(path)
            raise


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two names in one step, which Linux can on most file systems; return whether that was done."""
    call = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    here, exchange = -100, 2
    return call is not None and call(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0
