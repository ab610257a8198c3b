"""What rehearsals teach a run, its files in the run's folder, the combined predictor made of it, and all that a run has."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from jaxtyping import Float64
from safetensors import SafetensorError
from safetensors.numpy import load_file

from bleep import find
from bleep.config import ABSTAIN
from bleep.data.prediction import Prediction
from bleep.data.tiles import Tiles
from bleep.errors import ConfigError, DataError, MismatchError
from bleep.files import odd_values, read_json, write_json, write_tensors
from bleep.predictors import Ensemble, MeanOfPredictors, Predictor, Remembered, plain
from bleep.predictors.baselines import RegressionPredictor, Ridge, RidgePredictor
from bleep.predictors.classifier import ClassifierPredictor
from bleep.predictors.conformal import Confidence, Conformal, OutOfDistribution, PpcaDistance
from bleep.predictors.cross_fitting import NeighborWeighting
from bleep.predictors.foreign import restore_other, values_of
from bleep.predictors.members import KINDS, Fitted, SimplePredictor
from bleep.predictors.retrieval import WEIGHTS, RetrievalPredictor
from bleep.predictors.stacking import Stacker
from bleep.registry import Origin
from bleep.retrieval.embed import raw_features, tile_features
from bleep.retrieval.reference import Reference
from bleep.retrieval.reference.identity import SHARED, check_keys, identity
from bleep.runs import Run

FOLDER, FACTS, REHEARSAL = find.CALIBRATION, find.CALIBRATED, "rehearsal"
"""Names inside a run's folder, and inside the folder of a calibration."""
TENSORS = ("calibration.safetensors", "calibration-2.safetensors")
"""The numbers, under one name or the other: a new calibration takes the name that the one before does not have."""
AGAIN = "run `bleep calibrate` again"
MEAN = "mean of both"
"""How tables call the plain mean of retrieval and regression."""


