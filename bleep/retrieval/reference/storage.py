"""The folder of a reference: files of one generation, and a manifest that names them.

A change writes new files beside the old, then replaces the manifest in one step, then removes the old. So whoever is
killed leaves the folder as it was, or as it was to be, and files that no manifest names; the next writer removes those.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from pyarrow import ArrowException

from bleep.errors import DataError
from bleep.files import odd_values, read_json, sweep, write_json
from bleep.find import MANIFEST
from bleep.outputs import check_parquet
from bleep.progress import Progress
from bleep.retrieval.index import FlatIndex
from bleep.retrieval.reference.expression_store import DenseExpression

LOCK = ".lock"
FORMAT = 2
"""Of the folder; the first had no number and held index.faiss, spots.h5ad and manifest.json."""
KEPT = ("format", "generation", "files", "digest")
"""What the manifest says of the folder, beside what it says of the reference."""
OURS = re.compile(
    r"(index(-(?P<index>\d+))?\.(faiss|json|own)|(vectors|queries)(-(?P<rows>\d+))?\.npy"
    r"|expression(-(?P<values>\d+))?((\.(data|indices|indptr))?\.npy|\.json)|spots(-(?P<spots>\d+))?\.(parquet|h5ad)"
    r"|\.(index|manifest).*\.part\..*)"
)
"""Names a reference gives to its files."""

FACTS: Mapping[str, Any] = {
    **dict.fromkeys(("tiles", "panel", "weights"), str),
    **dict.fromkeys(("dim", "spots", "generation"), int),
    "genes": [str],
    "sections": [{"name": str, "patient": str, "spots": int, "digest": str, "picture": str, "origin": str}],
    "measured": {"recall": int | float, "k": int, "queries": int, "queries_are": str},
    "expression": {"form": str, "why": str},
}
"""What a manifest must say, and the kind of each."""

Writer = Callable[[Path, str], None]
"""Writes its files into a folder, with this behind the stem of their names."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other writers out; the lock ends with the process, however that ends. Readers need none.

    Raises:
        DataError: another process is writing there, or nobody can; or files of such names are there that are not of an index.

    """
    new = not folder.exists()
    if not new and not (folder / LOCK).exists() and not (folder / MANIFEST).exists() and (strange := sorted(_ours(folder))):
        raise DataError(f"{folder}: holds {strange[0]}, which is of no index here; choose another folder, or move it away")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, timeout=0)
        lock.acquire()
    except Timeout:
        raise DataError(f"{folder}: another process is changing this index; wait until it has finished") from None
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror}); choose another place") from None
    try:
        yield
    finally:
        lock.release()
        if new and not (folder / MANIFEST).exists():
            (folder / LOCK).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                folder.rmdir()


def write(folder: Path, manifest: Mapping[str, Any], writers: Sequence[Writer]) -> dict[str, Any]:
    """Write the next generation of a locked folder, whole or not at all, and return its manifest.

    Raises:
        DataError: there is no room.

    """
    number = _cleaned(folder)
    suffix, before = f"-{number}" if number else "", _ours(folder)
    try:
        for writer in Progress(writers, desc="writing the index", unit="part", leave=False, delay=2):
            writer(folder, suffix)
        files = {name: _facts(folder / name) for name in sorted(_ours(folder) - before)}
        tree = {**manifest, "format": FORMAT, "generation": number, "files": files}
        write_json(folder / MANIFEST, {**tree, "digest": _digest(tree)})
    except BaseException as error:
        if number not in map(_number, _named(folder) or ()):
            _remove(folder, _ours(folder) - before)
        if isinstance(error, OSError):
            raise DataError(
                f"{folder}: cannot be written ({error.strerror}); free some space or choose another place"
            ) from None
        raise
    _cleaned(folder)
    return tree


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest and check that nobody has edited it.

    Raises:
        DataError: it is missing, damaged, edited or of a later version.

    """
    path = folder / MANIFEST
    tree = read_json(path, "the manifest of an index")
    if not {"tiles", "panel", "weights", "dim"} <= tree.keys():
        raise DataError(f"{path}: is damaged (it does not say what the index belongs to); run `bleep index build` again")
    if "format" not in tree:
        return tree
    if tree["format"] != FORMAT:
        raise DataError(f"{path}: is of format {tree['format']}, this version reads up to {FORMAT}; update bleep")
    digest = tree.pop("digest", None)
    if digest != _digest(tree):
        raise DataError(f"{path}: is damaged or was edited: its own hash is another; run `bleep index build` again")
    files = {name: {"bytes": int, "sha256": str} for name in tree["files"]} if isinstance(tree.get("files"), dict) else dict
    odd = next(odd_values(tree, {**FACTS, "files": files}), None)
    odd = odd or next((name for name in tree["files"] if not OURS.fullmatch(name)), None)
    if odd is not None:
        raise DataError(f"{path}: says nothing that can be so of {odd}; run `bleep index build` again")
    return tree


