"""From a trained run to predictions."""

import logging
import os
from pathlib import Path

import torch

from bleep import runs
from bleep.config import WeightsName
from bleep.data.readers import has_form, read_sections
from bleep.data.readers.wsi import has_slides
from bleep.data.slides import MosaicSlide
from bleep.data.tiles import Tiles
from bleep.errors import ConfigError, DataError, MismatchError
from bleep.models.models import DualEncoder
from bleep.predictors.base import Predictor
from bleep.predictors.baselines import ImageKnnPredictor, MeanPredictor, RegressionPredictor, RidgePredictor
from bleep.predictors.calibration import Calibration, calibration_of
from bleep.predictors.combined import CombinedPredictor
from bleep.predictors.ensemble import MeanOfPredictors
from bleep.predictors.retrieval import RetrievalPredictor
from bleep.records import Prediction
from bleep.retrieval import embed
from bleep.retrieval import reference as references
from bleep.retrieval.reference import Reference
from bleep.retrieval.reference.build import queried
from bleep.runs import Run, regresses
from bleep.workflows.fit import launched, trained_tissue
from bleep.workflows.slides import described

BOTH = "mean of both"
"""How tables call the plain mean of retrieval and regression."""

log = logging.getLogger(__name__)


def build_reference(run: Run) -> Reference:
    """Embed and index the spots the run was trained on, validation spots not among them.

    Raises:
        MismatchError: the files have changed since training, or some are gone.

    """
    return references.build(run, trained_tissue(run).train)


def help_build_reference(run: Run) -> None:
    """Do this process's share of the trunk's work while the main process of a launch builds the reference.

    Raises:
        MismatchError: see `build_reference`.

    """
    embed.share_features(run, queried(run, trained_tissue(run).train))


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
    run: Run,
    folder: Path,
    k: int | None = None,
    weights: WeightsName | None = None,
    abstain: float | None = None,
    where: str | None = None,
) -> tuple[Predictor, Reference | None]:
    """Return the run's own predictor and, where it is contrastive, the reference in `folder` that it retrieves from.

    A calibrated run combines, unless `k` or `weights` ask for plain retrieval; another run trained for both tasks retrieves.
    With `abstain`, tiles of lower familiarity are marked. With `where`, only reference spots that meet it answer.

    Raises:
        DataError: there is no index yet.
        MismatchError: the index or the calibration belongs to another run.
        ConfigError: `abstain` is asked of a predictor that knows no familiarity; `where` is wrong, or asked of a run that
            retrieves nothing.

    """
    reference = Reference.load(folder / runs.REFERENCE) if isinstance(run.model, DualEncoder) else None
    if where is not None:
        if reference is None:
            raise ConfigError(f"--where: chooses among reference spots, and {folder} was trained by regression and has none")
        reference = reference.only(where)
    calibration = calibration_of(run, folder) if k is None and weights is None else None
    if calibration is not None:
        return CombinedPredictor(run, reference, calibration, abstain), reference
    if abstain is not None:
        why = (
            "is not calibrated: run `bleep calibrate` first"
            if k is None and weights is None
            else "takes no k or weights with it"
        )
        raise ConfigError(f"--abstain: marks tiles by the calibration of a run, and {folder} {why}")
    if reference is None:
        return RegressionPredictor(run), None
    return RetrievalPredictor(run, reference, k, weights), reference


def predict(run: Run, predictor: Predictor, tiles: Tiles) -> Prediction:
    """Predict tiles, and say aloud which sections the run was trained on."""
    warn_of_trained(run, tiles)
    return described(predictor.predict(tiles), tiles, run)


def warn_of_trained(run: Run, tiles: Tiles) -> None:
    """Say aloud which sections, or slides of them, the run was trained on."""
    known = (*run.facts.train, *run.facts.val)
    trained, pictures = {facts.digest for facts in known}, {facts.picture: facts.name for facts in known if facts.picture}
    for section in tiles.sections:
        if section.digest() in trained:
            log.warning(
                "section %s was trained on: its prediction looks back at itself and says nothing of skill", section.name
            )
        elif (name := pictures.get(section.slide.digest())) is not None:
            log.warning(
                "%s is the picture of section %s, which was trained on: its prediction looks back at itself where spots were "
                "measured, and says nothing of skill there",
                section.name, name,
            )  # fmt: skip


def share_features(run: Run, tiles: Tiles) -> None:
    """Put what a run's trunk says of tiles into the cache, each process of a launch computing a part; all must call it.

    Raises:
        MismatchError: the tiles are cut otherwise than the run's own.

    """
    embed.share_features(run, tiles)


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


def predictors_of(run: Run, reference: Reference | None, calibration: Calibration | None = None) -> dict[str, Predictor]:
    """Return the run's own predictors, by name: retrieval from its reference, its regression head, or both and their mean.

    With a calibration, the combined predictor too.
    """
    found: dict[str, Predictor] = {}
    if isinstance(run.model, DualEncoder):
        if reference is None:
            raise DataError("a contrastive run predicts from an index: make it with `bleep index build`")
        found[RetrievalPredictor.name] = RetrievalPredictor(run, reference)
    if regresses(run.model):
        found[RegressionPredictor.name] = RegressionPredictor(run)
    if len(found) > 1:
        plain = MeanOfPredictors(tuple(found.values()), BOTH)
        found[plain.name] = plain
    if calibration is not None:
        found[CombinedPredictor.name] = CombinedPredictor(run, reference, calibration)
    return found


def baselines_of(run: Run, train_tiles: Tiles) -> dict[str, Predictor]:
    """Fit the floors on the run's training tiles: ridge on its features and on colour, image-kNN and the mean."""
    ridge, colour = RidgePredictor.fit(run, train_tiles), RidgePredictor.fit_colour(run, train_tiles)
    floors: tuple[Predictor, ...] = (ridge, colour, ImageKnnPredictor.fit(run, train_tiles), MeanPredictor(run))
    return {floor.name: floor for floor in floors}


def best_device() -> torch.device:
    """Return the accelerator torch finds, this process's own where there are several processes, else the CPU."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        device: torch.device = launched().device
        return torch.device("cpu") if device.type == "cpu" else device
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
