"""What rehearsals teach a run: weights of neighbours, the corrector, intervals, familiarity; kept in the run's folder."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from bleep.errors import DataError, MismatchError
from bleep.files import read_json, write_json, write_tensors
from bleep.prediction.conformal import Conformal
from bleep.prediction.corrector import Corrector
from bleep.prediction.familiarity import Cloud, Familiarity
from bleep.prediction.reference.identity import SHARED, identity
from bleep.prediction.rehearsal import Weighing
from bleep.prediction.ridge import Ridge
from bleep.runs import Run

FOLDER, TENSORS, FACTS, REHEARSAL = "calibration", "calibration.safetensors", "calibration.json", "rehearsal"
"""Names inside a run's folder, and inside the folder of a calibration."""
AGAIN = "run `bleep calibrate` again"


@final
@dataclass(frozen=True, slots=True)
class Calibration:
    """All that is fitted on left-out training tissue."""

    identity: dict[str, Any]
    """What it and a run must share: weights, panel and tiles."""
    weighing: Weighing | None
    """How neighbours are averaged; none for a run without retrieval."""
    corrector: Corrector
    ridge: Ridge | None
    """Ridge on the run's features, fitted on all training spots, where it is a member."""
    conformal: Conformal
    familiarity: Familiarity
    report: dict[str, Any]
    """What was rehearsed and with which scores."""

    def check(self, run: Run) -> None:
        """Refuse a run that this was not fitted for.

        Raises:
            MismatchError: weights, panel or tiles differ.

        """
        expected = identity(run)
        for key, words in SHARED:
            if self.identity.get(key) != expected[key]:
                here, there = (str(side.get(key))[:12] for side in (self.identity, expected))
                raise MismatchError(
                    f"the calibration was fitted for a run of other {words} ({here}) than this one ({there}); "
                    f"{AGAIN} for this run, or remove the folder {FOLDER} of the run"
                )

    def digest(self) -> str:
        """Return a sha256 of all its numbers."""
        hashed = hashlib.sha256()
        for name, array in sorted(self._arrays().items()):
            hashed.update(name.encode())
            hashed.update(np.ascontiguousarray(array).tobytes())
        hashed.update(repr(self.weighing).encode())
        return hashed.hexdigest()

    def save(self, folder: Path) -> None:
        """Write the numbers, then the facts that name them: without the facts there is no calibration."""
        (folder / FACTS).unlink(missing_ok=True)
        write_tensors(folder / TENSORS, self._arrays())
        facts = {
            "identity": self.identity,
            "sections": self.report["sections"],
            "tensors": hashlib.sha256((folder / TENSORS).read_bytes()).hexdigest(),
            "weighing": None if self.weighing is None else asdict(self.weighing),
            "members": list(self.corrector.members),
            "ridge_alpha": None if self.ridge is None else self.ridge.alpha,
            "rest": self.familiarity.cloud.rest,
            "report": self.report,
        }
        write_json(folder / FACTS, facts)

    @classmethod
    def load(cls, folder: Path) -> "Calibration":
        """Read a calibration.

        Raises:
            DataError: a file is missing or damaged.
            MismatchError: its files are of different calibrations.

        """
        facts = read_json(folder / FACTS, "what was calibrated")
        path = folder / TENSORS
        try:
            if hashlib.sha256(path.read_bytes()).hexdigest() != facts["tensors"]:
                raise MismatchError(f"{path}: is not the file that {folder / FACTS} names; {AGAIN}")
            a = load_file(path)
            weighing = None if facts["weighing"] is None else Weighing(**facts["weighing"])
            ridge = None
            if facts["ridge_alpha"] is not None:
                parts = [a[f"ridge.{name}"] for name in ("mean", "spread", "offset", "coefficients")]
                mean, spread, offset, coefficients = (part.astype(np.float64) for part in parts)
                ridge = Ridge(mean, spread, offset, coefficients, float(facts["ridge_alpha"]))
            corrector = Corrector(
                tuple(facts["members"]), *(a[f"corrector.{name}"] for name in ("mean", "spread", "axes", "weights"))
            )
            around = {name: a[f"cloud.{name}"] for name in ("mean", "spread", "axes", "variance")}
            cloud = Cloud(**around, rest=float(facts["rest"]))
            conformal = Conformal(a["conformal.quantiles"], a["conformal.floor"])
            familiarity = Familiarity(cloud, a["familiarity.left_out"])
            return cls(dict(facts["identity"]), weighing, corrector, ridge, conformal, familiarity, dict(facts["report"]))
        except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
            raise DataError(f"{folder}: the calibration is damaged ({str(error).splitlines()[0]}); {AGAIN}") from None

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays: dict[str, np.ndarray] = {
            f"corrector.{name}": getattr(self.corrector, name) for name in ("mean", "spread", "axes", "weights")
        }
        cloud = self.familiarity.cloud
        arrays |= {f"cloud.{name}": getattr(cloud, name) for name in ("mean", "spread", "axes", "variance")}
        arrays |= {"conformal.quantiles": self.conformal.quantiles, "conformal.floor": self.conformal.floor}
        arrays |= {"familiarity.left_out": self.familiarity.left_out}
        if self.ridge is not None:
            ridge = {name: getattr(self.ridge, name) for name in ("mean", "spread", "offset", "coefficients")}
            arrays |= {f"ridge.{name}": array.astype(np.float32) for name, array in ridge.items()}
        return arrays


def calibration_of(run: Run, folder: Path) -> Calibration | None:
    """Return the calibration in a run's folder; none where it was never calibrated.

    Raises:
        DataError: it is damaged.
        MismatchError: it belongs to another run.

    """
    if not (folder / FOLDER / FACTS).exists():
        return None
    calibration = Calibration.load(folder / FOLDER)
    calibration.check(run)
    return calibration
