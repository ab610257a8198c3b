"""What rehearsals teach a run: weights of neighbours, the corrector, intervals, familiarity; kept in the run's folder."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float32, Float64
from safetensors import SafetensorError
from safetensors.numpy import load_file

from bleep.errors import ConfigError, DataError, MismatchError
from bleep.features import Features
from bleep.files import odd_values, read_json, write_json, write_tensors
from bleep.predictors.baselines import Ridge
from bleep.predictors.confidence import Confidence
from bleep.predictors.cross_fitting import NeighborWeighting
from bleep.predictors.members import KINDS, Fitted
from bleep.predictors.neighbor_mean import WEIGHTS
from bleep.predictors.stacking import Stacker
from bleep.registry import Origin
from bleep.retrieval.reference.identity import SHARED, identity
from bleep.runs import Run
from bleep.spreads import floored

Values = Float32[np.ndarray, "spots genes"]
FoldValues = Float32[np.ndarray, "_ genes"]
"""Values of one part of several, each of its own length."""

LEVELS = np.arange(50, 100) / 100
"""Shares that quantiles are kept for."""
REACH = 0.9
"""Share of left-out tiles that are within the reach of what was rehearsed; tiles farther than those get wider intervals."""
FLOOR = 0.1
"""Part of a gene's standard deviation added to every spread, so that neighbours that agree do not promise certainty."""


@final
@dataclass(frozen=True, slots=True)
class Conformal:
    """Quantiles of the scores of left-out spots.

    A score is an error in units of the neighbours' spread (normalised conformal prediction: Papadopoulos, Gammerman and Vovk
    2008; Lei et al., JASA 113:1094, 2018), times a factor that grows with the square of the distance beyond `reach`.
    """

    quantiles: Float64[np.ndarray, "levels genes"]
    """One row for each of `LEVELS`."""
    floor: Float64[np.ndarray, " genes"]
    """Added to the spread."""
    reach: float = np.inf
    """Distance of a tile from the training tiles beyond which its intervals are wider; infinite in older calibrations."""

    @classmethod
    def fit(
        cls,
        errors: Sequence[FoldValues],
        spreads: Sequence[FoldValues | None],
        deviation: Float64[np.ndarray, " genes"],
        distances: Sequence[Float64[np.ndarray, "_"]] = (),
    ) -> "Conformal":
        """Take the quantiles over all left-out spots together; `deviation` is each gene's in the training spots.

        With their `distances` from what was trained on, intervals widen beyond the reach of `REACH` of them.
        """
        floor = FLOOR * np.maximum(deviation, 1e-6)
        reach = float(np.quantile(np.concatenate(distances), REACH)) if distances else np.inf
        wider = [_wider(distance, reach) for distance in distances] or [np.ones((1, 1))] * len(errors)
        scores = np.concatenate(
            [
                np.abs(error) / factor / (floor if spread is None else spread + floor)
                for error, spread, factor in zip(errors, spreads, wider, strict=True)
            ]
        )
        # With n spots the rank is (n + 1) x level, rounded up: so an interval holds at least its share.
        ranks = np.minimum(np.ceil(LEVELS * (len(scores) + 1)).astype(np.int64), len(scores)) - 1
        return cls(np.sort(scores, axis=0)[ranks].astype(np.float64), floor, reach)

    def half_width(
        self,
        shape: tuple[int, int],
        spread: Values | None,
        level: float,
        distance: Float64[np.ndarray, " tiles"] | None = None,
    ) -> Values:
        """Return how far the interval reaches to either side of a prediction, for tiles at these distances.

        Raises:
            ConfigError: no quantile is kept for such a level.

        """
        if not LEVELS[0] <= level <= LEVELS[-1]:
            raise ConfigError(f"an interval was asked to hold {level:g} of the values; expected {LEVELS[0]} to {LEVELS[-1]}")
        quantile = self.quantiles[int(np.searchsorted(LEVELS, level - 1e-9))]
        unit = np.zeros(shape) if spread is None else spread
        width = (unit + self.floor) * quantile
        return (width if distance is None else width * _wider(distance, self.reach)).astype(np.float32)


def _wider(distance: Float64[np.ndarray, " _"], reach: float) -> Float64[np.ndarray, "_ 1"]:
    return np.maximum(1.0, (distance / reach) ** 2)[:, None]


Distance = Float64[np.ndarray, " tiles"]

AXES = 30
"""Leading axes whose variances are told apart."""
KEPT = 2000
"""Distances of left-out tiles kept at most, evenly taken of the sorted ones."""


