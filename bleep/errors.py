"""What can go wrong, said in one sentence: what was found, where, what was expected, the way out."""

import contextlib
import errno
from collections.abc import Iterator, Mapping

WAYS_OUT: Mapping[int, str] = {
    errno.EACCES: "ask for the right to it, or name another place",
    errno.EPERM: "ask for the right to it, or name another place",
    errno.EROFS: "nothing can be written there; name another place",
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.ELOOP: "a link there leads back to itself; remove it",
    errno.ENOTDIR: "a part of its path is a file; name another place",
    errno.EISDIR: "a folder is there; name another place",
    errno.EEXIST: "something is there already; name another place",
    errno.ENOENT: "it is not there; name another place",
    errno.ENOSPC: "free some space, or name another place",
    errno.EDQUOT: "free some space, or name another place",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n), or set optim.workers lower",
    errno.ENFILE: "too many files are open on this machine; close some programs",
    errno.EIO: "the disk could not be read or written; is it whole?",
}  # fmt: skip
"""What can be done about what the system says of a file."""


class BleepError(Exception):
    """Base of every error a user can cause and mend; the command line prints it and exits with its code."""

    code = 2


class ConfigError(BleepError):
    """A setting is unknown, of the wrong kind or contradicts another."""


class DataError(BleepError):
    """An input file is missing, damaged, or does not say what its form promises."""


class ReaderError(DataError):
    """A process that reads tiles has died."""


class MismatchError(BleepError):
    """Two things that must belong together do not: both sides are named."""


class WeightsError(BleepError):
    """Pretrained weights could not be found, fetched or fitted to the trunk."""


class StoppedError(BleepError):
    """Work was asked to stop by SIGTERM and has left everything so that it can go on."""

    code = 143


def told_of_memory(error: MemoryError) -> str:
    """Return what was too large, and the way out; whether a file really holds so much is for the reader of the sentence."""
    what = (str(error).splitlines() or [""])[0][:200]
    return (
        f"there is not enough memory ({what or 'the machine gives no more'}); where what is read is not that large the file is "
        "damaged, else free some memory or take a larger machine"
    )


def told_by_system(error: OSError) -> str | None:
    """Return in one sentence what the system said of a file, with the way out; None where it is none of `WAYS_OUT`."""
    if error.errno is None or error.errno not in WAYS_OUT:
        return None
    name = str(error.filename or "a file or folder")
    shown = name if len(name) <= 300 else f"{name[:120]}...{name[-40:]}"
    return f"{shown}: {error.strerror or error}; {WAYS_OUT[error.errno]}"


PEERS = (
    "closed by peer",
    "reset by peer",
    "remote process exited",
    "remote server shutdown",
    "Broken pipe",
    "Timed out waiting",
)
"""What torch says, among much else, where a process that it waited for has gone."""


def told_of_launch(error: RuntimeError) -> str | None:
    """Return in one sentence that another process of a launch has gone, whose own words say why; None: it is something else."""
    if not any(words in str(error) for words in PEERS):
        return None
    return (
        "another process of this launch has ended, without which this one cannot go on; what that one said tells why, and "
        "what was finished before is kept"
    )


@contextlib.contextmanager
def one_sentence() -> Iterator[None]:
    """Cut an error that torch brought from a reading process, with its traceback as text, back to its sentence.

    The death of such a process, which torch may notice at any moment, is said in a sentence too.
    """
    try:
        yield
    except BleepError as error:
        kind = type(error)
        last = str(error).strip().splitlines()[-1]
        raise kind(last.removeprefix(f"{kind.__module__}.{kind.__qualname__}: ")) from None
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ReaderError(
            "a process that reads tiles has died, often for want of memory: set optim.workers (0: none) or optim.batch lower; "
            "what was finished before is kept, and --resume goes on with a training"
        ) from None
