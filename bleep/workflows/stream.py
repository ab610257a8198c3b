"""Queries of any size: block by block from tiles to files, stopped and resumed, the trunk's work shared by processes."""

import contextlib
import hashlib
import json
import logging
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, final

import numpy as np

from bleep.config import DtypeName
from bleep.data.prediction import Prediction
from bleep.data.slides.base import picture_key
from bleep.data.tiles import Tiles
from bleep.errors import ConfigError, DataError, StoppedError
from bleep.files import alone, check_writable
from bleep.outputs import check_output
from bleep.predictors import Ensemble, Predictor, plain
from bleep.predictors.classifier import with_labels
from bleep.predictors.io import Parts, check_blocks, check_form, check_values, write_blocks, write_frames
from bleep.predictors.retrieval import neighbor_table
from bleep.progress import Progress
from bleep.retrieval.embed import check_tiles, ready_made
from bleep.retrieval.reference import Reference
from bleep.runs import Run
from bleep.workflows.slides import facts_of, noted

ROWS = 4096
"""Tiles predicted at a time."""

log = logging.getLogger(__name__)


@final
@dataclass(frozen=True, slots=True)
class Query:
    """What is predicted, and by what."""

    run: Run
    predictor: Predictor
    reference: Reference | None
    """What the predictor retrieves from; none: nothing of it is told."""
    tiles: Tiles
    flags: Mapping[str, Any] = field(default_factory=dict)
    """What was asked for on top of the run's own settings, such as k and weights."""


@final
@dataclass(frozen=True, slots=True)
class Output:
    """Where a prediction goes, and what of it.

    Raises:
        ConfigError: the suffix is not known, or the form has no such precision.
        DataError: the place cannot be written to; what is there is an input, or was not written by bleep.

    """

    path: Path
    """Ends in .h5ad, .zarr, .csv or .parquet."""
    genes: tuple[str, ...] = ()
    """Only these are written; empty: the whole panel."""
    dtype: DtypeName = "float32"
    resume: bool = False
    """Go on with the same query where it was stopped."""
    whole: bool = False
    """All genes are needed after writing, by explanations, whatever `genes` are written."""
    inputs: Iterable[Path] = ()
    """Files and folders that are read: none of them is ever replaced."""
    overwrite: bool = False
    """Replace what is there even if bleep did not write it."""
    rows: int = ROWS
    """Tiles predicted at a time."""

    def __post_init__(self) -> None:
        check_form(self.path, self.dtype)
        for path in (self.neighbors, self.path):
            if path.suffix != ".zarr" or not path.is_dir():
                check_writable(path)
            elif not any((path / name).exists() for name in (".zgroup", "zarr.json")):
                raise DataError(f"{path}: is a folder, but no zarr; choose another place")
            check_output(path, self.inputs, overwrite=self.overwrite)
        check_blocks(self.parts)

    @property
    def neighbors(self) -> Path:
        """Where the table of neighbours goes."""
        return self.path.with_suffix(".neighbours.parquet" if self.path.suffix == ".parquet" else ".neighbours.csv")

    @property
    def lock(self) -> Path:
        """What is held while blocks are made and joined."""
        return self.path.with_name(f".{self.path.name}.lock")

    @property
    def parts(self) -> Path:
        """Where finished blocks are kept until all are there."""
        return self.path.with_name(f".{self.path.name}.parts")


def stream(
    run: Run, predictor: Predictor, tiles: Tiles, rows: int = ROWS, *, skip: int = 0, reference: Reference | None = None
) -> Iterator[Prediction]:
    """Predict tiles in blocks of at most `rows`, in order, none of two sections; the first `skip` blocks are left out.

    With a classifier, or a `reference` whose spots carry labels, each tile's label and its share stand in the table.
    Memory does not grow with the number of tiles. Joined, the blocks are what `predict` gives. Pictures of sections come with
    the first block of each.

    Raises:
        MismatchError: the tiles are cut otherwise than the run's own.

    """
    check_tiles(run, tiles)
    facts, shown, one = facts_of(tiles, run), "", plain(predictor)
    runs = list(zip(one.runs, one.weights, strict=True)) if isinstance(one, Ensemble) else [(run, 1.0)]
    for number, block in enumerate(tiles.blocks(rows)):
        (whole,) = block.whole
        first, shown = whole.name != shown, whole.name
        if number >= skip:
            labelled = with_labels(predictor.predict(block), runs, block, reference)
            yield noted(labelled, facts, [whole] if first else [])


def write_query(query: Query, output: Output, use: Callable[[Prediction], None] | None = None) -> tuple[Path, ...]:
    """Predict tiles block by block, write them as one file, and beside it the table of neighbours; return both.

    Finished blocks are kept beside the output until it is whole, so that a query that was stopped, or killed, can go on.
    `use` is given the prediction once it is written, held in memory, so that nothing is predicted again for it: of the genes
    written, or of all where `output.whole`.

    Raises:
        MismatchError: `output.resume`, and what was stopped was another query.
        ConfigError: a gene is not of the panel.
        StoppedError: asked to stop.

    """
    busy = f"{output.path}: another query is writing there; wait until it has finished, or choose another --out"
    with alone(output.lock, busy):
        return _write_query(query, output, use)


