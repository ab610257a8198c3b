"""An archive of slides: a file for each, a ledger of what is done, and a slide that fails never stops the rest.

Nothing heavy is imported at the top: who leaves the work to others need not wait for torch.
"""

import contextlib
import glob
import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, final

from bleep import find
from bleep.config import Config, DtypeName, PredictorName, WeightsName
from bleep.data.slides import slide_files
from bleep.errors import BleepError, DataError, MismatchError, StoppedError
from bleep.files import alone, check_writable, read_json
from bleep.progress import Progress

LEDGER = "ledger.jsonl"
"""Beside the predictions: a line for each slide done."""
DECIDING = (
    find.MODEL,
    find.CONFIG,
    find.PANEL,
    find.ENSEMBLE,
    f"{find.REFERENCE}/{find.MANIFEST}",
    f"{find.CALIBRATION}/{find.CALIBRATED}",
)
"""Files of a run that decide what it predicts."""
BEGINS = '{"slide": "'
"""What each line of a ledger begins with."""
PIECE = 2**20
"""Bytes at the beginning of a slide's file that, with its size, tell it from another."""

log = logging.getLogger(__name__)


@final
@dataclass(frozen=True, slots=True)
class Job:
    """What is asked of every slide of an archive."""

    run: Path
    """Folder of the run."""
    out: Path
    """Folder of the predictions."""
    suffix: str = ".h5ad"
    """Form of each."""
    genes: tuple[str, ...] = ()
    dtype: DtypeName = "float32"
    predictor: PredictorName | None = None
    k: int | None = None
    weights: WeightsName | None = None
    abstain: float | None = None
    where: str | None = None
    min_confidence: Literal["high", "medium", "low"] | None = None
    """Of those genes, or of the panel, write those that the calibration graded so or better."""
    slide: Mapping[str, Any] = field(default_factory=dict)
    """Options of `open_slides`: mpp, step, mask, pixel_limit."""
    inputs: tuple[Path, ...] = ()
    """What is read, none of which is ever replaced."""
    overwrite: bool = False
    """Replace what is there even if bleep did not write it."""

    def digest(self) -> str:
        """Return a sha256 of what decides the predictions: the run, its reference and calibration, and what is asked."""
        joined = hashlib.sha256()
        for path in (folder / name for folder in self.folders() for name in DECIDING):
            joined.update(path.read_bytes() if path.is_file() else b"-")
        asked = {name: value for name, value in asdict(self).items() if name not in ("run", "out", "inputs", "overwrite")}
        if self.min_confidence is None:
            # An archive begun before there was such a question goes on.
            del asked["min_confidence"]
        joined.update(json.dumps(asked, sort_keys=True, default=str).encode())
        return joined.hexdigest()

    def folders(self) -> list[Path]:
        """Return the folder of the run; of an ensemble those of its runs, too."""
        if not (self.run / find.ENSEMBLE).exists():
            return [self.run]
        named = read_json(self.run / find.ENSEMBLE, "the runs of an ensemble")["members"]
        return [self.run, *(self.run / str(member["run"]) for member in named)]

    def features(self) -> list[Path]:
        """Return the folders of ready-made features that the run, or those of an ensemble, read."""
        found: list[Path] = []
        # What is wrong with a run's settings is said where it is opened.
        with contextlib.suppress(BleepError):
            for folder in self.folders():
                config = Config.load(folder / find.CONFIG) if (folder / find.CONFIG).is_file() else None
                if config is not None and config.data.features is not None and config.image.trunk == "features":
                    found.append(config.data.features)
        return found

    def place(self, name: str) -> Path:
        """Return where the prediction of a slide goes."""
        return self.out / f"{name}{self.suffix}"

    def mask(self, name: str) -> Path | None:
        """Return where the mask of a slide is, if one was given."""
        place: Path | None = self.slide.get("mask")
        return place / f"{name}.png" if place is not None and place.is_dir() else place


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a slide."""

    name: str
    tiles: int = 0
    seconds: float = 0.0
    failure: str = ""
    """The sentence that says why there is no prediction."""
    said: tuple[str, ...] = ()
    """What a worker elsewhere has warned of meanwhile."""


Engine = Callable[[Job, Mapping[str, Path]], Iterator[Outcome]]
"""Predicts slides, by name, in any order."""


@final
class Worker:
    """A run opened once, for slide after slide."""

    def __init__(self, job: Job) -> None:
        """Open the run and what it predicts by.

        Raises:
            BleepError: as `Opened.select`; or what is asked for, such as a gene, can be had of no slide.

        """
        from bleep.predictors.io import check_form
        from bleep.workflows.opened import Opened
        from bleep.workflows.query import confident_genes
        from bleep.workflows.slides import check_scale
        from bleep.workflows.stream import columns_of

        check_form(job.place("NAME"), job.dtype)
        experiment = Opened(job.run, where=job.where)
        check_scale(experiment.run)
        columns_of(experiment.run, job.genes)
        self._job, self._run, self._runs = job, experiment.run, [member.run for member in experiment.members]
        self._predictor = experiment.select(job.predictor, job.k, job.weights, job.abstain)
        least = job.min_confidence
        self._genes = job.genes if least is None else confident_genes(experiment, self._predictor, least, job.genes)
        self._reference = experiment.reference

    def predict(self, name: str, path: Path) -> Outcome:
        """Predict a slide and write it, whole or not at all.

        Raises:
            StoppedError: asked to stop.

        """
        from bleep.workflows.ensemble import fitted
        from bleep.workflows.slides import open_slides
        from bleep.workflows.stream import Output, Query, write_query
        from bleep.workflows.unseen import warn_of_trained

        began = time.perf_counter()
        try:
            tiles = open_slides((path,), self._run, **self._job.slide)
            warn_of_trained(self._runs, tiles)
            asked = {key: getattr(self._job, key) for key in ("k", "weights", "abstain", "where")}
            safe: dict[str, Any] = {"inputs": self._job.inputs, "overwrite": self._job.overwrite}
            query = Query(self._run, self._predictor, self._reference, tiles, {**asked, "fitted": fitted(self._predictor)})
            write_query(query, Output(self._job.place(name), self._genes, self._job.dtype, **safe))
        except StoppedError:
            raise StoppedError(f"{self._job.out}: asked to stop; finished slides are kept: the same command goes on") from None
        except BleepError as error:
            return Outcome(name, failure=str(error))
        except Exception as error:  # whatever a slide does, the others must go on
            log.debug("slide %s", name, exc_info=True)
            return Outcome(name, failure=f"{path}: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
        return Outcome(name, len(tiles), time.perf_counter() - began)


def here(job: Job, slides: Mapping[str, Path]) -> Iterator[Outcome]:
    """Predict slides one after another in this process."""
    worker = Worker(job)
    for name, path in slides.items():
        yield worker.predict(name, path)


def find_slides(patterns: Sequence[Path]) -> dict[str, Path]:
    """Return the slide files that paths, folders and patterns such as `archive/*.svs` name, by their sections' names.

    Raises:
        DataError: a pattern matches nothing, a place holds no slide, or two slides have one name.

    """
    found: dict[str, Path] = {}
    for pattern in patterns:
        places = [pattern] if pattern.exists() else [Path(place) for place in sorted(glob.glob(str(pattern), recursive=True))]  # noqa: PTH207 its root is not known
        if not places:
            raise DataError(
                f"{pattern}: matches no file; expected slides, folders of them or a pattern such as 'archive/*.svs'"
            )
        for place in places:
            for name, path in slide_files(place).items():
                if found.setdefault(name, path) != path:
                    raise DataError(f"{found[name]} and {path} would both be written as {name!r}; rename one")
    return {name: path.absolute() for name, path in found.items()}


def predict_archive(job: Job, slides: Mapping[str, Path], engine: Engine) -> tuple[list[Outcome], int]:
    """Predict the slides that the ledger does not name; return what became of each, and how many were done before.

    Raises:
        DataError: the folder cannot be written to, or another archive is being predicted there; its ledger is damaged, or one
            mask is given for several slides.
        MismatchError: the folder holds predictions by another run, reference or question.

    """
    from bleep.data.readers.wsi import check_mask

    check_mask(job.slide["mask"], len(slides))
    check_writable(job.out / LEDGER)
    # Another's blocks and locks would be taken for what a killed worker left.
    busy = f"{job.out}: another archive is being predicted there; wait until it has finished, or choose another --out"
    with alone(job.out / f".{LEDGER}.lock", busy):
        return _predict_archive(job, slides, engine)


def _predict_archive(job: Job, slides: Mapping[str, Path], engine: Engine) -> tuple[list[Outcome], int]:
    digest, outcomes = job.digest(), []
    done = _read(job.out / LEDGER, digest)
    ready = job.features()
    marks = {n: _mark(path, job.mask(n), [place / f"{n}.h5" for place in ready]) for n, path in slides.items()}
    waiting = {name: path for name, path in slides.items() if done.get(name) != marks[name] or not job.place(name).exists()}
    for name in waiting:
        _clean(job.place(name))
    try:
        with (
            (job.out / LEDGER).open("a", encoding="utf-8") as ledger,
            Progress(total=len(slides), initial=len(slides) - len(waiting), desc="slides", unit="slide") as bar,
        ):
            for outcome in engine(job, waiting) if waiting else ():
                outcomes.append(outcome)
                if not outcome.failure:
                    facts = {"slide": outcome.name, "mark": marks[outcome.name], "job": digest, "tiles": outcome.tiles}
                    ledger.write(json.dumps({**facts, "seconds": round(outcome.seconds, 3)}) + "\n")
                    ledger.flush()
                    os.fsync(ledger.fileno())
                bar.update()
                bar.set_postfix(failed=sum(bool(each.failure) for each in outcomes), refresh=False)
    finally:
        # Whatever is refused before the first slide leaves nothing.
        if not (job.out / LEDGER).stat().st_size:
            (job.out / LEDGER).unlink()
    return outcomes, len(slides) - len(waiting)


def _read(path: Path, digest: str) -> dict[str, str]:
    """Return the marks of the slides that are done; a last line cut short by a death is none."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    done: dict[str, str] = {}
    for number, line in enumerate(lines):
        try:
            entry = json.loads(line)
            job, name, mark = str(entry["job"]), str(entry["slide"]), str(entry["mark"])
        except (ValueError, KeyError, TypeError, RecursionError):
            if number == len(lines) - 1 and BEGINS.startswith(line[: len(BEGINS)]):
                path.write_text("".join(f"{whole}\n" for whole in lines[:-1]), encoding="utf-8")
                break
            raise DataError(
                f"{path}: line {number + 1} is damaged, or of no ledger; remove it, and its slide is predicted again"
            ) from None
        if job != digest:
            raise MismatchError(
                f"{path}: is of predictions by another run, index or question than this one; choose another --out, or remove "
                "the folder"
            )
        done[name] = mark
    return done