@final
@dataclass(frozen=True, slots=True)
class Calibration:
    """All that is fitted on left-out training tissue."""

    identity: dict[str, Any]
    """What it and a run must share: weights, panel and tiles; and what spots are found by, where it retrieves."""
    weighting: NeighborWeighting | None
    """How neighbours are averaged; none for a run without retrieval."""
    stacker: Stacker
    ridge: Ridge | None
    """Ridge on the run's features, fitted on all training spots, where it is a member."""
    conformal: Conformal
    familiarity: OutOfDistribution
    report: dict[str, Any]
    """What was rehearsed and with which scores."""
    others: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    """By name, what members of other packages learnt from all training spots."""
    origins: tuple[Origin, ...] = ()
    """Where those members come from."""
    simple: Mapping[str, Fitted] = field(default_factory=dict)
    """Further members, by name, fitted on all training spots: see `bleep.predictors.members`."""
    bounds: Float64[np.ndarray, "2 genes"] | None = None
    """Least and largest value predicted of each gene; none in calibrations of older versions, whose predictions are free."""
    confidence: Confidence | None = None
    """Which genes to trust; none in calibrations of older versions."""

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
        hashed.update(repr(self.weighting).encode())
        return hashed.hexdigest()

    def save(self, folder: Path) -> None:
        """Write the numbers, then the facts that name them: until these are there, an earlier calibration is as it was."""
        before = numbers_of(folder) if (folder / FACTS).exists() else TENSORS[1]
        name = TENSORS[1 - TENSORS.index(before)]
        write_tensors(folder / name, self._arrays())
        facts = {
            "identity": self.identity,
            "sections": self.report["sections"],
            "file": name,
            "tensors": hashlib.sha256((folder / name).read_bytes()).hexdigest(),
            "weighing": None if self.weighting is None else asdict(self.weighting),
            "members": list(self.stacker.members),
            "ridge_alpha": None if self.ridge is None else self.ridge.alpha,
            "rest": self.familiarity.cloud.rest,
            "reach": self.conformal.reach if np.isfinite(self.conformal.reach) else None,
            "report": self.report,
            "others": [asdict(origin) for origin in self.origins],
        } | ({"simple": list(self.simple)} if self.simple else {})
        write_json(folder / FACTS, facts)
        (folder / before).unlink(missing_ok=True)

    @classmethod
    def load(cls, folder: Path) -> "Calibration":
        """Read a calibration.

        Raises:
            DataError: a file is missing or damaged.
            MismatchError: its files are of different calibrations.

        """
        facts = read_json(folder / FACTS, "what was calibrated")
        path = folder / numbers_of(folder)
        try:
            if hashlib.sha256(path.read_bytes()).hexdigest() != facts["tensors"]:
                raise MismatchError(f"{path}: is not the file that {folder / FACTS} names; {AGAIN}")
            _check_facts(facts)
            a = load_file(path)
            weighting = None if facts["weighing"] is None else NeighborWeighting(**facts["weighing"])
            ridge = None
            if facts["ridge_alpha"] is not None:
                parts = [a[f"ridge.{name}"] for name in ("mean", "spread", "offset", "coefficients")]
                mean, spread, offset, coefficients = (part.astype(np.float64) for part in parts)
                ridge = Ridge(mean, spread, offset, coefficients, float(facts["ridge_alpha"]))
            stacker = Stacker(
                tuple(facts["members"]), *(a[f"corrector.{name}"] for name in ("mean", "spread", "axes", "weights"))
            )
            if len(stacker.weights) != 2 * len(set(stacker.members)):
                raise ValueError("it has weights for other members than it names")
            around = {name: a[f"cloud.{name}"] for name in ("mean", "spread", "axes", "variance")}
            cloud = PpcaDistance(**around, rest=float(facts["rest"]))
            reach = facts.get("reach")
            conformal = Conformal(a["conformal.quantiles"], a["conformal.floor"], np.inf if reach is None else float(reach))
            familiarity = OutOfDistribution(cloud, a["familiarity.left_out"])
            origins = tuple(Origin(**one) for one in facts.get("others", ()))
            others = {o.name: _below(a, f"other/{n}.") or _below(a, f"other.{o.name}.") for n, o in enumerate(origins)}
            fitted = (weighting, stacker, ridge, conformal, familiarity)
            trusted = _below(a, "confidence.")
            simple = {name: KINDS[name].from_arrays(_below(a, f"simple.{name}.")) for name in facts.get("simple", [])}
            return cls(
                dict(facts["identity"]),
                *fitted,
                report=dict(facts["report"]),
                others=others,
                origins=origins,
                simple=simple,
                bounds=a.get("bounds"),
                confidence=Confidence(**trusted) if trusted else None,
            )
        except (SafetensorError, LookupError, TypeError, ValueError, OSError) as error:
            raise DataError(f"{folder}: the calibration is damaged ({str(error).splitlines()[0]}); {AGAIN}") from None

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays: dict[str, np.ndarray] = {
            f"corrector.{name}": getattr(self.stacker, name) for name in ("mean", "spread", "axes", "weights")
        }
        cloud = self.familiarity.cloud
        arrays |= {f"cloud.{name}": getattr(cloud, name) for name in ("mean", "spread", "axes", "variance")}
        arrays |= {"conformal.quantiles": self.conformal.quantiles, "conformal.floor": self.conformal.floor}
        arrays |= {"familiarity.left_out": self.familiarity.left_out}
        if self.ridge is not None:
            ridge = {name: getattr(self.ridge, name) for name in ("mean", "spread", "offset", "coefficients")}
            arrays |= {f"ridge.{name}": array.astype(np.float32) for name, array in ridge.items()}
        for number, (name, learnt) in enumerate(self.others.items()):
            start = f"other/{number}." if "." in name else f"other.{name}."  # beside `a`, one called `a.b`
            arrays |= {f"{start}{key}": value for key, value in learnt.items()}
        for name, fitted in self.simple.items():
            arrays |= {f"simple.{name}.{key}": array for key, array in fitted.arrays().items()}
        if self.bounds is not None:
            arrays["bounds"] = self.bounds
        if self.confidence is not None:
            arrays |= {f"confidence.{name}": array for name, array in self.confidence.arrays().items()}
        return arrays


def _check_facts(facts: dict[str, Any]) -> None:
    """Refuse facts of kinds that a calibration does not write.

    Raises:
        ValueError: naming the first.

    """
    expected: dict[str, Any] = {"identity": dict, "sections": [str], "members": [str], "rest": int | float, "report": dict}
    if facts["weighing"] is not None:
        expected["weighing"] = {"weights": str, "k": int, "temperature": int | float}
    odd = next(odd_values(facts, expected), None)
    if odd is not None:
        raise ValueError(f"it says nothing that can be so of {odd}")
    if facts["weighing"] is not None and (facts["weighing"]["weights"] not in WEIGHTS or facts["weighing"]["k"] < 1):
        raise ValueError("it says nothing that can be so of weighing")


def _below(arrays: Mapping[str, np.ndarray], start: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}


def numbers_of(folder: Path) -> str:
    """Return the name of the file of numbers that the facts go with; of damaged facts, the first."""
    try:
        name = read_json(folder / FACTS, "what was calibrated").get("file", TENSORS[0])
    except DataError:
        name = TENSORS[0]
    return name if name in TENSORS else TENSORS[0]


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


