"""An experiment: a run or an ensemble opened once, with what a library's user does with it."""

from collections.abc import Sequence
from pathlib import Path
from typing import final

import torch

from bleep.config import WeightsName
from bleep.data.prediction import Prediction
from bleep.data.section import Section
from bleep.data.tiles import Tiles
from bleep.errors import DataError
from bleep.predictors import Ensemble, plain
from bleep.records import Table
from bleep.runs import Run
from bleep.workflows.evaluate import evaluate
from bleep.workflows.hub import is_link, pull
from bleep.workflows.opened import Opened
from bleep.workflows.query import predict
from bleep.workflows.tissue import Tissue
from bleep.workflows.unseen import check_sections, check_tiles


@final
class Experiment(Opened):
    """A run or an ensemble in a folder, opened once: everything it needs is read when first asked for, and kept.

    `bleep.load` makes one.
    """

    @classmethod
    def of(cls, run: Run, folder: str | Path, tissue: Tissue | None = None) -> "Experiment":
        """Return the experiment of a run that is in memory already, such as one just trained; its folder holds the rest."""
        return cls(folder, tissue=tissue, run=run)

    def tiles(self, sections: Sequence[Section]) -> Tiles:
        """Return the tiles of sections as the run cuts them.

        Raises:
            ConfigError: something else than a list of sections is given.
            DataError: the tiles cannot be cut: see `Tiles`.

        """
        check_sections(sections)
        return super().tiles(sections)

    def predict(self, tiles: Tiles) -> Prediction:
        """Predict tiles with the run's own predictor, and warn of sections that the run was trained on.

        Raises:
            ConfigError: something else than tiles is given, or none.

        """
        check_tiles(tiles)
        return predict(self.run, plain(self.predictor if self.where is None else self.select()), tiles)

    def evaluate(self, **how: object) -> Table:
        """Score the run on the tissue it held out, beside the baselines; see `bleep.evaluate`."""
        return evaluate([self], **how)  # type: ignore[arg-type]


def load(folder: str | Path, device: str | torch.device = "auto") -> Experiment:
    """Open a run or an ensemble; the GPU is used where there is one.

    Args:
        folder: a run's folder, or an ensemble's; or a run on the hub, as `hf:user/name@revision`.
        device: `auto`, or any device torch names.

    Raises:
        DataError: the folder is not there, or the hub has no such run or cannot be reached.

    """
    if is_link(folder):
        return Experiment(pull(str(folder)), device)
    if not Path(folder).is_dir():
        raise DataError(f"{folder}: no such folder; expected a run, which `bleep train` makes")
    return Experiment(folder, device)


def open_ensemble(folder: str | Path, k: int | None = None, weights: WeightsName | None = None) -> Ensemble:
    """Return the predictor of an ensemble: the weighted mean of its runs' own predictors.

    Raises:
        DataError: the folder is no ensemble, its file is damaged, or a run or its index is not there.
        MismatchError: a run has changed since.

    """
    experiment = load(folder)
    if not experiment.is_ensemble:
        raise DataError(f"{folder}: is a run and no ensemble; `bleep.load` opens either")
    return experiment.ensemble(k=k, weights=weights)