def _write_query(query: Query, output: Output, use: Callable[[Prediction], None] | None) -> tuple[Path, ...]:
    chosen = check_query(query, output)
    parts = Parts.open(output.parts, _key(query, output), resume=output.resume)
    done = len(parts)
    with _stoppable(output), Progress(total=len(query.tiles), desc="predicting", unit="tile", leave=False) as bar:
        bar.update(sum(len(block) for number, block in enumerate(query.tiles.blocks(output.rows)) if number < done))
        for prediction in stream(query.run, query.predictor, query.tiles, output.rows, skip=done, reference=query.reference):
            parts.add(prediction if chosen is None or output.whole else prediction[:, chosen])
            check_values(prediction if chosen is None else prediction[:, chosen], output.dtype)
            bar.update(len(prediction))
        # What is read back is what any later call would read: a resumed query gives the same file.
        blocks = _shown(parts, "writing")
        if chosen is not None and output.whole:
            blocks = (part[:, chosen] for part in blocks)
        write_blocks(blocks, len(query.tiles), output.path, output.dtype)
        written = [output.path]
        if query.reference is not None and next(iter(parts)).neighbors is not None:
            reference = query.reference
            write_frames((neighbor_table(part, reference) for part in _shown(parts, "neighbours")), output.neighbors)
            written.append(output.neighbors)
        if use is not None:
            use(Prediction.joined(list(parts)))
        parts.remove()
    return tuple(written)


def check_query(query: Query, output: Output) -> np.ndarray | None:
    """Refuse, before anything long begins, what `write_query` would refuse; return the columns of the genes asked for.

    Raises:
        MismatchError: `output.resume`, and what was stopped was another query.
        ConfigError: a gene is not of the panel, or is named twice.

    """
    if output.resume:
        Parts.open(output.parts, _key(query, output), resume=True)
    return columns_of(query.run, output.genes)


def _shown(parts: Parts, what: str) -> Iterator[Prediction]:
    return iter(Progress(parts, total=len(parts), desc=what, unit="block", leave=False, disable=len(parts) < 2))


def columns_of(run: Run, genes: tuple[str, ...]) -> np.ndarray | None:
    """Return the columns of some genes in the panel; none: of all.

    Raises:
        ConfigError: a gene is not of the panel, or is named twice.

    """
    places = {gene: column for column, gene in enumerate(run.panel.genes)}
    unknown = [gene for gene in genes if gene not in places]
    if unknown:
        what, some = "classes" if run.model.classifies else "genes", list(places)[:5]
        if any("," in gene for gene in places):
            some = [f'"{gene}"' for gene in some]
        raise ConfigError(
            f"--genes: the run's panel of {len(places)} {what} has no {unknown[0]!r}; it has {', '.join(some)}"
            + " and so on" * (len(places) > len(some))
        )
    twice = [gene for at, gene in enumerate(genes) if gene in genes[:at]]
    if twice:
        raise ConfigError(f"--genes: {twice[0]!r} is named twice; name each gene once")
    return np.array([places[gene] for gene in genes]) if genes else None


def _key(query: Query, output: Output) -> dict[str, str]:
    """Return digests of all that decides what blocks hold."""
    run, tiles = query.run, query.tiles
    pictures = [
        [section.name, section.patient, picture_key(section.slide), _hash(np.ascontiguousarray(section.xy)), section.mpp]
        + ([_hash(section.counts.obs["tissue"].to_numpy())] if "step" in section.counts.uns else [])
        for section in tiles.sections
    ]
    one = plain(query.predictor)
    ready = [
        files for each in (one.runs if isinstance(one, Ensemble) else [run]) if (files := ready_made(each, tiles.sections))
    ]
    settings = [
        query.predictor.name,
        dict(query.flags),
        run.config.query.model_dump(mode="json"),
        output.genes,
        output.rows,
        output.whole,
    ]
    return {
        "run": _digest([run.weights_digest(), run.panel.digest()]),
        "reference": "" if query.reference is None else _digest(query.reference.manifest),
        "set of tiles": _digest([pictures, tiles.ids, tiles.spec.pixels, tiles.spec.microns, tiles.spec.padding, *ready]),
        "k, weights, genes or other setting": _digest(settings),
    }


def _digest(tree: object) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True, default=str).encode()).hexdigest()


def _hash(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


@contextlib.contextmanager
def _stoppable(output: Output) -> Iterator[None]:
    """Turn SIGTERM into an error, so that what is half-written is removed and what is finished stays.

    Raises:
        StoppedError: it came.

    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise StoppedError(f"{output.path}: asked to stop; what is finished is kept: the same command with --resume goes on")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