@final
class CombinedPredictor:
    """Members joined gene by gene by a corrector that was fitted on left-out training tissue."""

    name = "combined"

    def __init__(self, run: Run, reference: Reference | None, calibration: Calibration, abstain: float | None = None) -> None:
        """Join a run, its reference where it retrieves, and its calibration.

        With `abstain`, tiles of lower familiarity are marked.

        Raises:
            MismatchError: the calibration or the reference belongs to another run.
            DataError: the run retrieves, and there is no reference.
            ConfigError: `abstain` is no share.

        """
        calibration.check(run)
        if abstain is not None and not 0 < abstain < 1:
            raise ConfigError(f"abstain is {abstain:g}; expected a share between 0 and 1, such as {ABSTAIN}")
        self.run, self.calibration, self.abstain = run, calibration, abstain
        self.members: dict[str, Predictor] = {}
        if "retrieval" in calibration.stacker.members and (how := calibration.weighting) is not None:
            if reference is None:
                raise DataError("the combined predictor retrieves from an index: make it with `bleep index build`")
            check_keys(calibration.identity, reference.keys)
            self.members["retrieval"] = RetrievalPredictor(run, reference, how.k, how.weights, how.temperature)
        if "regression" in calibration.stacker.members:
            self.members["regression"] = RegressionPredictor(run)
        if calibration.ridge is not None:
            self.members["ridge"] = RidgePredictor(run, calibration.ridge, "ridge", tile_features)
        self.members |= {name: SimplePredictor(run, name, fitted) for name, fitted in calibration.simple.items()}
        self._others = {
            one.name: restore_other(one.name, run, calibration.others[one.name], one) for one in calibration.origins
        }

    def predict(self, tiles: Tiles) -> Prediction:
        """Predict; intervals and familiarity come with it, and where the run retrieves, spread and neighbours.

        Values beyond the calibration's bounds are brought to them, and their tiles are marked as `bounded`.
        """
        # Retrieval says spread and neighbours, too; of the others those without a weight cost time and say nothing.
        counted, genes = {"retrieval", *self.calibration.stacker.needed}, self.run.panel.genes
        predictions = {name: member.predict(tiles) for name, member in self.members.items() if name in counted}
        values = {name: one.expression for name, one in predictions.items()}
        values |= {name: values_of(one, tiles, self.run, name) for name, one in self._others.items() if name in counted}
        expression = self.calibration.stacker.apply(values)
        retrieval = predictions.get("retrieval")
        spread = None if retrieval is None else retrieval.spread
        familiarity = self.calibration.familiarity
        distance = familiarity.cloud.distance(raw_features(self.run, tiles))
        half = self.calibration.conformal.half_width(expression.shape, spread, self.run.config.query.interval, distance)
        share = familiarity.of(distance)
        marks: dict[str, np.ndarray] = {"distance": distance.astype(np.float32), "familiarity": share.astype(np.float32)}
        if self.calibration.bounds is not None:
            held = np.clip(expression, *self.calibration.bounds).astype(np.float32)
            marks["bounded"] = (held != expression).any(axis=1)
            expression = held
        if self.abstain is not None:
            marks["abstain"] = share < self.abstain
        return Prediction(
            expression,
            tiles,
            genes,
            self.run.panel.describe(),
            f"{self.name} of {', '.join(self.calibration.stacker.counted)}",
            spread=spread,
            neighbors=None if retrieval is None else retrieval.neighbors,
            weights=None if retrieval is None else retrieval.weights,
            lower=expression - half,
            upper=expression + half,
            marks=marks,
            confidence=None if self.calibration.confidence is None else self.calibration.confidence.frame(genes),
        )


def retrieved_part(predictor: Predictor) -> Literal["all", "part", "none"]:
    """Return how much of a predictor's values are those of reference spots that it finds."""
    one = plain(predictor)
    if isinstance(one, RetrievalPredictor):
        return "all"
    if isinstance(one, CombinedPredictor):
        counted = one.calibration.stacker.counted
        return "none" if "retrieval" not in counted else "all" if len(counted) == 1 else "part"
    members = one.members if isinstance(one, MeanOfPredictors | Ensemble) else ()
    parts = {retrieved_part(member) for member in members}
    return "part" if len(parts) > 1 else next(iter(parts), "none")


def predictors_of(run: Run, reference: Reference | None, calibration: Calibration | None = None) -> dict[str, Predictor]:
    """Return a run's own predictors, by name: retrieval from its reference, its regression head, or both and their mean.

    With a calibration, the combined predictor too; a run of both that was sent without its reference has regression alone.
    Each remembers what it last predicted, so that a mean of two does not compute them again.

    Raises:
        DataError: a contrastive run has no reference.

    """
    found: dict[str, Predictor] = {}
    if run.model.classifies:
        found[ClassifierPredictor.name] = Remembered(ClassifierPredictor(run))
        if reference is not None:
            found[RetrievalPredictor.name] = Remembered(RetrievalPredictor(run, reference))
        return found
    if run.model.retrieves and reference is None and not run.facts.unindexed:
        raise DataError("a contrastive run predicts from an index: make it with `bleep index build`")
    if run.model.retrieves and reference is not None:
        found[RetrievalPredictor.name] = Remembered(RetrievalPredictor(run, reference))
    if run.model.regresses:
        found[RegressionPredictor.name] = Remembered(RegressionPredictor(run))
    if len(found) > 1:
        found[MEAN] = Remembered(MeanOfPredictors(tuple(found.values()), MEAN))
    if calibration is not None:
        found[CombinedPredictor.name] = Remembered(CombinedPredictor(run, reference, calibration))
    return found
