"""The stages joined: fit, build a reference, query, evaluate, compare. Commands call these and print."""

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from torch import nn
from torch.utils.data import Dataset

from bleep import runs
from bleep.encoders.dual import DualEncoder
from bleep.errors import DataError, MismatchError
from bleep.evaluation import report
from bleep.evaluation.correlation import pearson
from bleep.evaluation.gene_sets import gene_sets
from bleep.evaluation.scorecard import score
from bleep.features import FeatureReader
from bleep.files import read_json
from bleep.prediction import reference as references
from bleep.prediction.baselines import ImageKnnPredictor, MeanPredictor, RidgePredictor
from bleep.prediction.predictor import Predictor
from bleep.prediction.reference import Reference
from bleep.prediction.regression import RegressionPredictor
from bleep.prediction.retrieval import RetrievalPredictor, averaged
from bleep.prediction.search import FlatIndex
from bleep.prediction.weights import WEIGHTS
from bleep.records import Batch, Prediction, Scorecard, Table
from bleep.runs import Run
from bleep.settings import Config, DataConfig, WeightsName
from bleep.tissue.datasets import FeatureDataset, TileDataset
from bleep.tissue.panel import GenePanel
from bleep.tissue.slides import MosaicSlide
from bleep.tissue.sources import has_form, read_sections
from bleep.tissue.splits import Split, split
from bleep.tissue.tiles import Tiles
from bleep.training.journal import Journal
from bleep.training.loop import train
from bleep.training.tasks import ContrastiveTask, RegressionTask, task_of

log = logging.getLogger(__name__)


def load_split(config: Config) -> Split:
    """Read the sections of a configuration and divide them.

    Raises:
        DataError, ConfigError: see `read_sections` and `split`.

    """
    return split(read_sections(config.data), config.data, config.seed)


def fit(config: Config, *, resume: bool = False, overwrite: bool = False) -> Run:
    """Train as the configuration says, write the run to `config.out`, and return it.

    Raises:
        DataError: `config.out` already holds a run, and neither `resume` nor `overwrite` was given.
        MismatchError: `resume` was given with other settings, or other data, than training began with.

    """
    accelerator = Accelerator()
    if accelerator.is_main_process:
        _check_place(config, resume=resume, overwrite=overwrite)
    accelerator.wait_for_everyone()
    divided = load_split(config)
    panel = GenePanel.fit(divided.train, config.panel)
    run = Run.new(config, panel, divided)
    if resume and (config.out / runs.MODEL).exists():
        return Run.load(config.out)
    if accelerator.is_main_process:
        if resume:
            _check_same_data(config.out, run)
        run.save_plan(config.out)
    run.model.to(accelerator.device)
    tiles, values = Tiles(divided.train, run.spec), np.concatenate([panel.apply(section) for section in divided.train])
    reader = FeatureReader.of(run.model.trunk, config)
    with accelerator.main_process_first():
        dataset = _dataset(run, reader, tiles, values)
    task = task_of(run.model, config.loss)
    validate = _validation(run, divided, values) if divided.val and accelerator.is_main_process else None
    journal = Journal(config.out / runs.LOG, config.out / runs.STATE)
    told = validate or (_never if divided.val else None)
    epoch = train(task, dataset, config.optim, config.seed, journal, told, accelerator)
    run = run.finished(epoch)
    run.model.eval()
    if accelerator.is_main_process:
        run.save(config.out)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return run


def build_reference(run: Run) -> Reference:
    """Embed and index the spots the run was trained on, validation spots not among them.

    Raises:
        MismatchError: the files have changed since training.

    """
    return references.build(run, load_split(run.config).train)


def open_tiles(path: str | Path, run: Run, mpp: float | None = None) -> Tiles:
    """Open what a run shall predict: a folder of tiles, a CSV of tiles, or sections in the run's own form.

    Raises:
        DataError: nothing of these is there.
        MismatchError: the tiles do not say their scale, and differ from those the run was trained on.

    """
    path, data = Path(path), run.config.data
    own = has_form(path, data.source)
    source = data.source if own else "folder"
    asked = DataConfig(root=path, source=source, mpp=mpp or data.mpp, species=data.species, patients=data.patients)
    sections = read_sections(asked)
    if not own and mpp is None:
        for section in sections:
            _check_scale(path, section.slide, run)
    return Tiles(sections, run.spec)


