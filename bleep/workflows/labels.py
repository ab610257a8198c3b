"""Labels of tiles, as runs learnt them or neighbours of measured spots tell them, scored on held-out tissue beside floors."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int

from bleep import runs
from bleep.config import CLASSES, Config, PanelConfig
from bleep.data.labels import labelled
from bleep.data.panel import GenePanel
from bleep.data.section import Section
from bleep.data.splits import Split
from bleep.errors import DataError, MismatchError
from bleep.evaluation import labels as scoring
from bleep.evaluation import leakage
from bleep.evaluation.labels import LabelPrediction, Pooled
from bleep.files import write_json, write_text
from bleep.marks import COMMENT, KEY, MARK, marked_csv
from bleep.models.own import called
from bleep.predictors import Predictor
from bleep.predictors.classifier import ClassifierPredictor, LabelHeadPredictor, NeighborVote, carries_labels, label_floors
from bleep.predictors.retrieval import RetrievalPredictor
from bleep.records import Leak, LeakReport
from bleep.retrieval import reference as references
from bleep.retrieval.reference import Reference
from bleep.runs import Run
from bleep.workflows.audit import audit
from bleep.workflows.ensemble import is_ensemble
from bleep.workflows.launch import best_device
from bleep.workflows.opened import Opened, opened
from bleep.workflows.place import differences, parts_rule, same_frozen
from bleep.workflows.tissue import load_split
from bleep.workflows.unseen import check_held_out, check_reference, check_unseen, worst_leak

log = logging.getLogger(__name__)

RETRIEVAL = "label retrieval"
"""How tables call the weighted vote of a tile's labelled neighbours."""
COLUMNS = ("auc", "average_precision", "accuracy", "balanced_accuracy", "f1", "precision", "recall", "calibration_error")
"""Scores of the table; the file has them all."""


@final
@dataclass(frozen=True, slots=True)
class LabelTable:
    """A comparison of what tells labels."""

    protocol: str
    leak: Leak
    facts: dict[str, str]
    classes: tuple[str, ...]
    rows: pd.DataFrame
    """One row a predictor: the scores over all test tiles together, mean over seeds, with `_low` and `_high` over patients."""
    patients: pd.DataFrame
    """One row a predictor and patient: tiles, and the scores that such tiles have."""
    confusions: dict[str, Int[np.ndarray, "classes classes"]]
    """Of the first seed."""
    told: tuple[LabelPrediction, ...] = field(repr=False)
    leaks: tuple[LeakReport, ...] = ()
    seen: tuple[tuple[Run, Split], ...] = field(default=(), repr=False)
    """Each run scored, and how its tissue was divided."""

    def pooled(self, predictor: str) -> Pooled:
        """Return what a predictor says of the test tiles of all folds of the first seed."""
        mine = [one for one in self.told if one.predictor == predictor]
        return Pooled.of([one for one in mine if one.seed == min(each.seed for each in mine)])


WRITTEN = ("evaluation.json", "evaluation.md", "evaluation.csv")
"""What `save_labels` writes of runs that learnt labels."""


def learns_labels(folder: Path) -> bool:
    """Return whether a folder holds a run trained with `loss.task: classify`."""
    return (folder / runs.CONFIG).is_file() and Config.load(folder / runs.CONFIG).loss.task == "classify"


def evaluate_labels(folders: Sequence[str | Path]) -> LabelTable:
    """Score runs that learnt labels on their test tissue, folds joined and seeds averaged.

    A run's own predictors are its classifier and label retrieval from its reference, built anew where there is none. With
    `data.val`, the threshold of two classes is the one of highest F1 on validation tissue; it is never chosen on test tissue.

    Raises:
        MismatchError: runs are of different classes, settings or splits; or test tissue was trained on.
        DataError: a run learnt no labels, or held nothing out.

    """
    seen: list[Run] = []
    splits: list[Split] = []
    told: list[LabelPrediction] = []
    leaks: list[LeakReport] = []
    floors: set[tuple[frozenset[str], ...]] = set()
    for folder in map(Path, folders):
        if is_ensemble(folder) or not learns_labels(folder):
            raise DataError(f"{folder}: learnt no labels, but another run did; evaluate them apart")
        run = Run.load(folder)
        run.model.to(best_device())
        _check_same(run, seen, folder)
        seen.append(run)
        divided = load_split(run.config)
        splits.append(divided)
        check_held_out(run, divided, folder)
        reference = _reference(run, divided, folder)
        check_reference(reference, divided.test, folder, run)
        leaks.append(audit(run, divided, reference, folder))
        own: dict[str, Predictor] = {
            ClassifierPredictor.name: ClassifierPredictor(run),
            RETRIEVAL: RetrievalPredictor(run, reference),
        }
        tissue = _tissue(divided)
        if tissue not in floors:
            floors.add(tissue)
            own |= label_floors(run, run.tiles(divided.train))
        told += [told_by(name, predictor, run, divided) for name, predictor in own.items()]
    return replace(joined(told, seen, leaks), seen=tuple(zip(seen, splits, strict=True)))


