"""Predictions as files, by suffix; from blocks that follow one another, so that memory does not grow with them."""

import logging
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from anndata.io import write_elem
from pyarrow import csv

from bleep import marks
from bleep.config import DtypeName
from bleep.data.prediction import Prediction
from bleep.errors import ConfigError, DataError, MismatchError
from bleep.files import read_json, whole, write_json
from bleep.outputs import writing_h5

HALF = float(np.finfo(np.float16).max)
"""The largest value that float16 holds."""
CHUNK = 1024
"""Tiles in a chunk of a zarr array."""

log = logging.getLogger(__name__)


def write_prediction(prediction: Prediction, path: Path) -> None:
    """Write h5ad, zarr, CSV or parquet by the suffix, whole or not at all.

    Raises:
        ConfigError: the suffix is none of these.

    """
    write_blocks([prediction], len(prediction), path)


def write_blocks(blocks: Iterable[Prediction], tiles: int, path: Path, dtype: DtypeName = "float32") -> None:
    """Write the blocks of a prediction of so many tiles in all, in order, as one file, whole or not at all.

    Raises:
        ConfigError: the suffix is none of those known, or tables of text were asked for in float16.

    """
    check_form(path, dtype)
    if path.suffix in FRAMES:
        write_frames((block.to_frame() for block in blocks), path)
    else:
        with whole(path) as temporary:
            ANNOTATED[path.suffix](blocks, tiles, temporary, dtype)


def write_frames(tables: Iterable[pd.DataFrame], path: Path) -> None:
    """Write tables of the same columns one below the other, CSV or parquet by the suffix, whole or not at all.

    Raises:
        ConfigError: the suffix is neither.

    """
    if path.suffix not in FRAMES:
        raise ConfigError(f"{path}: expected a name ending in {' or '.join(FRAMES)}")
    with whole(path) as temporary:
        FRAMES[path.suffix](tables, temporary)


def check_form(path: Path, dtype: DtypeName = "float32") -> None:
    """Refuse a suffix that is not known, and float16 where the form has none.

    Raises:
        ConfigError: see above.

    """
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{path}: expected a name ending in {', '.join(SUFFIXES)}")
    if dtype == "float16" and path.suffix not in ANNOTATED:
        raise ConfigError(f"{path}: float16 is for {' and '.join(ANNOTATED)}; tables are written in full")


def check_values(block: Prediction, dtype: DtypeName) -> None:
    """Refuse values that a precision cannot hold.

    Raises:
        DataError: a value is too large for float16.

    """
    if dtype == "float32":
        return
    held = [block.expression, *block.layers.values()]
    largest = max(float(np.abs(values[np.isfinite(values)]).max(initial=0.0)) for values in held)
    if largest > HALF:
        raise DataError(
            f"--dtype float16: a value of {largest:g} is larger than it can hold ({HALF:g}); the same command with --resume "
            "and --dtype float32 goes on with what is finished"
        )


def _csv(tables: Iterable[pd.DataFrame], path: Path) -> None:
    """Write by pyarrow, which is faster than pandas; a number is the shortest text that is read as itself."""
    with path.open("wb") as file:
        for number, table in enumerate(tables):
            words = {column: _plain_cells(table[column]) for column in table if not _is_number(table[column])}
            safe = table.assign(**{str(column): cells for column, (cells, _) in words.items()})
            if number == 0:
                header = safe.iloc[:0].rename(columns=marks.plain_cell).to_csv(index=False)
                file.write(marks.marked_header(header).encode())
            # pyarrow puts either all words in quotes or none.
            quoting = "needed" if any(quoted for _, quoted in words.values()) else "none"
            options = csv.WriteOptions(include_header=False, quoting_style=quoting)
            csv.write_csv(pa.Table.from_pandas(safe, preserve_index=False), file, options)


def _is_number(column: "pd.Series[Any]") -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _plain_cells(names: "pd.Series[Any]") -> tuple[np.ndarray, bool]:
    """Return a column's names as cells, each looked at once however often it stands there, and whether one needs quotes.

    None stays none.
    """
    numbers, each = pd.factorize(names)
    plain = [marks.plain_cell(name) for name in each]
    # The last is where -1, which stands for none, points.
    cells: np.ndarray = np.array([*plain, None], dtype=object)[numbers]
    return cells, any(sign in cell for cell in plain for sign in ',"\r\n')


def _parquet(tables: Iterable[pd.DataFrame], path: Path) -> None:
    writer = None
    try:
        for table in tables:
            group = pa.Table.from_pandas(table, schema=None if writer is None else writer.schema, preserve_index=False)
            if writer is None:
                group = group.replace_schema_metadata({**(group.schema.metadata or {}), marks.KEY: marks.MARK})
                writer = pq.ParquetWriter(path, group.schema)
            writer.write_table(group)
    finally:
        if writer is not None:
            writer.close()


def _h5ad(blocks: Iterable[Prediction], tiles: int, path: Path, dtype: DtypeName) -> None:
    with writing_h5(path) as root:
        _fill(root, blocks, dtype, lambda group, name, genes: group.create_dataset(name, (tiles, genes), dtype))


