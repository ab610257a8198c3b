"""Locks that end with the process that holds them, however that ends, and are never taken through a link."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

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