def _tissue(divided: Split) -> tuple[frozenset[str], ...]:
    """Return what floors are fitted and scored on; runs that swap what validates and tests are fitted on the same."""
    return tuple(frozenset(section.digest() for section in side) for side in (divided.train, divided.test))


def _reference(run: Run, divided: Split, folder: Path) -> Reference:
    kept = folder / runs.REFERENCE
    return Reference.load(kept) if kept.is_dir() else references.build(run, divided.train)


def told_by(name: str, predictor: Predictor, run: Run, divided: Split) -> LabelPrediction:
    """Return what a predictor says of the test tiles of a run whose panel is of classes.

    A threshold is chosen on validation tiles, where some are of either class: tiles of one class ask for that alone.
    """
    threshold = None
    if divided.val and len(run.panel.genes) == 2:
        said, truth, _ = _with_truth(predictor, run, divided.val)
        if truth.any(axis=0).all():
            threshold = scoring.best_threshold(said, truth, scoring.positive_f1)
    said, truth, spots = _with_truth(predictor, run, divided.test)
    decided = scoring.decided(said, threshold)
    return LabelPrediction(name, run.config.seed, run.config.data.fold, said, truth, decided, spots, threshold)


def _with_truth(
    predictor: Predictor, run: Run, sections: tuple[Section, ...]
) -> tuple[Float32[np.ndarray, "tiles classes"], Float32[np.ndarray, "tiles classes"], pd.DataFrame]:
    """Return what is predicted of the tiles that have a label, their labels, and their table."""
    prediction, truth = predictor.predict(run.tiles(sections)), np.concatenate([run.panel.values(one) for one in sections])
    has = truth.any(axis=1)
    return prediction.expression[has], truth[has], prediction.spots.iloc[np.flatnonzero(has)]


def _check_same(run: Run, seen: Sequence[Run], folder: Path) -> None:
    """Refuse a run that is not the same recipe as the first, but for fold and seed."""
    if not seen:
        return
    first = seen[0]
    if run.panel.genes != first.panel.genes:
        raise MismatchError(
            f"{folder}: knows classes {', '.join(run.panel.genes)}, but the first run {', '.join(first.panel.genes)}; "
            "evaluate them apart"
        )
    apart = {"out", "cache", "seed"}
    before_tree, here_tree = ({k: v for k, v in one.config.dump().items() if k not in apart} for one in (first, run))
    for tree in (before_tree, here_tree):
        tree["data"] = {key: value for key, value in tree["data"].items() if key not in ("fold", "test", "root")}
    before_tree, here_tree = before_tree | parts_rule(first.facts), here_tree | parts_rule(run.facts)
    for key, before, here in differences(before_tree, here_tree):
        raise MismatchError(f"{folder}: has {key} = {here}, but the first run has {before}; evaluate them apart")
    if not same_frozen(first, run):
        raise MismatchError(f"{folder}: has a frozen trunk of other weights or code than the first run; evaluate them apart")
    if any(
        (run.config.seed, run.config.data.fold, run.facts.test) == (o.config.seed, o.config.data.fold, o.facts.test)
        for o in seen
    ):
        raise MismatchError(f"{folder}: is of the same fold and seed as another of the runs; name each once")


