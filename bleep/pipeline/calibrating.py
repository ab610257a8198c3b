"""From rehearsals to a calibration: weights of neighbours, corrector, intervals and familiarity."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bleep.encoders.dual import DualEncoder
from bleep.evaluation.correlation import pearson
from bleep.pipeline.fitting import trained_tissue
from bleep.pipeline.rehearsing import rehearse
from bleep.prediction.baselines import RidgePredictor
from bleep.prediction.calibration import FOLDER, REHEARSAL, Calibration
from bleep.prediction.conformal import Conformal
from bleep.prediction.corrector import Basis, Part, Seen, fit_corrector
from bleep.prediction.embed import raw_features
from bleep.prediction.familiarity import Familiarity
from bleep.prediction.reference import identity
from bleep.prediction.rehearsal import LeftOut, Values, choose_corrector, choose_weighing, mean_over_parts, retrieved
from bleep.runs import Run
from bleep.tissue.splits import Split


def calibrate(run: Run, folder: Path, folds: int | None = None) -> Calibration:
    """Rehearse a run on its own training tissue, fit what that teaches, write it to the run's folder, and return it.

    Finished rehearsals are kept there, so a calibration that was stopped goes on.

    Raises:
        ConfigError, DataError: the training tissue cannot be divided.
        MismatchError: the files are not those the run was trained on.

    """
    divided = trained_tissue(run)
    left_out = rehearse(run, divided, folder / FOLDER / REHEARSAL, folds)
    calibration = fit_calibration(run, divided, left_out)
    calibration.save(folder / FOLDER)
    return Calibration.load(folder / FOLDER)


def fit_calibration(run: Run, divided: Split, left_out: Sequence[LeftOut]) -> Calibration:
    """Fit everything on what was left out."""
    expression = np.concatenate([run.panel.training_values(section) for section in divided.train])
    truth = np.concatenate([run.panel.values(section) for section in divided.train])
    report: dict[str, Any] = {
        "sections": [section.name for section in divided.train],
        "left out": [part.name for part in left_out],
        "spots": sum(len(part.rows) for part in left_out),
    }
    weighing = None
    spreads: list[Part | None] = [None] * len(left_out)
    seen = [Seen(part.predictions, truth[part.rows], part.mean) for part in left_out]
    if isinstance(run.model, DualEncoder):
        weighing, report["weights tried"] = choose_weighing(left_out, expression, truth, agreement)
        found = [retrieved(part, expression, weighing) for part in left_out]
        spreads = [spread for _, spread in found]
        seen = [
            Seen({"retrieval": mean} | dict(part.predictions), truth[part.rows], part.mean)
            for (mean, _), part in zip(found, left_out, strict=True)
        ]
        report["weights"] = weighing.words()
    axes, shrink, nested = choose_corrector(seen, agreement)
    starts = np.cumsum([len(section) for section in divided.train])[:-1]
    basis = Basis.of(np.split(truth, starts))
    errors = [values - one.truth for values, one in zip(nested, seen, strict=True)]
    deviation = expression.std(axis=0, dtype=np.float64)
    tiles = run.tiles(divided.train)
    report |= {
        "axes": axes,
        "pull": shrink,
        "scores": _scores(seen, nested),
        "coverage": _coverage(errors, spreads, deviation, run.config.query.interval),
    }
    return Calibration(
        identity=identity(run),
        weighing=weighing,
        corrector=fit_corrector(seen, basis, axes, shrink),
        ridge=RidgePredictor.fit(run, tiles).ridge,
        conformal=Conformal.fit(errors, spreads, deviation),
        familiarity=Familiarity.fit(raw_features(run, tiles), [part.distance for part in left_out]),
        report=report,
    )


def agreement(predicted: Values, measured: Values) -> float:
    """Return the mean correlation over genes that vary; NaN if none does."""
    found = pearson(predicted, measured)
    return float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")


def _scores(seen: Sequence[Seen], nested: Sequence[Part]) -> dict[str, float]:
    """Return the mean correlation of each member, of their plain mean and of the corrector, on tissue none had seen."""
    members = {name: [one.predictions[name] for one in seen] for name in seen[0].predictions}
    plain = [np.mean(list(one.predictions.values()), axis=0) for one in seen]
    tables = members | {"plain mean": plain, "combined": list(nested)}
    return {
        name: mean_over_parts([agreement(values, one.truth) for values, one in zip(table, seen, strict=True)])
        for name, table in tables.items()
    }


def _coverage(errors: Sequence[Part], spreads: Sequence[Part | None], deviation: np.ndarray, level: float) -> dict[str, float]:
    """Return the share of values inside intervals fitted on the other parts, for each part left out in turn: mean and ends."""
    shares = []
    for at, (error, spread) in enumerate(zip(errors, spreads, strict=True)):
        others = [place for place in range(len(errors)) if place != at]
        fitted = Conformal.fit([errors[place] for place in others], [spreads[place] for place in others], deviation)
        shares.append(float((np.abs(error) <= fitted.half_width(error.shape, spread, level)).mean()))
    return {"level": level, "mean": float(np.mean(shares)), "least": min(shares), "most": max(shares)}