def query(
    run: Run, folder: Path, tiles: Tiles, k: int | None = None, weights: WeightsName | None = None
) -> tuple[Prediction, Reference | None]:
    """Predict tiles with a run and, where it is contrastive, its reference in `folder`, which is returned too.

    Raises:
        DataError: there is no index yet.
        MismatchError: the index belongs to another run.

    """
    if not isinstance(run.model, DualEncoder):
        return RegressionPredictor(run).predict(tiles), None
    reference = Reference.load(folder / runs.REFERENCE)
    return RetrievalPredictor(run, reference, k, weights).predict(tiles), reference


def predictors_of(run: Run, reference: Reference | None) -> dict[str, Predictor]:
    """Return the run's own predictor, by name: retrieval from its reference, or its regression head."""
    if isinstance(run.model, DualEncoder):
        if reference is None:
            raise DataError("a contrastive run predicts from an index: make it with `bleep index build`")
        return {RetrievalPredictor.name: RetrievalPredictor(run, reference)}
    return {RegressionPredictor.name: RegressionPredictor(run)}


def baselines_of(run: Run, train_tiles: Tiles) -> dict[str, Predictor]:
    """Fit the floors on the run's training tiles: ridge on its features and on colour, image-kNN and the mean."""
    ridge, colour = RidgePredictor.fit(run, train_tiles), RidgePredictor.fit_colour(run, train_tiles)
    floors: tuple[Predictor, ...] = (ridge, colour, ImageKnnPredictor.fit(run, train_tiles), MeanPredictor(run))
    return {floor.name: floor for floor in floors}


def score_all(predictors: Mapping[str, Predictor], tiles: Tiles, run: Run) -> list[Scorecard]:
    """Score each predictor on each measured section, on the panel's normalised scale."""
    sets = gene_sets(run.panel)
    cards = []
    for section in tiles.sections:
        measured = run.panel.values(section)
        alone = Tiles((section,), tiles.spec)
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
    floors: set[tuple[str, str]] = set()
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
        key = (run.panel.digest(), run.facts.trunk)
        if key not in floors:
            floors.add(key)
            predictors |= baselines_of(run, Tiles(divided.train, run.spec))
        cards += score_all(predictors, Tiles(divided.test, run.spec), run)
    worst = max((run.facts.leak for run in seen), key=lambda leak: _ORDER.index(leak.status))
    return report.compare(cards, _protocol(seen[0]), worst, _words(seen))


def is_main_process() -> bool:
    """Return whether this process is the one that writes and prints."""
    return PartialState().is_main_process