def joined(told: Sequence[LabelPrediction], seen: Sequence[Run], leaks: Sequence[LeakReport]) -> LabelTable:
    """Return the table of these predictions, folds joined and seeds averaged."""
    classes = seen[0].panel.genes
    rows, patients, confusions = {}, [], {}
    for name in dict.fromkeys(one.predictor for one in told):
        by_seed = [
            [one for one in told if one.predictor == name and one.seed == seed] for seed in sorted({o.seed for o in told})
        ]
        pooled = [Pooled.of(parts) for parts in by_seed if parts]
        single = pd.DataFrame([scoring.scores(one.probability, one.truth, one.told) for one in pooled])
        first = pooled[0]
        row = single.mean().to_dict() | {f"{key}_sd": value for key, value in single.std().items()}
        for key, ends in scoring.patient_intervals(first.probability, first.truth, first.told, first.patients).items():
            row |= {f"{key}_low": ends.low, f"{key}_high": ends.high}
        rows[name] = row
        patients += [{"predictor": name} | line for line in first.by_patient()]
        confusions[name] = scoring.confusion(first.told, first.truth)
    table = pd.DataFrame.from_dict(rows, orient="index").sort_values("auc", ascending=False)
    config = seen[0].config
    facts = {
        "classes": ", ".join(classes),
        "split": f"by {config.data.split}, folds {', '.join(map(str, sorted({run.config.data.fold for run in seen})))}"
        f" of {config.data.folds}; seeds {', '.join(map(str, sorted({run.config.seed for run in seen})))}",
        "tiles": seen[0].spec.describe(),
        "trunk": f"{called(seen[0].facts.trunk)}, {config.image.train}",
        "threshold": "chosen on validation tissue, by F1"
        if any(one.threshold is not None for one in told)
        else "likeliest class",
        "intervals": f"95 %, bootstrap over patients, of the first seed; none of fewer than {scoring.LEAST} patients",
    }
    parts = {name: [(one.probability, one.truth) for one in told if one.predictor == name] for name in map(str, table.index)}
    if alone := scoring.by_folds({name: row["auc"] for name, row in rows.items()}, parts):
        facts["each fold"] = alone
    name = config.data.protocol or f"(unnamed: {config.data.source}, split by {config.data.split})"
    return LabelTable(
        name, worst_leak(seen), facts, classes, table, pd.DataFrame(patients), confusions, tuple(told), tuple(leaks)
    )


def label_text(table: LabelTable) -> str:
    """Return the table for a terminal."""
    shown = table.rows[list(COLUMNS)].map(lambda value: f"{value:.3f}")
    lines = [f"protocol {table.protocol}", f"leak: {table.leak.status} ({table.leak.detail})", *leakage.lines(table.leaks), ""]
    best = str(table.rows.index[0])
    auc, low, high = table.rows[["auc", "auc_low", "auc_high"]].iloc[0].to_numpy(float)
    over = "of too few patients for an interval" if np.isnan(low) else f"over patients {low:.3f} to {high:.3f}"
    first = "no AUC, as all test tiles are of one class" if np.isnan(auc) else f"{best}: AUC {auc:.3f}, {over}"
    found = [shown.to_string(), "", first]
    return "\n".join([*lines, *found, *(f"{key}: {value}" for key, value in table.facts.items())])


def label_words(table: LabelTable) -> str:
    """Return the balanced accuracy of each predictor in one line."""
    told = table.rows["balanced_accuracy"].sort_values(ascending=False)
    return "balanced accuracy " + ", ".join(f"{name} {value:.3f}" for name, value in told.items())


def label_markdown(table: LabelTable) -> str:
    """Return the table as Markdown, with the confusion of each predictor."""
    head = "| predictor | " + " | ".join(COLUMNS) + " |"
    lines = [f"# Protocol {table.protocol}", "", f"Leak: **{table.leak.status}** ({table.leak.detail}).", "", head]
    lines.append("| --- |" + " ---: |" * len(COLUMNS))
    for place, name in enumerate(map(str, table.rows.index)):
        lines.append("| " + " | ".join([name, *(interval_words(table.rows.iloc[place], key) for key in COLUMNS)]) + " |")
    lines += ["", *(f"- {key}: {value}" for key, value in table.facts.items()), ""]
    for name, counted in table.confusions.items():
        lines += [f"Confusion of {name} (rows true, columns told):", "", "| | " + " | ".join(table.classes) + " |"]
        lines.append("| --- |" + " ---: |" * len(table.classes))
        pairs = zip(table.classes, counted.tolist(), strict=True)
        lines += ["| " + " | ".join([label, *map(str, row)]) + " |" for label, row in pairs] + [""]
    return "\n".join(lines)


def interval_words(row: pd.Series, key: str) -> str:
    """Return a score of a row, with its interval where it has one."""
    low, high = row[f"{key}_low"], row[f"{key}_high"]
    if np.isnan(row[key]):
        return "no value"
    return f"{row[key]:.3f}" if np.isnan(low) else f"{row[key]:.3f} ({low:.3f} to {high:.3f})"


