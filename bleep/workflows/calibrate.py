"""From rehearsals to a calibration: weights of neighbours, corrector, intervals and familiarity."""

import hashlib
import json
import logging
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from bleep import registry
from bleep.data.panel import widened
from bleep.data.section import Section
from bleep.data.splits import Split
from bleep.errors import ConfigError, DataError
from bleep.evaluation.metrics import pearson
from bleep.predictors.baselines import RegressionPredictor, RidgePredictor
from bleep.predictors.calibration import FOLDER, REHEARSAL, Calibration
from bleep.predictors.conformal import Confidence, Conformal, OutOfDistribution, PpcaDistance, coverage_of_others, widening
from bleep.predictors.cross_fitting import (
    MEMBERS,
    NEAREST,
    TRAVEL_AXES,
    Fold,
    OutOfFold,
    Values,
    choose_stacker,
    choose_weighting,
    mean_over_parts,
    nested_shrunk,
    parts_of,
    retrieved,
    seen_without,
    taken,
    trust_in,
    truth_of,
    values_without,
)
from bleep.predictors.foreign import check_kind, fit_other, learnt, restore_other, values_of
from bleep.predictors.members import FITS, TRAVEL, SimplePredictor, usable
from bleep.predictors.stacking import SHRINK, Basis, FoldValues, StackingInput, shrunk_stacker
from bleep.progress import Progress
from bleep.records import Leak, Neighbors
from bleep.retrieval.embed import embed_keys, embed_queries, raw_features, ready_made
from bleep.retrieval.index import FlatIndex
from bleep.retrieval.reference import Reference, identity
from bleep.runs import REFERENCE, Run, changing
from bleep.workflows.fit import refit
from bleep.workflows.opened import Opened, opened
from bleep.workflows.tissue import check_trained

FEW_SUBJECTS = 5
"""Subjects below which a mean over left-out ones is uncertain."""

log = logging.getLogger(__name__)


def cross_fit(run: Run, divided: Split, place: Path, folds: int | None = None, members: Sequence[str] = ()) -> list[OutOfFold]:
    """Leave out each part in turn and predict it; finished parts are kept in `place` and used again.

    Raises:
        ConfigError, DataError: the training tissue cannot be divided.
        WeightsError: the trunk learns, and its first weights cannot be had again.

    """
    parts = parts_of(run, divided.train, folds)
    if run.model.trunk.learns:
        log.warning("the trunk learns: rehearsing takes %d trainings of it; fewer with --folds", len(parts))
    # What is read of ready-made files counts like weights.
    whole = run.weights_digest() + "".join(ready_made(run, divided.train))
    done = []
    for number, part in enumerate(Progress(parts, desc="rehearsing", unit="part")):
        path = place / f"{number:03d}.safetensors"
        key = _key(whole, run, part, members)
        left_out = OutOfFold.load(path, key)
        if left_out is None:
            # The training in it is the same whoever joins.
            folder = place / f"{number:03d}-{_key(whole, run, part, ())[:12]}"
            left_out = _left_out(run, divided, part, folder, members)
            left_out.save(path, key)
            shutil.rmtree(folder, ignore_errors=True)
        done.append(left_out)
    return done


def _key(weights: str, run: Run, part: Fold, members: Sequence[str]) -> str:
    """Return a digest of all that decides what a rehearsal gives."""
    parts = [3, weights, run.panel.digest(), run.config.seed, run.config.query.views, part.held.tolist(), part.rest.tolist()]
    # What no file tells is never taken for the same, as it may be another by now.
    parts += [
        [asdict(registry.origin("predictors", name)), registry.source_digest("predictors", name) or uuid.uuid4().hex]
        for name in members
    ]
    # The number counts what simple members were: 2 since textures have middles.
    parts += [simple_members(run), 2] if simple_members(run) else []
    parts += [] if run.config.index.keys == "expression" else [run.config.index.keys]
    parts += [{"of": run.facts.of_epochs}] if run.facts.of_epochs else []
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def simple_members(run: Run) -> list[str]:
    """Return the simple members that a run combines: those it names, or all where whole subjects are held out."""
    if run.config.query.members:
        return [name for name in FITS if name in run.config.query.members]
    return usable(run) if run.config.data.split == "patient" else []


