"""Blocks of a long query kept on disk, each whole or not there, so that a query that was stopped goes on where it was."""

import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load_file

from bleep.errors import DataError, MismatchError
from bleep.files import read_json, whole, write_json, write_tensors
from bleep.records import Backdrop, Neighbors, Prediction

KEY, ARRAYS, FRAMES, PLAIN = "query.json", "arrays.safetensors", ".parquet", "plain.json"
"""Names inside the folder, and inside the folder of a block."""

log = logging.getLogger(__name__)


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
        while self._place(number).is_dir():
            number += 1
        return number

    def add(self, prediction: Prediction) -> None:
        """Keep the next block.

        Raises:
            DataError: there is no room.

        """
        if not (self.folder / KEY).exists():
            write_json(self.folder / KEY, self.key)
        with whole(self._place(len(self))) as temporary:
            _write(prediction, temporary)

    def __iter__(self) -> Iterator[Prediction]:
        for number in range(len(self)):
            yield _read(self._place(number))

    def remove(self) -> None:
        """Delete all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _place(self, number: int) -> Path:
        return self.folder / f"{number:06d}"


def _write(prediction: Prediction, folder: Path) -> None:
    """Write every field of a prediction: arrays, tables, and what JSON holds."""
    arrays: dict[str, np.ndarray] = {}
    plain: dict[str, Any] = {}
    folder.mkdir(parents=True)
    for field in fields(prediction):
        value = getattr(prediction, field.name)
        if isinstance(value, np.ndarray):
            arrays[field.name] = value
        elif isinstance(value, pd.DataFrame):
            value.to_parquet(folder / f"{field.name}{FRAMES}")
        elif isinstance(value, Neighbors):
            arrays |= {f"{field.name}/similarity": value.similarity, f"{field.name}/rows": value.rows}
        elif isinstance(value, Mapping) and value and all(isinstance(each, np.ndarray) for each in value.values()):
            arrays |= {f"{field.name}/{name}": each for name, each in value.items()}
        elif isinstance(value, Mapping) and value and all(isinstance(each, Backdrop) for each in value.values()):
            arrays |= {f"{field.name}/{name}": each.picture for name, each in value.items()}
            plain[field.name] = {name: [each.scale, each.diameter] for name, each in value.items()}
        elif value is not None:
            plain[field.name] = value
    write_tensors(folder / ARRAYS, arrays)
    write_json(folder / PLAIN, plain)


def _read(folder: Path) -> Prediction:
    plain = read_json(folder / PLAIN, "a block of a stopped query")
    try:
        arrays = load_file(folder / ARRAYS)
        frames: dict[str, Any] = {path.stem: pd.read_parquet(path) for path in folder.glob(f"*{FRAMES}")}
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{folder}: is damaged ({str(error).splitlines()[0]}); start the query anew without --resume") from None
    grouped: dict[str, Any] = {}
    for name, array in arrays.items():
        field, _, inner = name.partition("/")
        if inner:
            grouped.setdefault(field, {})[inner] = array
        else:
            grouped[field] = array
    if "neighbors" in grouped:
        grouped["neighbors"] = Neighbors(**grouped["neighbors"])
    if "backdrops" in grouped:
        facts = plain.pop("backdrops")
        grouped["backdrops"] = {name: Backdrop(picture, *facts[name]) for name, picture in grouped["backdrops"].items()}
    return Prediction(**plain | {"genes": tuple(plain["genes"])}, **grouped, **frames)