def _mark(path: Path, mask: Path | None, features: Sequence[Path] = ()) -> str:
    """Return what tells a slide, the mask that was given for it, and its ready-made features from others of the same name."""
    joined = hashlib.sha256(_ends(path, 1))
    if mask is not None and mask.is_file():
        joined.update(mask.read_bytes())
    for ready in features:
        # Features of an archive are terabytes, too: both ends, as tables and their places may stand in either order.
        joined.update(_ends(ready, 2) if ready.is_file() else b"-")
    return joined.hexdigest()


def _ends(path: Path, ends: int) -> bytes:
    """Return a file's size and its first bytes; of both `ends` the last ones, too."""
    size = path.stat().st_size
    with path.open("rb") as file:
        found = f"{size} ".encode() + file.read(PIECE)
        if ends > 1:
            file.seek(max(size - PIECE, 0))
            found += file.read(PIECE)
    return found


def _clean(path: Path) -> None:
    """Remove what a killed worker left of a slide."""
    names = "|".join(re.escape(name) for name in (path.name, f"{path.stem}.neighbours.csv", f"{path.stem}.neighbours.parquet"))
    own = re.compile(rf"\.({names})\.(lock|parts|[a-z0-9_]{{8}}\.part)")
    for left in path.parent.iterdir():
        if own.fullmatch(left.name) is None:
            continue
        shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