ZARR: Literal[2] = 2
"""Format of the stores that are written: every version of anndata reads it."""


def _zarr(blocks: Iterable[Prediction], tiles: int, path: Path, dtype: DtypeName) -> None:
    import zarr

    root = zarr.open_group(path, mode="w", zarr_format=ZARR)

    def create(group: Any, name: str, genes: int) -> Any:
        return group.create_array(name, shape=(tiles, genes), dtype=dtype, chunks=(min(CHUNK, tiles), genes))

    _fill(root, blocks, dtype, create)
    zarr.consolidate_metadata(root.store)


def _fill(root: Any, blocks: Iterable[Prediction], dtype: DtypeName, create: Callable[[Any, str, int], Any]) -> None:
    """Write AnnData into an open file: values block by block, and what stands beside them at the end.

    anndata's own `concat_on_disk` wants dask for dense arrays, knows no other precision, and does not join `uns`.
    """
    arrays: dict[str, Any] = {}
    beside, start = [], 0
    for block in blocks:
        check_values(block, dtype)
        data = block.to_anndata()
        values = {"X": data.X, **block.layers}
        if not arrays:
            layers = root.create_group("layers")
            arrays = {name: create(root if name == "X" else layers, name, data.n_vars) for name in values}
        for name, table in values.items():
            arrays[name][start : start + len(data)] = table
        beside.append(block.replaced(X=None, layers={}, obsm=dict(data.obsm)))
        start += len(data)
    rest = Prediction.joined(beside).adata
    rest.strings_to_categoricals()
    for array in arrays.values():
        array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    root["layers"].attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})
    for name in ("obs", "var"):
        write_elem(root, name, getattr(rest, name))
    for name in ("obsm", "varm", "obsp", "varp", "uns"):
        write_elem(root, name, dict(getattr(rest, name)))
    root.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0", marks.KEY: marks.MARK})


FRAMES: Mapping[str, Callable[[Iterable[pd.DataFrame], Path], None]] = {".csv": _csv, ".parquet": _parquet}
ANNOTATED: Mapping[str, Callable[[Iterable[Prediction], int, Path, DtypeName], None]] = {".h5ad": _h5ad, ".zarr": _zarr}
SUFFIXES = (*ANNOTATED, *FRAMES)


KEY = "query.json"
"""What says in the folder of blocks which query they are of."""
BLOCK = re.compile(r"query\.json|\d{6,}\.h5ad|\..*\.part")
"""What else may stand there: blocks, and what a killed writer left of one."""


def check_blocks(folder: Path) -> None:
    """Refuse a folder for blocks that holds anything else.

    Raises:
        DataError: see above.

    """
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    strange = next((name for name in found if not BLOCK.fullmatch(name)), None)
    if strange is not None:
        raise DataError(f"{folder}: holds {strange!r}, which is no block of a stopped query; move it away")


@final
@dataclass(frozen=True, slots=True)
class Parts:
    """The finished blocks of one query."""

    folder: Path
    key: Mapping[str, str]
    """What the query is made of, each part in words and its digest: only a query of the same goes on with the blocks."""

    @classmethod
    def open(cls, folder: Path, key: Mapping[str, str], *, resume: bool) -> "Parts":
        """Find the blocks that an earlier query finished; without `resume` they are removed.

        Raises:
            MismatchError: they are of another run, reference, tiles or settings.
            DataError: what says so is damaged.

        """
        parts = cls(folder, dict(key))
        if not folder.exists():
            return parts
        if not resume:
            if len(parts):
                log.info("%s: a query that was stopped is started anew; --resume would have gone on with it", folder)
            parts.remove()
        elif (folder / KEY).exists():
            before = read_json(folder / KEY, "what a stopped query was made of")
            changed = [name for name in {**before, **key} if before.get(name) != key.get(name)]
            if changed:
                raise MismatchError(
                    f"{folder}: the query that was stopped there had another {' and another '.join(changed)} than this one; "
                    "leave --resume out to start anew"
                )
        return parts

    def __len__(self) -> int:
        number = 0
        while self._place(number).is_file():
            number += 1
        return number

    def add(self, prediction: Prediction) -> None:
        """Keep the next block.

        Raises:
            DataError: there is no room.

        """
        if not (self.folder / KEY).exists():
            write_json(self.folder / KEY, self.key)
        with whole(self._place(len(self))) as temporary, writing_h5(temporary) as file:
            write_elem(file, "/", prediction.adata)

    def __iter__(self) -> Iterator[Prediction]:
        for number in range(len(self)):
            path = self._place(number)
            try:
                yield Prediction.from_anndata(anndata.read_h5ad(path))
            except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
                reason = str(error).splitlines()[0]
                raise DataError(f"{path}: is damaged ({reason}); start the query anew without --resume") from None

    def remove(self) -> None:
        """Delete all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _place(self, number: int) -> Path:
        return self.folder / f"{number:06d}.h5ad"