@final
@dataclass(frozen=True, slots=True)
class Cloud:
    """Where training tiles lie."""

    mean: Float64[np.ndarray, " features"]
    spread: Float64[np.ndarray, " features"]
    axes: Float64[np.ndarray, "axes features"]
    variance: Float64[np.ndarray, " axes"]
    """Along each axis."""
    rest: float
    """Mean variance along all others."""

    @classmethod
    def fit(cls, features: Features) -> "Cloud":
        """Measure training tiles; no more axes than a third of the tiles."""
        table = features.astype(np.float64)
        mean, spread = table.mean(axis=0), table.std(axis=0)
        spread = floored(spread)
        unit = (table - mean) / spread
        values, vectors = np.linalg.eigh(unit.T @ unit / len(unit))
        count = max(1, min(AXES, len(unit) // 3, len(values) - 1))
        variance = np.maximum(values[::-1][:count], 1e-12)
        rest = max(float(values[:-count].sum()) / max(len(values) - count, 1), 1e-6)
        return cls(mean, spread, vectors[:, ::-1][:, :count].T.copy(), np.maximum(variance, rest), rest)

    def distance(self, features: Features) -> Distance:
        """Return the root of the mean squared distance, in standard deviations: near 1 for training tiles."""
        unit = (features - self.mean) / self.spread
        along = unit @ self.axes.T
        beside = np.maximum((unit**2).sum(axis=1) - (along**2).sum(axis=1), 0.0)
        total = (along**2 / self.variance).sum(axis=1) + beside / self.rest
        return np.sqrt(total / len(self.mean))


@final
@dataclass(frozen=True, slots=True)
class Familiarity:
    """Distances, and what they mean on left-out training tissue."""

    cloud: Cloud
    left_out: Distance
    """Distances of left-out training tiles from the others, sorted."""

    @classmethod
    def fit(cls, features: Features, left_out: Sequence[Float64[np.ndarray, "_"]]) -> "Familiarity":
        """Join all training tiles with the distances that rehearsals measured."""
        distances = np.sort(np.concatenate(left_out)).astype(np.float64)
        if len(distances) > KEPT:
            distances = np.quantile(distances, np.linspace(0, 1, KEPT))
        return cls(Cloud.fit(features), distances)

    def of(self, distance: Distance) -> Distance:
        """Return the share of left-out training tiles at least as far: an empirical p-value, 1 for the most usual tile."""
        nearer = np.searchsorted(self.left_out, distance, side="left")
        return (len(self.left_out) - nearer + 1) / (len(self.left_out) + 1)


FOLDER, FACTS, REHEARSAL = "calibration", "calibration.json", "rehearsal"
TENSORS = ("calibration.safetensors", "calibration-2.safetensors")
"""The numbers, under one name or the other: a new calibration takes the name that the one before does not have."""
"""Names inside a run's folder, and inside the folder of a calibration."""
AGAIN = "run `bleep calibrate` again"


@final
@dataclass(frozen=True, slots=True)
class Calibration:
    """All that is fitted on left-out training tissue."""

    identity: dict[str, Any]
    """What it and a run must share: weights, panel and tiles."""
    weighting: NeighborWeighting | None
    """How neighbours are averaged; none for a run without retrieval."""
    stacker: Stacker
    ridge: Ridge | None
    """Ridge on the run's features, fitted on all training spots, where it is a member."""
    conformal: Conformal
    familiarity: Familiarity
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
            around = {name: a[f"cloud.{name}"] for name in ("mean", "spread", "axes", "variance")}
            cloud = Cloud(**around, rest=float(facts["rest"]))
            reach = facts.get("reach")
            conformal = Conformal(a["conformal.quantiles"], a["conformal.floor"], np.inf if reach is None else float(reach))
            familiarity = Familiarity(cloud, a["familiarity.left_out"])
            origins = tuple(Origin(**one) for one in facts.get("others", ()))
            starts = {origin.name: f"other.{origin.name}." for origin in origins}
            others = {
                name: {key.removeprefix(start): value for key, value in a.items() if key.startswith(start)}
                for name, start in starts.items()
            }
            report = dict(facts["report"])
            fitted = (weighting, stacker, ridge, conformal, familiarity)
            trusted = _below(a, "confidence.")
            simple = {name: KINDS[name].from_arrays(_below(a, f"simple.{name}.")) for name in facts.get("simple", [])}
            return cls(
                dict(facts["identity"]),
                *fitted,
                report=report,
                others=others,
                origins=origins,
                simple=simple,
                bounds=a.get("bounds"),
                confidence=Confidence(**trusted) if trusted else None,
            )
        except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
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
        for name, learnt in self.others.items():
            arrays |= {f"other.{name}.{key}": np.ascontiguousarray(value) for key, value in learnt.items()}
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
