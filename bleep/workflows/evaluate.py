"""Predictors side by side on held-out tissue."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import final

import pandas as pd

from bleep.config import Config
from bleep.data.section import Section
from bleep.data.splits import Split
from bleep.data.tiles import Tiles
from bleep.errors import ConfigError, MismatchError
from bleep.evaluation import report
from bleep.evaluation.protocols import named
from bleep.models.backbones import GIVEN, textures
from bleep.models.own import called
from bleep.predictors import Ensemble, Predictor, Remembered
from bleep.predictors.calibration import CombinedPredictor
from bleep.predictors.conformal import measured_by_grade
from bleep.predictors.foreign import check_kind, fit_other
from bleep.records import LeakReport, Scorecard, Table
from bleep.runs import Run
from bleep.training.own_losses import same_losses
from bleep.workflows.audit import audit
from bleep.workflows.opened import Opened, opened
from bleep.workflows.place import differences, losses_spoken, parts_rule, same_frozen
from bleep.workflows.scoring import Scorer
from bleep.workflows.unseen import check_asked, check_unseen, leak_of, worst_leak

APART = "evaluate them apart"


def compare(predictors: Mapping[str, Predictor], tiles: Tiles, run: Run) -> Table:
    """Score predictors side by side on measured tiles, and return the table.

    Its leak is what the tissue of the tiles shares with what any of the predictors was fitted on: a predictor of bleep knows
    that, another says it by `fitted_on`, the `SectionFacts` of its sections.

    Args:
        predictors: each has `predict(tiles) -> Prediction`, of the run's panel; names are those of the table's rows.
        tiles: tiles of measured sections, cut as the run cuts them.
        run: whose panel, values and settings count.

    Raises:
        ConfigError: there are no predictors or no tiles, or something else was given in their place.
        MismatchError: a predictor was fitted on the tissue of the tiles, or predicts other tiles, genes or another scale.

    """
    check_asked(predictors, tiles, run)
    leak = leak_of(predictors, tiles, run)
    return report.compare(Scorer().score(predictors, tiles, run, ()), _protocol(run), leak, _words([run]))


def evaluate(
    what: Sequence[str | Path | Opened],
    *,
    protocol: str | None = None,
    all_scores: bool = False,
    genes_file: Path | None = None,
    predictors: Sequence[str] = (),
    metrics: Sequence[str] = (),
    all_floors: bool = False,
) -> Table:
    """Score runs on the tissue they held out, beside the baselines fitted on the same training tissue.

    Runs of one protocol join into one table: folds add test sections, seeds are averaged, and contrastive and regression
    runs stand side by side. Baselines are fitted once for each training and test set, on the features of the first run that
    has them.

    Args:
        what: folders of runs or ensembles, or experiments already opened, which keep what they predicted.
        protocol: name of a protocol, which says what is scored against what (see `bleep.evaluation.protocols`).
        all_scores: compute every score there is.
        genes_file: a list of genes, one a line, to score by itself too.
        predictors: those of other packages, by name, that are fitted on the training tiles as the baselines are.
        metrics: those of other packages, by name, that are computed for every predictor.
        all_floors: fit ridge on numbers of the stains, on their texture and on a trunk of random weights too.

    Raises:
        MismatchError: runs are of different protocols, panels' rules or tiles, or not of the protocol asked for; or test
            tissue was trained on.
        ConfigError: there is no such protocol; or a run learnt labels in the place of expression.

    """
    scorer = Scorer(named(protocol) if protocol else None, all_scores, genes_file, tuple(metrics))
    for name in predictors:
        check_kind(name)
    found = _Evaluation(scorer, predictors, all_floors=all_floors)
    for experiment in opened(what):
        found.add(experiment)
    return found.table()


@final
class _Evaluation:
    """What has been scored so far, and of which runs."""

    def __init__(self, scorer: Scorer, others: Sequence[str] = (), *, all_floors: bool = False) -> None:
        self.scorer, self.others, self.all_floors = scorer, others, all_floors
        self.cards: list[Scorecard] = []
        self.runs: list[Run] = []
        self.members: list[Run] = []
        """The same, each run of an ensemble by itself."""
        self.lines: list[Run] = []
        self.leaks: list[LeakReport] = []
        self.splits: list[Split] = []
        self.grades: list[pd.Series] = []
        """What genes of each grade of confidence scored, a series a test section: see `bleep.predictors.conformal`."""
        self._with_baselines: set[tuple[frozenset[str], frozenset[str]]] = set()
        self._by_ensembles: set[str] = set()
        self._averaged: dict[tuple[object, ...], tuple[Run, Path]] = {}
        """Runs and their folders by task, seed, training and test tissue."""

    def add(self, experiment: Opened) -> None:
        """Score one run or ensemble."""
        run, folder, divided = experiment.run, experiment.folder, experiment.split
        if experiment.is_ensemble and run.model.classifies:
            names = " ".join(str(member.folder) for member in experiment.members)
            raise MismatchError(f"{folder}: joins runs that learnt labels, which are scored by themselves: --run {names}")
        if run.model.classifies:
            raise ConfigError(
                f"{folder}: tells classes, whose scores are not those of expression; `bleep evaluate --run {folder}` has them, "
                "and in Python bleep.workflows.labels.evaluate_labels"
            )
        _check_comparable(run, self.runs, [] if experiment.is_ensemble else self.lines, folder)
        if not experiment.is_ensemble:
            self._check_another(run, folder, divided)
        check_unseen(experiment)
        self.scorer.check(run, divided, folder)
        self.leaks += [audit(each.run, divided, experiment.reference_of(each), each.folder) for each in experiment.members]
        tested = _digests(divided.test)
        if experiment.is_ensemble:
            if self._by_ensembles & tested:
                raise MismatchError(f"{folder}: another ensemble has scored the same test section; {APART}")
            self._by_ensembles |= tested
        else:
            self.lines.append(run)
        self.runs.append(run)
        self.members += [member.run for member in experiment.members]
        self.splits.append(divided)
        predictors = dict(experiment.predictors())
        tissue = _digests(divided.train), tested
        if tissue not in self._with_baselines:
            self._with_baselines.add(tissue)
            predictors |= experiment.baselines(all_floors=self.all_floors)
            train = experiment.tiles(divided.train)
            predictors |= {name: Remembered(fit_other(name, run, train)) for name in self.others}
        scored = self.scorer.predictors(run, predictors, experiment.tiles(divided.train))
        cards = self.scorer.score(scored, experiment.tiles(divided.test), run, divided.train)
        self.cards += cards
        confidence = None if experiment.calibration is None else experiment.calibration.confidence
        if confidence is not None:
            graded = confidence.frame(run.panel.genes)["confidence"]
            own = [card.genes["pearson"] for card in cards if card.predictor == CombinedPredictor.name]
            self.grades += [measured_by_grade(graded, scores) for scores in own if len(scores) == len(graded)]

    def _check_another(self, run: Run, folder: Path, divided: Split) -> None:
        """Refuse a run that would be averaged with another though it is of no other seed and no other fold."""
        key = (run.config.loss.task, run.config.seed, _digests(divided.train), _digests(divided.test))
        before, first = self._averaged.setdefault(key, (run, folder))
        if before is run:
            return
        if before.weights_digest() == run.weights_digest():
            raise ConfigError(f"{folder}: is the same run as {first}; name each run once")
        raise MismatchError(
            f"{folder}: has the seed and the tissue of {first}, but other weights, so it is no other seed or fold of the same "
            "model and their scores have no mean; evaluate them apart, or train one with another seed"
        )

    def table(self) -> Table:
        """Return the comparison."""
        leak, facts = worst_leak(self.runs), _words(self.members)
        once = (*report.FLOORS, Ensemble.name, *self.others)
        table = report.compare(self.cards, _protocol(self.runs[0]), leak, facts, self.leaks, once=once)
        if self.grades:
            means = pd.concat(self.grades, axis=1).mean(axis=1).dropna()
            words = ", ".join(f"{grade} {mean:.3f}" for grade, mean in means.items()) or report.NONE
            table = replace(table, facts=table.facts | {"PCC of combined by grade of confidence": words})
        return self.scorer.annotate(table, self.runs, self.splits)


def _digests(sections: Sequence[Section]) -> frozenset[str]:
    return frozenset(section.digest() for section in sections)


def _check_comparable(run: Run, seen: Sequence[Run], lines: Sequence[Run], folder: Path) -> None:
    """Refuse a run of another protocol; or one that gives the same `lines` of the table as an earlier one of other settings."""
    if not seen:
        return
    # Bins of 8 and of 16 microns, or all spots and some, are not the same test tissue, though sections are called alike.
    rule = ("protocol", "split", "source", "folds", "bin", "layer", "raw", "min_counts", "drop")
    for key in (*rule, *(("blocks", "margin") if run.config.data.split == "block" else ())):
        here, first = getattr(run.config.data, key), getattr(seen[0].config.data, key)
        if here != first:
            raise MismatchError(f"{folder}: has data.{key} = {here}, but the first run has {first}; {APART}")
    task = run.config.loss.task
    # A run for both tasks gives the lines of either, so it would be averaged with runs of one.
    same_lines = [before for before in lines if task == before.config.loss.task or "both" in (task, before.config.loss.task)]
    for key, first, here in differences(_model_rule(same_lines[0]), _model_rule(run)) if same_lines else []:
        kind = same_lines[0].config.loss.task
        if key in ("panel.scale", "panel.clip"):
            raise MismatchError(
                f"{folder}: has {key} = {here}, but the first {kind} run has {first}: their losses are on different scales and "
                "say nothing of each other; evaluate them apart, and compare the scores, which are on the normalised scale"
            )
        raise MismatchError(f"{folder}: has {key} = {here}, but the first {kind} run has {first}; {APART}")
    if same_lines and not same_frozen(same_lines[0], run):
        name = run.facts.trunk.removeprefix(GIVEN)
        raise MismatchError(f"{folder}: has a frozen trunk {name} of other weights or code than the first run; {APART}")
    alike = same_lines and len(same_lines[0].panel.genes) == len(run.panel.genes)
    if alike and not same_losses(same_lines[0].facts.losses, run.facts.losses):
        raise MismatchError(f"{folder}: has {losses_spoken(run.facts)} of other code than the first run; {APART}")
    here_panel, first_panel = _panel_rule(run.config), _panel_rule(seen[0].config)
    for key, first, here in differences(first_panel, here_panel):
        raise MismatchError(f"{folder}: has panel.{key} = {here}, but the first run has {first}; {APART}")


def _model_rule(run: Run) -> dict[str, object]:
    """Return what makes two runs the same model, but for fold and seed."""
    tree = run.config.dump()
    scaling = {"panel": {key: tree["panel"][key] for key in ("scale", "clip")}}
    kept = {key: tree[key] for key in ("tiles", "image", "expression", "head", "loss", "optim", "query")}
    return kept | scaling | parts_rule(run.facts)


def _panel_rule(config: Config) -> dict[str, object]:
    """Return the panel's rule without what does not change the scores' meaning: scaling and clipping of the input."""
    return {key: value for key, value in config.panel.model_dump(mode="json").items() if key not in ("scale", "clip")}


def _protocol(run: Run) -> str:
    data = run.config.data
    return data.protocol or f"(unnamed: {data.source}, split by {data.split})"


def _words(seen: Sequence[Run]) -> dict[str, str]:
    first = seen[0]
    panel = first.config.panel
    pick = f"{panel.choice}, {_counts(len(run.panel.genes) for run in seen)} genes" + (
        f" of the {panel.candidates} highest means" if panel.candidates else ""
    )
    trunks = {_trunk_words(run) for run in seen}
    floors = "ridge's penalty is chosen on held-out training groups"
    if len(trunks) > 1:
        floors += f"; fitted on the features of the first run ({_trunk_words(first)})"
    return {
        "split": f"by {first.config.data.split}, trained on {_counts(len(run.facts.train) for run in seen)} sections",
        "genes": f"{pick}, {'as listed by others' if panel.choice == 'list' else 'chosen on training spots'}",
        "values": first.panel.describe() + ", no smoothing",
        "tiles": "; ".join(sorted({run.spec.describe() for run in seen})),
        "trunk": "; ".join(sorted(trunks)),
        "floors": floors,
    }


def _counts(numbers: Iterable[int]) -> str:
    """Return one number, or the least and the largest of those that differ."""
    least, *_, most = sorted([*numbers] * 2)
    return f"{least}" if least == most else f"{least} to {most}"


def _trunk_words(run: Run) -> str:
    image = run.config.image
    weights = image.weights if image.weights in ("hub", "random") else Path(image.weights).name
    weights = "no weights" if run.facts.trunk in textures.NAMES else weights
    layer = "last layer" if image.layer is None else f"layer {image.layer}"
    per = ", features standardised per section" if image.standardize == "section" else ""
    if image.stain != "none":
        what = "stretched between its own percentiles" if image.stain == "stretch" else "brought to the training tiles'"
        per += f", stains of each section {what} ({image.stain})"
    views = run.config.query.views
    over = f", mean over {views} views of a tile" if views > 1 else ""
    if run.facts.trunk.startswith(GIVEN):
        return f"{called(run.facts.trunk)}, {image.train}{per}{over}"
    return f"{run.facts.trunk} ({weights}), {layer}, {image.train}{per}{over}"