def best_device() -> torch.device:
    """Return the accelerator torch finds, else the CPU."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return found if found is not None else torch.device("cpu")


_ORDER = ("none", "same patient", "neighbouring tissue", "random spots")


def _dataset(run: Run, reader: FeatureReader, tiles: Tiles, values: np.ndarray) -> Dataset[Batch]:
    """Return cached features under a frozen trunk, tiles otherwise; and fit the standardising layer."""
    config = run.config
    needed = not run.model.trunk.learns or config.image.standardize == "train"
    features = torch.from_numpy(reader.read(tiles)) if needed else torch.empty(0)
    if config.image.standardize == "train":
        run.model.standardize.fit(features.to(run.device))
    if run.model.trunk.learns:
        return TileDataset(tiles, values, config.seed, augment=config.optim.augment)
    return FeatureDataset(features, values)


def _validation(run: Run, divided: Split, values: np.ndarray) -> Callable[[nn.Module], dict[str, float]]:
    """Return what scores the model on validation tissue: the mean per-gene correlation of its own kind of prediction."""
    train_values = run.panel.unscaled(values)
    measured = [run.panel.values(section) for section in divided.val]
    reader, query = FeatureReader.of(run.model.trunk, run.config), run.config.query
    alone = [Tiles((section,), run.spec) for section in divided.val]
    frozen = None if run.model.trunk.learns else [reader.read(tiles) for tiles in alone]

    def scored(task: nn.Module) -> dict[str, float]:
        assert isinstance(task, ContrastiveTask | RegressionTask)
        model, device = task.model, next(task.parameters()).device
        found = frozen if frozen is not None else [reader.read(tiles) for tiles in alone]
        r = []
        index = None
        if isinstance(model, DualEncoder):
            embedded = model.embed_expression(torch.from_numpy(values).to(device)).float().cpu().numpy()
            index = FlatIndex.build(embedded)
        for features, truth in zip(found, measured, strict=True):
            inputs = torch.from_numpy(features).to(device)
            if isinstance(model, DualEncoder):
                assert index is not None
                neighbors = index.search(model.embed_features(inputs).float().cpu().numpy(), query.k)
                weights = WEIGHTS[query.weights](neighbors.similarity, query.temperature)
                predicted, _ = averaged(train_values, neighbors, weights)
            else:
                predicted = run.panel.unscaled(model.predict_features(inputs).float().cpu().numpy())
            r.append(float(np.nanmean(pearson(predicted, truth))))
        return {"score": float(np.mean(r))}

    return scored


def _never(task: nn.Module) -> dict[str, float]:
    raise AssertionError("only the main process validates")


def _check_place(config: Config, *, resume: bool, overwrite: bool) -> None:
    out = config.out
    if not out.exists() or not any(out.iterdir()):
        return
    if resume:
        kept = Config.load(out / runs.CONFIG)
        for key, old, new in _differences(kept.dump(), config.dump()):
            raise MismatchError(
                f"{out}: training there began with {key} = {old}, now it is {new}; resume with the same settings"
            )
    elif overwrite:
        if not (out / runs.CONFIG).exists():
            raise DataError(f"{out}: holds files but no run; --overwrite only replaces runs: choose another --out")
        shutil.rmtree(out)
    else:
        raise DataError(
            f"{out}: already holds files; add --resume to go on, --overwrite to start anew, or choose another --out"
        )


def _differences(old: object, new: object, at: str = "") -> list[tuple[str, object, object]]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [found for key in new for found in _differences(old.get(key), new[key], f"{at}.{key}".lstrip("."))]
    return [] if old == new else [(at, old, new)]


def _check_same_data(out: Path, run: Run) -> None:
    if not (out / runs.FACTS).exists():
        return
    began = runs.Facts.from_dict(read_json(out / runs.FACTS, "the run's facts"))
    if began.train != run.facts.train:
        raise MismatchError(f"{out}: training there began on other files than data.root holds now; start anew with --overwrite")


def _check_scale(path: Path, slide: object, run: Run) -> None:
    assert isinstance(slide, MosaicSlide)
    sides = {facts.tile_side for facts in run.facts.train}
    if sides != {slide.side}:
        before = "slides" if sides == {0} else f"tiles of {sides.pop()} pixels"
        side = run.spec.microns[0] / slide.side
        raise MismatchError(
            f"{path}: its {slide.side}-pixel tiles do not say their scale, and the run was trained on {before}; "
            f"give --mpp, the microns per pixel ({side:.3g} if a tile shows {run.spec.microns[0]:g} microns)"
        )


def _check_comparable(run: Run, seen: Sequence[Run], folder: Path) -> None:
    if not seen:
        return
    rule = ("protocol", "split", "source", "folds")
    for key in rule:
        here, first = getattr(run.config.data, key), getattr(seen[0].config.data, key)
        if here != first:
            raise MismatchError(f"{folder}: has data.{key} = {here}, but the first run has {first}; evaluate them apart")
    here_panel, first_panel = _panel_rule(run.config), _panel_rule(seen[0].config)
    for key, first, here in _differences(first_panel, here_panel):
        raise MismatchError(f"{folder}: has panel.{key} = {here}, but the first run has {first}; evaluate them apart")


def _panel_rule(config: Config) -> dict[str, object]:
    """Return the panel's rule without what does not change the scores' meaning: scaling and clipping of the input."""
    return {key: value for key, value in config.panel.model_dump(mode="json").items() if key not in ("scale", "clip")}


def _check_held_out(run: Run, divided: Split, folder: Path) -> None:
    trained = {facts.digest: facts.name for facts in (*run.facts.train, *run.facts.val)}
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
    return f"{run.facts.trunk} ({weights}), {layer}, {image.train}{per}"