def save_labels(table: LabelTable, folder: Path, name: str = "evaluation") -> tuple[Path, ...]:
    """Write `evaluation.json`, `evaluation.md` and every tile's probabilities as `evaluation.csv`; return their paths."""
    plain = {
        KEY: MARK,
        "protocol": table.protocol,
        "leak": {"status": table.leak.status, "detail": table.leak.detail},
        "facts": table.facts,
        "classes": list(table.classes),
        "scores": dict(scoring.SCORES),
        "predictors": {str(name): _plain(row.to_dict()) for name, row in table.rows.iterrows()},
        "patients": [_plain(row) for row in table.patients.to_dict("records")],
        "confusions": {name: counted.tolist() for name, counted in table.confusions.items()},
        "thresholds": [[one.predictor, one.seed, one.fold, one.threshold] for one in table.told],
    }
    paths = tuple(folder / f"{name}.{ending}" for ending in ("json", "md", "csv"))
    write_json(paths[0], plain)
    write_text(paths[1], f"{label_markdown(table)}\n{COMMENT}\n")
    write_text(paths[2], marked_csv(_tiles(table).to_csv(index_label="tile")))
    return paths


def _tiles(table: LabelTable) -> pd.DataFrame:
    frames = []
    for one in table.told:
        said = pd.DataFrame(one.probability, index=one.spots.index, columns=[f"p_{label}" for label in table.classes])
        labels = np.array(table.classes)
        truth, told = labels[np.argmax(one.truth, axis=1)], labels[one.told]
        frames.append(one.spots.assign(predictor=one.predictor, seed=one.seed, truth=truth, told=told).join(said))
    return pd.concat(frames)


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    return {str(key): None if isinstance(value, float) and np.isnan(value) else value for key, value in row.items()}


def evaluate_spot_labels(what: Sequence[str | Path | Opened]) -> LabelTable | None:
    """Score the labels that neighbours give test spots, for runs of expression whose `data.label` names a column of labels.

    Beside them stand the run's own label head, under `loss.labels`, and the floors of labels, fitted on the training spots
    that have one. Test spots without a label are not scored; those of a class that no training spot has count as told wrong.
    None: no run has such labels and an index that knows them, or no test spot has one, or there is one class only.

    Raises:
        MismatchError: as `evaluate`.

    """
    seen: list[Run] = []
    told: list[LabelPrediction] = []
    floors: set[tuple[frozenset[str], ...]] = set()
    for experiment in opened(what):
        run, column, retrieval = experiment.run, experiment.run.config.data.label, RetrievalPredictor.name
        if not column or run.model.classifies or experiment.is_ensemble or retrieval not in experiment.predictors():
            continue
        reference, divided = experiment.reference, experiment.split
        check_unseen(experiment)
        if not carries_labels(reference):
            continue
        try:
            divided = _labelled(divided, column, sorted(set(reference.spots["label"]) - {""}))
        except DataError as error:
            log.warning("labels are not scored: %s", error)
            continue
        view = replace(run, panel=GenePanel.fit(divided.train, PanelConfig.model_validate(CLASSES)))
        if not any(view.panel.values(section).any() for section in divided.test):
            continue
        if seen and view.panel.genes != seen[0].panel.genes:
            log.warning("labels of %s are not scored: they are of other classes than the first run's", experiment.folder)
            continue
        seen.append(view)
        own: dict[str, Predictor] = {RETRIEVAL: NeighborVote(view, experiment.predictors()[retrieval], reference, RETRIEVAL)}
        if run.facts.classes:
            own[LabelHeadPredictor.name] = LabelHeadPredictor(run, view.panel.genes)
        tissue = _tissue(divided)
        if tissue not in floors:
            floors.add(tissue)
            own |= label_floors(view, view.tiles(divided.train))
        told += [told_by(name, predictor, view, divided) for name, predictor in own.items()]
    return joined(told, seen, ()) if seen else None


def _labelled(divided: Split, column: str, also: Sequence[str]) -> Split:
    """Return a split with labels in place of expression, all sections of the same classes, those of an index among them."""
    train, val = len(divided.train), len(divided.val)
    found = labelled((*divided.train, *divided.val, *divided.test), column, partly=True, also=also)
    return replace(divided, train=found[:train], val=found[train : train + val], test=found[train + val :])
