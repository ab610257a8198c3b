"""The stages joined: fit, index, query, evaluate, calibrate, report; commands call these and print. All read `Inputs`."""

import contextlib
import csv
import glob
import json
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import final

from bleep import find
from bleep.config import Config
from bleep.errors import BleepError

NO_FILES = ("hub", "random")
"""What weights are called that no file holds."""
OF_RUN = (*find.NAMES, find.CALIBRATION, find.EPOCHS, find.ENSEMBLE)
"""What a run is read from; other files in its folder are somebody's own."""


@final
class Inputs(Iterable[Path]):
    """Files and folders that are read, looked up when they are first asked for: where nothing is replaced, never."""

    def __init__(self, paths: Iterable[Path | None] = (), runs: Iterable[Path] = (), configs: Iterable[Config] = ()) -> None:
        """Note what is read.

        Args:
            paths: files and folders; of a CSV, the tiles it names too.
            runs: folders of runs and ensembles, which are read with all that their settings name, beside `paths` too.
            configs: settings of which all that they name is read.

        """
        self._paths, self._runs, self._configs = tuple(filter(None, paths)), tuple(runs), tuple(configs)

    def __iter__(self) -> Iterator[Path]:
        """Yield each."""
        return iter(self._found)

    @cached_property
    def _found(self) -> tuple[Path, ...]:
        found = [path for given in self._paths for path in (given, *_tiles_of(given))]
        found += [path for config in self._configs for path in inputs_of(config)]
        return tuple(dict.fromkeys([*found, *(path for folder in self._runs for path in _of_run(folder, self._paths))]))


def inputs_of(config: Config) -> Iterator[Path]:
    """Yield all files and folders that settings name, whether they are there or not."""
    data = config.data
    yield data.root
    yield from _tiles_of(data.root)
    base = data.root if data.root.is_dir() else data.root.parent
    if not data.root.is_dir():
        yield base / "spatial"
    for named in (data.image, data.alignment):
        yield from () if named is None else _seen_from(base, named)
    if data.source == "xenium":
        yield from base.absolute().parent.glob("*imagealignment.csv")
    yield from filter(None, (data.features, data.mask, data.annotations, config.panel.list))
    yield from (Path(name) for name in data.drop if name.endswith(".csv"))
    weights = (config.image.weights, *config.image.also_weights)
    yield from (Path(name) for name in weights if name not in NO_FILES)
    yield from (Path(value) for value in data.options.values() if "\0" not in value and Path(value).exists())


def _of_run(folder: Path, tissue: Iterable[Path]) -> Iterator[Path]:
    """Yield what a run or an ensemble is read from; one that is damaged names no more, and is refused by whoever opens it."""
    yield from (folder / name for name in OF_RUN)
    with contextlib.suppress(BleepError, OSError):
        config = Config.load(folder / find.CONFIG)
        yield from inputs_of(config)
        for root in tissue:
            yield from inputs_of(config.model_copy(update={"data": config.data.model_copy(update={"root": root})}))
    try:
        members = json.loads((folder / find.ENSEMBLE).read_text(encoding="utf-8"))["members"]
        places = [folder / str(member["run"]) for member in members]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        places = []
    for place in places:
        if not (place / find.ENSEMBLE).exists():
            yield from _of_run(place, tissue)


def _tiles_of(table: Path) -> Iterator[Path]:
    """Yield the tiles that a CSV names in its column `path`, or the folders that they lie in."""
    if table.suffix.lower() != ".csv" or not table.is_file():
        return
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, skipinitialspace=True)
            column = [name.strip() for name in next(rows, [])].index("path")
            named = {Path(row[column].strip()) for row in rows if len(row) > column and row[column]}
    except (OSError, ValueError, csv.Error):
        return
    for path in named:
        yield table.parent / path
    yield from {table.parent / path.parts[0] for path in named if len(path.parts) > 1 and path.parts[0] != ".."}


def _seen_from(base: Path, named: Path) -> Iterator[Path]:
    """Yield where a file may lie that is named as seen from a section's folder, outside of the folder of all sections."""
    ups = named.parts.count("..")
    tail = Path(*(part for part in named.parts if part != ".."))
    for above in [base.absolute(), *base.absolute().parents][: ups + 1]:
        pattern = glob.escape(str(above / tail)).replace("{name}", "*")
        yield from map(Path, glob.glob(pattern)) if "*" in pattern else (above / tail,)  # noqa: PTH207 its root is not known