def members_that_travel(run: Run, members: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the members whose mean predicts where nothing was learnt of which to believe; none: all of them.

    A run's own heads are among them where they, too, see features standardised over each section. Who names members, also
    those of other packages, wants each.
    """
    if run.config.query.members:
        return ()
    own = ("retrieval", "regression") if run.config.image.standardize == "section" else ()
    return (*TRAVEL, *own, *members)


def _wanted(run: Run, predictions: Mapping[str, Values]) -> dict[str, Values]:
    """Return the predictions of the members that a run combines."""
    named = run.config.query.members
    # Members of other packages are named when the run is calibrated, so none of them is left out here.
    return {name: values for name, values in predictions.items() if not named or name in named or name not in MEMBERS}


def _left_out(run: Run, divided: Split, part: Fold, place: Path, members: Sequence[str]) -> OutOfFold:
    rest, held = taken(divided.train, part.rest), taken(divided.train, part.held)
    panel = run.panel.refitted(rest, run.config.panel)
    split = Split(rest, _apart(divided.val, held), held, divided.by, Leak("unknown", "a rehearsal on training tissue"))
    fresh = refit(run, split, panel, place)
    tiles, unseen = run.tiles(rest), run.tiles(held)
    predictions = {}
    if fresh.model.regresses:
        predictions["regression"] = RegressionPredictor(fresh).predict(unseen).expression
    predictions["ridge"] = RidgePredictor.fit(fresh, tiles).predict(unseen).expression
    for name in simple_members(run):
        predictions[name] = SimplePredictor.fit(fresh, name, tiles).predict(unseen).expression
    for name in sorted(members):
        # What cannot be kept is refused now, not after the last rehearsal; and what is joined later is what was kept.
        kept = learnt(fit_other(name, fresh, tiles), name)
        other = restore_other(name, fresh, kept, registry.origin("predictors", name))
        predictions[name] = values_of(other, unseen, fresh, name)
    near = None
    if fresh.model.retrieves:
        keys = run.config.index.keys
        index = FlatIndex.build(embed_keys(fresh, rest, keys))
        found = index.search(embed_queries(fresh, unseen, keys), NEAREST)
        near = Neighbors(found.similarity, part.rest[found.rows])
    distance = PpcaDistance.fit(raw_features(fresh, tiles)).distance(raw_features(fresh, unseen))
    return OutOfFold(part.name, part.held, predictions, near, distance, panel.mean)


def _apart(val: Sequence[Section], held: Sequence[Section]) -> tuple[Section, ...]:
    """Return the validation tissue that is of no section left out; it would tell which epoch suits that section."""
    names = {section.name for section in held}
    return tuple(section for section in val if section.name not in names)


def calibrate(what: Opened | str | Path, folds: int | None = None, members: Sequence[str] = ()) -> Calibration:
    """Rehearse a run on its own training tissue, fit what that teaches, write it to the run's folder, and return it.

    `members` are predictors of other packages, by name, that are joined beside the run's own and ridge.

    Finished rehearsals are kept there, so a calibration that was stopped goes on.

    Raises:
        ConfigError, DataError: the training tissue cannot be divided, or this is an ensemble or a classifier.
        MismatchError: the files are not those the run was trained on.

    """
    (experiment,) = opened([what])
    if experiment.is_ensemble:
        raise DataError(f"{experiment.folder}: is an ensemble; calibrate its runs one by one")
    with changing(experiment.folder):
        return _calibrate(experiment, folds, members)


def _calibrate(experiment: Opened, folds: int | None, members: Sequence[str]) -> Calibration:
    run, folder = experiment.run, experiment.folder
    if run.model.classifies:
        raise ConfigError(
            f"{folder}: tells classes, and calibrating joins predictions of expression; `bleep evaluate --run {folder}` says "
            "how far its probabilities are off"
        )
    divided = check_trained(run, experiment.split)
    _check_members(members)
    _check_named(run, folder, members)
    run = _with_keys(run, folder)
    left_out = cross_fit(run, divided, folder / FOLDER / REHEARSAL, folds, members)
    calibration = fit_calibration(run, divided, left_out, members)
    calibration.save(folder / FOLDER)
    return Calibration.load(folder / FOLDER)


def _with_keys(run: Run, folder: Path) -> Run:
    """Return the run with the keys that its index was built with, which need not be its own setting."""
    if not run.model.retrieves or not (folder / REFERENCE).is_dir():
        return run
    keys = Reference.load(folder / REFERENCE).keys
    index = run.config.index.model_copy(update={"keys": keys})
    return run if keys == run.config.index.keys else replace(run, config=run.config.model_copy(update={"index": index}))


def _check_members(members: Sequence[str]) -> None:
    """Refuse names before anything is computed.

    Raises:
        ConfigError: a name is of one of bleep's own members, is given twice, or is of no package.

    """
    for at, name in enumerate(members):
        if name in MEMBERS or name in members[:at]:
            raise ConfigError(f"--members {name}: is joined already; name predictors of other packages, each once")
        check_kind(name)


def _check_named(run: Run, folder: Path, members: Sequence[str]) -> None:
    """Refuse, before anything is computed, a run that has none of the members it names, or whose tiles are too small for one.

    Raises:
        ConfigError: see above.

    """
    own = {"retrieval": run.model.retrieves, "regression": run.model.regresses, "ridge": True}
    there = [*(name for name, has in own.items() if has), *usable(run)]
    named = run.config.query.members
    lacking = [name for name in named if name in FITS and name not in there]
    if lacking or (named and not members and not set(named) & set(there)):
        raise ConfigError(
            f"query.members names {lacking[0] if lacking else ', '.join(named)}, which {folder} has not: its task is "
            f"{run.config.loss.task}, its tiles have {run.spec.pixels} pixels; train with others, such as {', '.join(there)}"
        )


def fit_calibration(run: Run, divided: Split, left_out: Sequence[OutOfFold], members: Sequence[str] = ()) -> Calibration:
    """Fit everything on what was left out."""
    expression = np.concatenate([run.panel.training_values(section) for section in divided.train])
    deviation = expression.std(axis=0, dtype=np.float64)
    # Large, and no longer wanted: what neighbours are worth while a part is left out is measured on the rest alone.
    del expression
    truth = np.concatenate([run.panel.values(section) for section in divided.train])
    report: dict[str, Any] = {
        "sections": [section.name for section in divided.train],
        "left out": [part.name for part in left_out],
        "spots": sum(len(part.rows) for part in left_out),
    }
    weighting = None
    spreads: list[FoldValues | None] = [None] * len(left_out)
    truths = [truth_of(run, divided.train, part, truth) for part in left_out]
    members_of = [_wanted(run, part.predictions) for part in left_out]
    if run.model.retrieves and "retrieval" in (run.config.query.members or ("retrieval",)):
        rests = [seen_without(run, divided.train, part) for part in left_out]

        def tables() -> Iterator[FoldValues]:
            return (truth if rest is None else values_without(divided.train, *rest) for rest in rests)

        weighting, report["weights tried"] = choose_weighting(left_out, tables(), truths, agreement)
        found = [retrieved(part, table, weighting) for part, table in zip(left_out, tables(), strict=True)]
        spreads = [spread for _, spread in found]
        members_of = [{"retrieval": mean} | others for (mean, _), others in zip(found, members_of, strict=True)]
        report["weights"] = weighting.describe()
    seen = [
        StackingInput(predictions, measured, part.mean)
        for predictions, measured, part in zip(members_of, truths, left_out, strict=True)
    ]
    subjects = len({section.patient for section in divided.train})
    travels = run.config.data.split == "patient"
    trust = trust_in(subjects) if travels else 1.0
    prior = members_that_travel(run, members)
    if travels:
        axes, shrink, nested = TRAVEL_AXES, max(SHRINK), nested_shrunk(seen, trust, prior)
    else:
        axes, shrink, nested = choose_stacker(seen, agreement)
    starts = np.cumsum([len(section) for section in divided.train])[:-1]
    basis = Basis.of(np.split(truth, starts))
    errors = [values - one.truth for values, one in zip(nested, seen, strict=True)]
    # Left-out blocks of one section ask for no more: without it they held .94 of other mice (docs/log.md).
    factor = widening(errors, basis.spread) if travels and subjects == 1 and len(divided.train) > 1 else 1.0
    distances = [part.distance for part in left_out]
    tiles = run.tiles(divided.train)
    conformal = Conformal.fit(errors, spreads, deviation, distances, factor)
    conformal.quantile(run.config.query.interval)  # Raises where they are too few.
    confidence = Confidence.of(np.stack([pearson(values, one.truth) for values, one in zip(nested, seen, strict=True)]))
    report |= {
        "axes": axes,
        "pull": shrink,
        "trust": trust,
        "rehearsed on": cross_fitted_on(run, divided.train),
        "scores": _scores(seen, nested),
        "confidence": confidence.summary(),
        "coverage": coverage_of_others(errors, spreads, deviation, distances, run.config.query.interval),
        "widened": factor,
    }
    return Calibration(
        identity=identity(run) | ({} if weighting is None else {"keys": run.config.index.keys}),
        weighting=weighting,
        stacker=shrunk_stacker(seen, basis, axes, shrink, trust, prior),
        ridge=RidgePredictor.fit(run, tiles).ridge if "ridge" in seen[0].predictions else None,
        conformal=conformal,
        familiarity=OutOfDistribution.fit(raw_features(run, tiles), distances),
        report=report,
        others={name: learnt(fit_other(name, run, tiles), name) for name in sorted(members)},
        origins=tuple(registry.origin("predictors", name) for name in sorted(members)),
        simple={name: SimplePredictor.fit(run, name, tiles).fitted for name in simple_members(run)},
        bounds=widened(truth.min(axis=0).astype(np.float64), truth.max(axis=0).astype(np.float64)),
        confidence=confidence,
    )


def cross_fitted_on(run: Run, sections: Sequence[Section]) -> str:
    """Return what was left out, and what its scores promise, in a sentence."""
    subjects = len({section.patient for section in sections})
    if run.config.data.split == "patient" and subjects > 1:
        few = "; so few say little of the next one" if subjects < FEW_SUBJECTS else ""
        return f"{subjects} subjects, each left out in turn: these are scores on a subject not trained on{few}"
    what = f"{len(sections)} sections" if len(sections) > 1 else "blocks of one section"
    whose = "one subject" if subjects == 1 else f"{subjects} subjects, all of them trained on"
    return f"{what} of {whose}: scores on another subject are lower as a rule, in our tests by up to .12, once by .22"


def agreement(predicted: Values, measured: Values) -> float:
    """Return the mean correlation over genes that vary; NaN if none does."""
    found = pearson(predicted, measured)
    return float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")


def _scores(seen: Sequence[StackingInput], nested: Sequence[FoldValues]) -> dict[str, float]:
    """Return the mean correlation of each member, of their plain mean and of the corrector, on tissue none had seen."""
    members = {name: [one.predictions[name] for one in seen] for name in seen[0].predictions}
    plain = [np.mean(list(one.predictions.values()), axis=0) for one in seen]
    tables = members | {"plain mean": plain, "combined": list(nested)}
    return {
        name: mean_over_parts([agreement(values, one.truth) for values, one in zip(table, seen, strict=True)])
        for name, table in tables.items()
    }
