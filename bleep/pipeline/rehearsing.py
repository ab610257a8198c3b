"""Rehearsals: each part of the training tissue left out in turn, the recipe trained on the rest, and the part predicted.

Nothing outside the run's training and validation sections is looked at, and validation has no spot of a section of which a
part is left out. With a frozen trunk a rehearsal costs seconds, since features come
from the cache; a trunk that learns is trained anew for each part.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Int64
from tqdm import tqdm

from bleep.encoders.dual import DualEncoder
from bleep.errors import ConfigError, DataError
from bleep.pipeline.fitting import refit
from bleep.prediction.baselines import RidgePredictor
from bleep.prediction.embed import embed_spots, embed_tiles, raw_features
from bleep.prediction.familiarity import Cloud
from bleep.prediction.regression import RegressionPredictor
from bleep.prediction.rehearsal import NEAREST, LeftOut
from bleep.prediction.search import FlatIndex
from bleep.records import Leak, Neighbors
from bleep.runs import Run, regresses
from bleep.settings import PanelConfig
from bleep.tissue.batch import correction
from bleep.tissue.normalise import SCALES
from bleep.tissue.panel import GenePanel
from bleep.tissue.section import Section
from bleep.tissue.slides import MosaicSlide
from bleep.tissue.splits import Split, blocks_of, near_spots

PARTS = 4
"""Parts that a single training section is divided into, as blocks."""

Rows = Int64[np.ndarray, " spots"]

log = logging.getLogger(__name__)


@final
@dataclass(frozen=True, slots=True)
class Part:
    """What is left out once, and what is trained on meanwhile; rows count through all training sections."""

    name: str
    held: Int64[np.ndarray, " held"]
    rest: Int64[np.ndarray, " rest"]


def parts_of(run: Run, sections: Sequence[Section], folds: int | None = None) -> list[Part]:
    """Divide training tissue as the run's own split does: by patient where several were trained on, else by section.

    A single section is divided into spatial blocks with the run's margin between them. With `folds`, patients or sections
    are left out together, in that many parts.

    Raises:
        ConfigError: fewer than two parts were asked for.
        DataError: the tissue cannot be divided.

    """
    if folds is not None and folds < 2:
        raise ConfigError(f"--folds {folds}: expected 2 or more")
    if len(sections) == 1:
        return _blocks(run, sections[0], folds or PARTS)
    patients = sorted({section.patient for section in sections})
    by_patient = run.config.data.split == "patient" and len(patients) > 1
    group = [section.patient if by_patient else section.name for section in sections]
    names = sorted(set(group))
    of_spot = np.repeat(np.arange(len(sections)), [len(section) for section in sections])
    parts = []
    for together in np.array_split(np.array(names), min(folds or len(names), len(names))):
        held = np.isin(np.array(group)[of_spot], together)
        parts.append(Part(", ".join(together), np.flatnonzero(held), np.flatnonzero(~held)))
    return parts


def _blocks(run: Run, section: Section, count: int) -> list[Part]:
    if isinstance(section.slide, MosaicSlide):
        raise DataError(
            f"section {section.name}: is the only one that was trained on, and ready-cut tiles have no places to divide it by; "
            "train on two sections or more to calibrate"
        )
    place = blocks_of(section, run.config.data.blocks, count)
    parts = []
    for number in np.unique(place):
        held = place == number
        rest = ~held & ~near_spots(section, held, run.config.data.margin)
        if held.any() and rest.any():
            parts.append(Part(f"{section.name}, block {number + 1}", np.flatnonzero(held), np.flatnonzero(rest)))
    if len(parts) < 2:
        raise DataError(f"section {section.name}: cannot be divided into blocks to rehearse on; lower data.margin")
    return parts


def rehearse(run: Run, divided: Split, place: Path, folds: int | None = None) -> list[LeftOut]:
    """Leave out each part in turn and predict it; finished parts are kept in `place` and used again.

    Raises:
        ConfigError, DataError: the training tissue cannot be divided.
        WeightsError: the trunk learns, and its first weights cannot be had again.

    """
    parts = parts_of(run, divided.train, folds)
    if run.model.trunk.learns:
        log.warning("the trunk learns: rehearsing takes %d trainings of it; fewer with --folds", len(parts))
    whole = run.weights_digest()
    done = []
    for number, part in enumerate(tqdm(parts, desc="rehearsing", unit="part")):
        path = place / f"{number:03d}.safetensors"
        key = _key(whole, run, part)
        left_out = LeftOut.load(path, key)
        if left_out is None:
            left_out = _left_out(run, divided, part, place / f"{number:03d}-{key[:12]}")
            left_out.save(path, key)
            shutil.rmtree(place / f"{number:03d}-{key[:12]}", ignore_errors=True)
        done.append(left_out)
    return done


def _key(weights: str, run: Run, part: Part) -> str:
    """Return a digest of all that decides what a rehearsal gives."""
    parts = [2, weights, run.panel.digest(), run.config.seed, run.config.query.views, part.held.tolist(), part.rest.tolist()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _left_out(run: Run, divided: Split, part: Part, place: Path) -> LeftOut:
    rest, held = _taken(divided.train, part.rest), _taken(divided.train, part.held)
    panel = refitted(run, rest)
    split = Split(rest, _apart(divided.val, held), held, divided.by, Leak("unknown", "a rehearsal on training tissue"))
    fresh = refit(run, split, panel, place)
    tiles, unseen = run.tiles(rest), run.tiles(held)
    predictions = {}
    if regresses(fresh.model):
        predictions["regression"] = RegressionPredictor(fresh).predict(unseen).expression
    predictions["ridge"] = RidgePredictor.fit(fresh, tiles).predict(unseen).expression
    near = None
    if isinstance(fresh.model, DualEncoder):
        index = FlatIndex.build(embed_spots(fresh, rest).vectors)
        found = index.search(embed_tiles(fresh, unseen).vectors, NEAREST)
        near = Neighbors(found.similarity, part.rest[found.rows])
    distance = Cloud.fit(raw_features(fresh, tiles)).distance(raw_features(fresh, unseen))
    return LeftOut(part.name, part.held, predictions, near, distance, panel.mean)


def _apart(val: Sequence[Section], held: Sequence[Section]) -> tuple[Section, ...]:
    """Return the validation tissue that is of no section left out; it would tell which epoch suits that section."""
    names = {section.name for section in held}
    return tuple(section for section in val if section.name not in names)


def refitted(run: Run, sections: Sequence[Section]) -> GenePanel:
    """Return the run's panel with every statistic measured on these sections instead; the genes stay."""
    config: PanelConfig = run.config.panel
    values = np.concatenate([run.panel.values(section) for section in sections]).astype(np.float64)
    # One section has nothing to be made alike to.
    batch = correction(config.batch if len(sections) > 1 else "none", values, sections)
    if batch is not None:
        values += batch.codes @ batch.parts
    low, high = np.full(values.shape[1], -np.inf), np.full(values.shape[1], np.inf)
    if config.clip:
        low, high = np.quantile(values, [config.clip, 1 - config.clip], axis=0)
    shift, factor = SCALES[config.scale](np.clip(values, low, high))
    return replace(
        run.panel,
        low=low,
        high=high,
        shift=shift,
        factor=np.where(factor > 0, factor, 1.0),
        mean=values.mean(axis=0),
        variance=values.var(axis=0),
        sections=tuple(section.name for section in sections),
        batch=batch,
    )


def _taken(sections: Sequence[Section], rows: Rows) -> tuple[Section, ...]:
    """Return the sections with these of their spots alone, rows counted through all of them."""
    taken, start = [], 0
    for section in sections:
        mine = rows[(rows >= start) & (rows < start + len(section))] - start
        if len(mine):
            taken.append(section if len(mine) == len(section) else section.subset(mine))
        start += len(section)
    return tuple(taken)
