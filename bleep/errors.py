"""What can go wrong, said in one sentence: what was found, where, what was expected, the way out."""

import contextlib
from collections.abc import Iterator


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
            "a process that reads tiles has died, often for want of memory: lower optim.workers or optim.batch; "
            "what was finished before is kept, and --resume goes on with a training"
        ) from None