def stem(tree: Mapping[str, Any], what: str) -> str:
    """Return the stem of the names of one kind of file."""
    return f"{what}-{tree['generation']}" if tree["generation"] else what


def damages(folder: Path, tree: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the files that a manifest names."""
    for name, facts in Progress(tree["files"].items(), desc="hashing", unit="file", leave=False, delay=2):
        path = folder / name
        if not path.is_file():
            yield f"{name} is not there"
        elif (size := path.stat().st_size) != facts["bytes"]:
            yield f"{name} holds {size} bytes, the manifest says {facts['bytes']}"
        elif _sha256(path) != facts["sha256"]:
            yield f"{name} has another sha256 than the manifest says"


def _facts(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        # The manifest must not reach the disk before what it names.
        os.fsync(file.fileno())
    return {"bytes": path.stat().st_size, "sha256": _sha256(path)}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(tree: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def _ours(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if OURS.fullmatch(path.name)}


def _number(name: str) -> int:
    found = OURS.fullmatch(name)
    return max((int(number) for number in found.groupdict().values() if number), default=0) if found else 0


def _named(folder: Path) -> set[str] | None:
    """Return the names that the manifest gives, those of the first format too; none without a manifest, None if damaged."""
    try:
        tree = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return set(tree["files"]) if "format" in tree else {"index.faiss", "spots.h5ad"}
    except FileNotFoundError:
        return set()
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _cleaned(folder: Path) -> int:
    """Remove what killed writers and earlier generations left, and return the number of the next generation.

    Beside a damaged manifest nothing is removed: what its files are worth is not known.
    """
    found, named = _ours(folder), _named(folder)
    if named is None:
        return 1 + max(map(_number, found), default=0)
    _remove(folder, found - named)
    sweep(folder)
    return 1 + max(map(_number, named)) if named else 0


def _remove(folder: Path, names: Sequence[str] | set[str]) -> None:
    for name in names:
        # Where open files cannot be removed, the next writer tries again.
        with contextlib.suppress(OSError):
            (folder / name).unlink()


def open_first(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """Read the first format (index.faiss, spots.h5ad), and return the parts of a reference by name.

    Raises:
        DataError: a file is missing or damaged.

    """
    index, path = FlatIndex.load(folder / "index.faiss"), folder / "spots.h5ad"
    try:
        data = anndata.read_h5ad(path)
    except (OSError, KeyError, ValueError):
        raise _unreadable(path) from None
    spots = data.obs
    patients = spots.groupby("section", observed=True)["patient"].first()
    sections = [
        {
            "name": str(name),
            "patient": str(patients[name]),
            "spots": int((spots["section"] == name).sum()),
            "digest": "",
            "picture": "",
            "origin": "training",
        }
        for name in manifest["sections"]
    ]
    recall = {"recall": manifest["recall_at_10"], "k": 10, "queries": min(200, len(spots)), "queries_are": "stored vectors"}
    facts = {
        "sections": sections,
        "genes": list(data.var_names),
        "expression": {"form": "dense", "why": "written by version 0.1"},
        "measured": recall,
        "why": "the only kind of version 0.1",
    }
    kept = {key: value for key, value in manifest.items() if key != "recall_at_10"}
    return {
        "index": index,
        "vectors": index.vectors,
        "expression": DenseExpression(np.asarray(data.X, dtype=np.float32)),
        "spots": spots.astype(PLAIN),
        "queries": index.vectors[:0],
        "manifest": {**kept, **facts},
    }


PLAIN = {"section": str, "spot": str, "patient": str}
"""AnnData makes categories of these."""


def read_table(path: Path) -> pd.DataFrame:
    """Read a table of spots; a text that is not known is empty, as where sections with and without labels were joined.

    Raises:
        DataError: it is missing, damaged, or no such table.

    """
    try:
        check_parquet(path)
        table = pd.read_parquet(path)
    except (OSError, ValueError, TypeError, KeyError, ArrowException):
        raise _unreadable(path) from None
    if not {"section", "spot", "patient", "x", "y"} <= set(table.columns):
        raise DataError(f"{path}: lacks columns of a table of spots; make it again with `bleep index build`")
    return known_texts(table)


def known_texts(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of spots in which texts that are not known are empty."""
    return table.fillna({name: "" for name in table if not pd.api.types.is_numeric_dtype(table[name])})


def _unreadable(path: Path) -> DataError:
    state = "is damaged" if path.exists() else "is not there"
    return DataError(f"{path}: {state}; make it again with `bleep index build`")


def elsewhere(tree: Mapping[str, Any]) -> str:
    """Return what of a reference lies elsewhere than in its folder, in words, by its manifest."""
    parts = [f"its index in {tree['store']}"] if "store" in tree else []
    parts += [f"its values at {tree['expression']['url']}"] if "url" in tree.get("expression", {}) else []
    return " and ".join(parts)
