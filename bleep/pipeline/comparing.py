"""Predictors side by side on held-out tissue."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bleep import runs
from bleep.encoders.dual import DualEncoder
from bleep.errors import DataError, MismatchError
from bleep.evaluation import report
from bleep.evaluation.gene_sets import gene_sets
from bleep.evaluation.scorecard import score
from bleep.pipeline.fitting import differences, load_split
from bleep.pipeline.predicting import baselines_of, best_device, predictors_of
from bleep.prediction.predictor import Predictor
from bleep.prediction.reference import Reference
from bleep.records import Scorecard, Table
from bleep.runs import Run
from bleep.settings import Config
from bleep.tissue.splits import Split
from bleep.tissue.tiles import Tiles


def score_all(predictors: Mapping[str, Predictor], tiles: Tiles, run: Run) -> list[Scorecard]:
    """Score each predictor on each measured section, on the panel's normalised scale."""
    sets = gene_sets(run.panel)
    cards = []
    for alone in tiles.alone():
        measured = run.panel.values(alone.sections[0])
        for name, predictor in predictors.items():
            cards.append(score(predictor.predict(alone), measured, sets, run.config.seed, name))
    return cards


def compare(predictors: Mapping[str, Predictor], tiles: Tiles, run: Run) -> Table:
    """Score predictors side by side on measured tiles, and return the table."""
    return report.compare(score_all(predictors, tiles, run), _protocol(run), run.facts.leak, _words([run]))


def evaluate(folders: Sequence[str | Path]) -> Table:
    """Score runs on the tissue they held out, beside the floors fitted on the same training tissue.

    Runs of one protocol join into one table: folds add test sections, seeds are averaged, and contrastive and regression
    runs stand side by side. Floors are fitted once for each training set and trunk.

    Raises:
        MismatchError: runs are of different protocols, panels' rules or tiles; or test tissue was trained on.

    """
    cards: list[Scorecard] = []
    seen: list[Run] = []
    floors: set[tuple[str, str, int]] = set()
    for folder in map(Path, folders):
        run = Run.load(folder)
        run.model.to(best_device())
        _check_comparable(run, seen, folder)
        seen.append(run)
        divided = load_split(run.config)
        _check_held_out(run, divided, folder)
        kept = folder / runs.REFERENCE
        reference = Reference.load(kept) if isinstance(run.model, DualEncoder) else None
        predictors = predictors_of(run, reference)
        key = (run.panel.digest(), run.facts.trunk, run.config.query.views)
        if key not in floors:
            floors.add(key)
            predictors |= baselines_of(run, run.tiles(divided.train))
        cards += score_all(predictors, run.tiles(divided.test), run)
    worst = max((run.facts.leak for run in seen), key=lambda leak: _ORDER.index(leak.status))
    return report.compare(cards, _protocol(seen[0]), worst, _words(seen))


_ORDER = ("nothing held out", "none", "unknown", "same patient", "neighbouring tissue", "random spots")


def _check_comparable(run: Run, seen: Sequence[Run], folder: Path) -> None:
    if not seen:
        return
    rule = ("protocol", "split", "source", "folds")
    for key in rule:
        here, first = getattr(run.config.data, key), getattr(seen[0].config.data, key)
        if here != first:
            raise MismatchError(f"{folder}: has data.{key} = {here}, but the first run has {first}; evaluate them apart")
    task = run.config.loss.task
    # A run for both tasks gives the lines of either, so it would be averaged with runs of one.
    same_lines = [before for before in seen if task == before.config.loss.task or "both" in (task, before.config.loss.task)]
    for key, first, here in differences(_model_rule(same_lines[0]), _model_rule(run)) if same_lines else []:
        kind = same_lines[0].config.loss.task
        raise MismatchError(f"{folder}: has {key} = {here}, but the first {kind} run has {first}; evaluate them apart")
    here_panel, first_panel = _panel_rule(run.config), _panel_rule(seen[0].config)
    for key, first, here in differences(first_panel, here_panel):
        raise MismatchError(f"{folder}: has panel.{key} = {here}, but the first run has {first}; evaluate them apart")


def _model_rule(run: Run) -> dict[str, object]:
    """Return what makes two runs the same model, but for fold and seed."""
    tree = run.config.dump()
    return {key: tree[key] for key in ("tiles", "image", "expression", "head", "loss", "optim", "query")}


def _panel_rule(config: Config) -> dict[str, object]:
    """Return the panel's rule without what does not change the scores' meaning: scaling and clipping of the input."""
    return {key: value for key, value in config.panel.model_dump(mode="json").items() if key not in ("scale", "clip")}


def _check_held_out(run: Run, divided: Split, folder: Path) -> None:
    trained = {facts.digest: facts.name for facts in (*run.facts.train, *run.facts.val)}
    if not divided.test:
        raise DataError(f"{folder}: nothing was held out (data.split is none), so there is nothing to score; split to evaluate")
    for section in divided.test:
        if section.digest() in trained:
            raise MismatchError(
                f"{folder}: test section {section.name} is tissue the run was trained on; choose another to test"
            )
    if {facts.digest for facts in run.facts.train} != {section.digest() for section in divided.train}:
        raise MismatchError(f"{folder}: the files in {run.config.data.root} are not those the run was trained on; restore them")


def _protocol(run: Run) -> str:
    data = run.config.data
    return data.protocol or f"(unnamed: {data.source}, split by {data.split})"


def _words(seen: Sequence[Run]) -> dict[str, str]:
    first = seen[0]
    panel = first.config.panel
    pick = f"{panel.choice}, {len(first.panel.genes)} genes" + (
        f" of the {panel.candidates} highest means" if panel.candidates else ""
    )
    trunks = {_trunk_words(run) for run in seen}
    return {
        "split": f"by {first.config.data.split}, trained on {len(first.facts.train)} sections",
        "genes": f"{pick}, chosen on training spots",
        "values": first.panel.words() + ", no smoothing",
        "tiles": first.spec.words(),
        "trunk": "; ".join(sorted(trunks)),
        "floors": "ridge's penalty is chosen on held-out training groups",
    }


def _trunk_words(run: Run) -> str:
    image = run.config.image
    weights = image.weights if image.weights in ("hub", "random") else Path(image.weights).name
    layer = "last layer" if image.layer is None else f"layer {image.layer}"
    per = ", features standardised per section" if image.standardize == "section" else ""
    views = run.config.query.views
    over = f", mean over {views} views of a tile" if views > 1 else ""
    return f"{run.facts.trunk} ({weights}), {layer}, {image.train}{per}{over}"
