"""The names of what a run's folder holds, and which run is the newest: without the libraries that a run needs."""

from collections.abc import Sequence
from pathlib import Path

from bleep.errors import DataError
from bleep.find import find

CONFIG, PANEL, BATCH, FACTS, MODEL, LOG, STATE, REFERENCE, LOCK = NAMES = (
    "config.yaml", "panel.json", "batch.safetensors", "run.json", "model.safetensors", "log.jsonl", "state", "reference",
    ".lock",
)  # fmt: skip
"""Names inside a run's folder."""
ENSEMBLE = "ensemble.json"
"""Name of the file that makes a folder an ensemble of runs."""
EPOCHS = "epochs"
"""Name of the folder of a run that holds it as it was after some epochs."""
STORES = "tiles"
"""Name of the stores of tiles inside the cache."""
OF_TUNING = ("study.db", "trials.csv")
"""Names that only the folder of a tuning holds; the runs below it are its trials."""
MANIFEST = "manifest.json"
"""Name of what an index says of itself, inside the folder of the reference."""


def newest_run(root: Path = Path("runs")) -> Path:
    """Return the finished run below `root` whose weights were written last; the trials of a tuning do not count, nor what a run
    keeps of itself as it was earlier.

    Raises:
        DataError: there is none.

    """
    whole_ones = (path for path in find(root, MODEL) if not _is_no_result(path.parent, root))
    found: Sequence[Path] = sorted(whole_ones, key=lambda path: path.stat().st_mtime)
    if not found:
        raise DataError(f"{root}/: holds no trained run; train one, or name it with --run or $BLEEP_RUN")
    return found[-1].parent


def _is_no_result(folder: Path, root: Path) -> bool:
    if folder.parent.name == EPOCHS:
        return True
    above = [parent for parent in folder.parents if parent.is_relative_to(root)]
    return any((parent / name).exists() for parent in above for name in OF_TUNING)
