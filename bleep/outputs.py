"""The one rule for what commands write: an input is never replaced, and what bleep did not write only where that is asked for.

What bleep writes says so inside. What carries no such mark, as masks and submissions to a contest, counts as the user's own.
"""

import json
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bleep.errors import DataError
from bleep.files import check_writable, short

KEY, MARK = "written_by", "bleep"
"""What HDF5, Zarr, parquet and JSON carry at their root."""
COMMENT = "<!-- written by bleep -->"
"""What HTML and Markdown carry."""
LATEX = "% written by bleep"
"""What LaTeX begins with."""
PACKED = "bleep-pack.json"
"""Part of a run in one file that says what the others are."""
PARTS = frozenset(
    ("X", "layers", "obs", "var", "obsm", "varm", "obsp", "varp", "uns", "zarr.json", ".zgroup", ".zattrs", ".zmetadata")
)
"""What stands in a Zarr store of predictions; with anything else in it, somebody has added to it."""


def check_output(path: Path, inputs: Iterable[Path] = (), *, overwrite: bool = False) -> None:
    """Refuse a place where writing would destroy what is not ours, before the work that would fill it.

    Args:
        path: what will be written, a file or a folder.
        inputs: files and folders that the command reads.
        overwrite: whatever is there may go, but for inputs.

    Raises:
        DataError: an input is there, or something that bleep did not write and `overwrite` is not given; or nothing can be
            written there.

    """
    try:
        if not path.exists():
            check_writable(path)
            return
        if _is_empty(path):
            return
        place = path.resolve()
        for given in map(Path.resolve, inputs):
            # A file inside a folder that is read belongs to the input, unless bleep has put it there.
            if place == given or place in given.parents or (given in place.parents and not is_ours(path)):
                raise DataError(f"{path}: is read by this command, so nothing is written there; choose another place")
        if not overwrite and not is_ours(path):
            raise DataError(
                f"{path}: is there already, and bleep did not write it; choose another place, or add --overwrite to replace it"
            )
    except OSError as error:
        raise DataError(f"{short(path)}: cannot be written ({error.strerror}); choose another place") from None


def is_ours(path: Path) -> bool:
    """Return whether a file or store says inside that bleep wrote it, and nothing was added to a store since."""
    try:
        return MARKS[path.suffix](path) if path.suffix in MARKS else False
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, zipfile.BadZipFile):
        return False


def marked_header(line: str) -> str:
    """Return the first line of a CSV with its first name in quotes, and no other: readers take it for the same."""
    first, comma, rest = line.partition(",")
    return line if first.startswith('"') else f'"{first}"{comma}{rest}' if comma else line


def plain_cell(name: object) -> str:
    """Return a name as a cell of a CSV: spreadsheets take what begins with = + - @ for a formula, unless a ' stands before it.

    Numbers stay as they are.
    """
    text = str(name)
    if not text.startswith(("=", "+", "-", "@", "\t", "\r")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def _is_empty(path: Path) -> bool:
    return path.is_dir() and next(iter(path.iterdir()), None) is None


def _h5ad(path: Path) -> bool:
    import h5py

    with h5py.File(path) as file:
        return _is_mark(file.attrs.get(KEY))


def _zarr(path: Path) -> bool:
    if {inside.name for inside in path.iterdir()} - PARTS:
        return False
    facts = path / "zarr.json" if (path / "zarr.json").exists() else path / ".zattrs"
    tree: dict[str, Any] = json.loads(facts.read_text(encoding="utf-8"))
    return _is_mark(tree.get("attributes", tree).get(KEY))


def _parquet(path: Path) -> bool:
    import pyarrow.parquet as pq

    return (pq.read_schema(path).metadata or {}).get(KEY.encode()) == MARK.encode()


def _csv(path: Path) -> bool:
    with path.open(encoding="utf-8") as file:
        line = file.readline(1 << 20)
    first, _, rest = line.partition(",")
    return len(first) > 2 and first[0] == first[-1] == '"' and not rest.startswith('"')


def _json(path: Path) -> bool:
    return _is_mark(json.loads(path.read_text(encoding="utf-8")).get(KEY))


def _comment(path: Path) -> bool:
    return any(COMMENT in line for line in _ends(path))


def _latex(path: Path) -> bool:
    return next(_ends(path)).startswith(LATEX)


def _h5(path: Path) -> bool:
    import h5py

    with h5py.File(path) as file:
        return "features" in file and _is_mark(file["features"].attrs.get(KEY))


def _zip(path: Path) -> bool:
    with zipfile.ZipFile(path) as file:
        return PACKED in file.namelist()


def _ends(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        yield file.read(2000).decode("utf-8", "replace")
        file.seek(max(path.stat().st_size - 200, 0))
        yield file.read().decode("utf-8", "replace")


def _is_mark(found: object) -> bool:
    return found == MARK


MARKS = {
    ".h5ad": _h5ad, ".zarr": _zarr, ".parquet": _parquet, ".csv": _csv, ".json": _json, ".html": _comment, ".md": _comment,
    ".tex": _latex, ".h5": _h5, ".zip": _zip,
}  # fmt: skip
"""How the mark is found, by suffix."""
