"""Why a text table cannot be read, in one sentence: it is damaged, no text, or separated by another sign."""

import contextlib
import csv
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from bleep.errors import DataError
from bleep.files import check_file
from bleep.outputs import check_gzip

DAMAGES = (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, EOFError, OSError, csv.Error, zlib.error)
"""What pandas, csv and gzip raise at a file that is no table."""
SIGNS = {",": "commas", "\t": "tabs", ";": "semicolons"}
"""What separates the cells of a table."""
PARQUET = b"PAR1"
"""First bytes of a parquet file."""


@contextlib.contextmanager
def clear(path: Path) -> Iterator[None]:
    """Turn what is raised at a file that is no text table into one sentence.

    Raises:
        DataError: as said.

    """
    try:
        (check_gzip if path.suffix == ".gz" else check_file)(path)
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; expected a table there") from None
    except pd.errors.ParserWarning:
        raise DataError(f"{path}: its rows have more cells than its header; name every column, or cut the rest off") from None
    except DAMAGES as error:
        if told := _no_text(path, error):
            raise DataError(f"{path}: {told}") from None
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: cannot be read as a table ({reason}); is the file whole?") from None


def _no_text(path: Path, error: Exception) -> str:
    """Return what a file is instead of text in UTF-8, and the way out; empty: that is not the matter."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        if file.read(len(PARQUET)) == PARQUET:
            return "is a parquet file, but a text table is expected; save it as CSV (in pandas: read_parquet, then to_csv)"
    if isinstance(error, UnicodeDecodeError):
        return f"cannot be read as a table, for it is not UTF-8 text ({error.reason}); save it as CSV UTF-8, if it is whole"
    return ""


def check_separator(path: Path, header: Sequence[str], separator: str) -> None:
    """Refuse a table whose one column is several by another sign.

    Raises:
        DataError: naming both signs.

    """
    for sign in (sign for sign in SIGNS if sign != separator and len(header) == 1 and sign in header[0]):
        raise DataError(f"{path}: looks separated by {SIGNS[sign]}; expected {SIGNS[separator]}: save it with these")
