"""From a trained run to predictions."""

import logging
from pathlib import Path

import torch

from bleep import runs
from bleep.encoders.dual import DualEncoder
from bleep.errors import DataError, MismatchError
from bleep.pipeline.fitting import load_split
from bleep.pipeline.whole_slides import described
from bleep.prediction import reference as references
from bleep.prediction.baselines import ImageKnnPredictor, MeanPredictor, RidgePredictor
from bleep.prediction.ensemble import MeanOfPredictors
from bleep.prediction.predictor import Predictor
from bleep.prediction.reference import Reference
from bleep.prediction.regression import RegressionPredictor
from bleep.prediction.retrieval import RetrievalPredictor
from bleep.records import Prediction
from bleep.runs import Run, regresses
from bleep.settings import WeightsName
from bleep.tissue.slides import MosaicSlide
from bleep.tissue.sources import has_form, read_sections
from bleep.tissue.sources.wsi import has_slides
from bleep.tissue.tiles import Tiles

log = logging.getLogger(__name__)


def build_reference(run: Run) -> Reference:
    """Embed and index the spots the run was trained on, validation spots not among them.

    Raises:
        MismatchError: the files have changed since training.

    """
    return references.build(run, load_split(run.config).train)


def open_tiles(path: str | Path, run: Run, mpp: float | None = None, pixel_limit: int | None = None) -> Tiles:
    """Open what a run shall predict: a folder of tiles, a CSV of tiles, or sections in the run's own form.

    Raises:
        DataError: nothing of these is there, or it is a whole slide.
        MismatchError: the tiles do not say their scale, and differ from those the run was trained on.

    """
    path, data = Path(path), run.config.data
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; expected tiles, a CSV of tiles or a section to predict")
    own = has_form(path, data.source)
    if not own and has_slides(path):
        raise DataError(f"{path}: is or holds whole slides, no tiles of one size; give it with --slides instead of --images")
    changes = {
        "source": data.source if own else "folder",
        "root": path,
        "sections": (),
        "mpp": mpp or data.mpp,
        "pixel_limit": pixel_limit or data.pixel_limit,
    }
    sections = read_sections(data.model_copy(update=changes), run.config.cache)
    if not own and mpp is None:
        for section in sections:
            _check_scale(path, section.slide, run)
    return run.tiles(sections)


def open_predictor(
    run: Run, folder: Path, k: int | None = None, weights: WeightsName | None = None
) -> tuple[Predictor, Reference | None]:
    """Return the run's own predictor and, where it is contrastive, the reference in `folder` that it retrieves from.

    A run trained for both tasks retrieves.

    Raises:
        DataError: there is no index yet.
        MismatchError: the index belongs to another run.

    """
    if not isinstance(run.model, DualEncoder):
        return RegressionPredictor(run), None
    reference = Reference.load(folder / runs.REFERENCE)
    return RetrievalPredictor(run, reference, k, weights), reference


def predict(run: Run, predictor: Predictor, tiles: Tiles) -> Prediction:
    """Predict tiles, and say aloud which sections the run was trained on."""
    trained = {facts.digest for facts in (*run.facts.train, *run.facts.val)}
    for section in tiles.sections:
        if section.digest() in trained:
            log.warning(
                "section %s was trained on: its prediction looks back at itself and says nothing of skill", section.name
            )
    return described(predictor.predict(tiles), tiles)


def query(
    run: Run, folder: Path, tiles: Tiles, k: int | None = None, weights: WeightsName | None = None
) -> tuple[Prediction, Reference | None]:
    """Predict tiles with a run and, where it is contrastive, its reference in `folder`, which is returned too.

    Raises:
        DataError: there is no index yet.
        MismatchError: the index belongs to another run.

    """
    predictor, reference = open_predictor(run, folder, k, weights)
    return predict(run, predictor, tiles), reference


def predictors_of(run: Run, reference: Reference | None) -> dict[str, Predictor]:
    """Return the run's own predictors, by name: retrieval from its reference, its regression head, or both and their mean."""
    found: dict[str, Predictor] = {}
    if isinstance(run.model, DualEncoder):
        if reference is None:
            raise DataError("a contrastive run predicts from an index: make it with `bleep index build`")
        found[RetrievalPredictor.name] = RetrievalPredictor(run, reference)
    if regresses(run.model):
        found[RegressionPredictor.name] = RegressionPredictor(run)
    if len(found) > 1:
        combined = MeanOfPredictors(tuple(found.values()))
        found[combined.name] = combined
    return found


def baselines_of(run: Run, train_tiles: Tiles) -> dict[str, Predictor]:
    """Fit the floors on the run's training tiles: ridge on its features and on colour, image-kNN and the mean."""
    ridge, colour = RidgePredictor.fit(run, train_tiles), RidgePredictor.fit_colour(run, train_tiles)
    floors: tuple[Predictor, ...] = (ridge, colour, ImageKnnPredictor.fit(run, train_tiles), MeanPredictor(run))
    return {floor.name: floor for floor in floors}


def best_device() -> torch.device:
    """Return the accelerator torch finds, else the CPU."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return found if found is not None else torch.device("cpu")


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
