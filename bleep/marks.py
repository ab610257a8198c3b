"""What bleep writes says so inside: the marks by kind of file, and how they are found."""

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KEY, MARK = "written_by", "bleep"
"""What HDF5, Zarr, parquet and JSON carry at their root."""
PREDICTED = "uns/bleep/predictor"
"""Where predictions name what predicted, which no measured tissue has."""
COMMENT = "<!-- written by bleep -->"
"""What HTML and Markdown carry."""
LATEX = "% written by bleep"
"""What LaTeX begins with."""
YAML = "# Written by `bleep "
"""What recipes begin with that a command made."""
PACKED = "bleep-pack.json"
"""Part of a run in one file that says what the others are."""
TILES = "tiles.json"
"""What a folder of tiles beside a page carries its mark in."""
WORD, QUOTED = re.compile(r"[A-Za-z][\w.]*( [\w.]+)*"), re.compile(r'"[A-Za-z][\w.]*"[,\n]')
"""A heading that needs no quotes; a cell in quotes that it does not need."""
NO_WORDS = ("true", "false", "nan", "nat", "inf", "infinity", "none", "null", "na")
"""Values that some writers leave without quotes, and all words not."""
TILE = re.compile(r"\d+/\d+/\d+_\d+\.jpg")
"""What its tiles are called: slide, scale, row and column."""
PARTS = frozenset(
    ("X", "layers", "obs", "var", "obsm", "varm", "obsp", "varp", "uns", "zarr.json", ".zgroup", ".zattrs", ".zmetadata")
)
"""What stands in a Zarr store of predictions; with anything else in it, somebody has added to it."""


def is_ours(path: Path) -> bool:
    """Return whether a file or folder says inside that bleep wrote it, and nothing was added to a folder since."""
    try:
        return MARKS[path.suffix](path) if path.suffix in MARKS else path.is_dir() and _tiles(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, zipfile.BadZipFile):
        return False


def is_prediction(path: Path) -> bool:
    """Return whether an AnnData, or every table of a SpatialData store, is a prediction of bleep; no values are read."""
    if path.is_dir():
        tables = [table for name in ("tables", "table") for table in (path / name).glob("[!.]*") if (table / "X").exists()]
        return all((table / PREDICTED).exists() for table in tables or [path])
    # Neither a pipe nor a device is opened, which might never end.
    if not path.is_file():
        return False
    try:
        import h5py

        with h5py.File(path) as file:
            return PREDICTED in file
    except (OSError, ValueError, KeyError, RuntimeError):
        return False


def marked_header(line: str) -> str:
    """Return the first line of a CSV with its first name in quotes, and no other: readers take it for the same."""
    first, comma, rest = line.partition(",")
    return line if first.startswith('"') else f'"{first}"{comma}{rest}' if comma else line


def marked_csv(text: str) -> str:
    """Return a CSV with the first name in quotes, and no other."""
    head, end, rest = text.partition("\n")
    return f"{marked_header(head)}{end}{rest}"


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


def _tiles(path: Path) -> bool:
    inside = (each.relative_to(path).as_posix() for each in path.rglob("*") if not each.is_dir())
    return _json(path / TILES) and all(name == TILES or TILE.fullmatch(name) for name in inside)


def _parquet(path: Path) -> bool:
    import pyarrow.parquet as pq

    return (pq.read_schema(path).metadata or {}).get(KEY.encode()) == MARK.encode()


def _csv(path: Path) -> bool:
    """Look for what `marked_header` leaves, and no writer with a rule for quotes: one word in them, and others without."""
    with path.open(encoding="utf-8") as file:
        head, row = file.readline(1 << 20), file.readline(1 << 20)
    quoted, *others = head.rstrip("\n").split(",")
    bare = any(WORD.fullmatch(other) and other.lower() not in NO_WORDS for other in others)
    return bare and bool(WORD.fullmatch(quoted[1:-1])) and quoted == f'"{quoted[1:-1]}"' and not QUOTED.match(row)


def _json(path: Path) -> bool:
    return _is_mark(json.loads(path.read_text(encoding="utf-8")).get(KEY))


def _comment(path: Path) -> bool:
    return any(COMMENT in line for line in _ends(path))


def _yaml(path: Path) -> bool:
    return next(_ends(path)).startswith(YAML)


def _latex(path: Path) -> bool:
    return next(_ends(path)).startswith(LATEX)


def _h5(path: Path) -> bool:
    import h5py

    with h5py.File(path) as file:
        return "features" in file and _is_mark(file["features"].attrs.get(KEY))


def _figure(path: Path) -> bool:
    """Look into a PNG, SVG or PDF that plotting may have written; the last notes it near its end."""
    with path.open("rb") as file:
        head = file.read(4096)
        file.seek(max(path.stat().st_size - 65536, 0))
        near = head + file.read()
    return any(f"{KEY}{between}{MARK}".encode() in near for between in ("\0", " "))


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
    ".tex": _latex, ".h5": _h5, ".zip": _zip, ".png": _figure, ".svg": _figure, ".pdf": _figure,
    ".yaml": _yaml,
}  # fmt: skip
"""How the mark is found, by suffix."""
