"""A run opened once, for slide after slide of an archive."""

import logging
import time
from pathlib import Path
from typing import Any, final

from bleep.errors import BleepError
from bleep.workflows.archive import Job, Outcome
from bleep.workflows.ensemble import fitted
from bleep.workflows.experiment import Experiment
from bleep.workflows.slides import open_slides
from bleep.workflows.stream import Output, Query, write_query

log = logging.getLogger(__name__)


@final
class Worker:
    """A run opened once, for slide after slide."""

    def __init__(self, job: Job) -> None:
        """Open the run and what it predicts by.

        Raises:
            BleepError: as `Experiment.select`.

        """
        experiment = Experiment(job.run, where=job.where)
        self._job, self._run = job, experiment.run
        self._predictor = experiment.select(job.predictor, job.k, job.weights, job.abstain)
        self._reference = experiment.reference

    def predict(self, name: str, path: Path) -> Outcome:
        """Predict a slide and write it, whole or not at all."""
        began = time.perf_counter()
        try:
            tiles = open_slides((path,), self._run, **self._job.slide)
            asked = {key: getattr(self._job, key) for key in ("k", "weights", "abstain", "where")}
            safe: dict[str, Any] = {"inputs": self._job.inputs, "overwrite": self._job.overwrite}
            query = Query(self._run, self._predictor, self._reference, tiles, {**asked, "fitted": fitted(self._predictor)})
            write_query(query, Output(self._job.place(name), self._job.genes, self._job.dtype, **safe))
        except BleepError as error:
            return Outcome(name, failure=str(error))
        except Exception as error:  # whatever a slide does, the others must go on
            log.debug("slide %s", name, exc_info=True)
            return Outcome(name, failure=f"{path}: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
        return Outcome(name, len(tiles), time.perf_counter() - began)
