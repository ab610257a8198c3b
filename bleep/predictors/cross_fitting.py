"""Cross-fitting (a rehearsal): predictions of training spots by heads that had not seen them, and what is chosen by them."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from safetensors import SafetensorError, safe_open

from bleep.config import WeightsName
from bleep.data.panel import GenePanel
from bleep.data.section import Section
from bleep.data.splits import blocks_of, near_spots
from bleep.errors import ConfigError, DataError, MismatchError
from bleep.files import write_tensors
from bleep.predictors.members import FITS
from bleep.predictors.retrieval import WEIGHTS, averaged
from bleep.predictors.stacking import (
    AXES,
    SHRINK,
    Basis,
    FoldValues,
    Leading,
    Stacker,
    StackingInput,
    fit_stacker,
    shrunk_stacker,
)
from bleep.records import Neighbors
from bleep.runs import Run

Values = Float32[np.ndarray, "spots genes"]
Rows = Int64[np.ndarray, " _"]
Score = Callable[[np.ndarray, np.ndarray], float]
"""How well predicted values agree with measured ones; higher is better."""

NEAREST = 200
"""Neighbours noted for each left-out spot."""
MEMBERS = ("retrieval", "regression", "ridge", *FITS)
"""Order of the members in tables."""


@final
@dataclass(frozen=True, slots=True)
class OutOfFold:
    """One part of the training tissue, left out and predicted by what was fitted on the rest."""

    name: str
    """What was left out."""
    rows: Int64[np.ndarray, " spots"]
    """Rows of its spots among all training spots."""
    predictions: Mapping[str, Values]
    """By member that is no retrieval."""
    neighbors: Neighbors | None
    """Its neighbours; rows are those of all training spots."""
    distance: Float64[np.ndarray, " spots"]
    """How far its tiles are from the rest's: see `bleep.predictors.calibration`."""
    mean: Float64[np.ndarray, " genes"]
    """Mean of the rest."""

    def save(self, path: Path, key: str) -> None:
        """Write it, with the key of what it belongs to."""
        arrays = {"rows": self.rows, "distance": self.distance, "mean": self.mean}
        arrays |= {f"prediction.{name}": values for name, values in self.predictions.items()}
        if self.neighbors is not None:
            arrays |= {"similarity": self.neighbors.similarity, "neighbors": self.neighbors.rows}
        write_tensors(path, arrays, {"name": self.name, "key": key, "digest": _digest(arrays)})

    @classmethod
    def load(cls, path: Path, key: str) -> "OutOfFold | None":
        """Read it; none where it is not there, is damaged, or belongs to something else: it is then made again."""
        try:
            with safe_open(path, "np") as file:
                facts = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            # Those of older versions have no digest.
            if facts.get("key") != key or facts.get("digest", _digest(arrays)) != _digest(arrays):
                return None
            start = "prediction."
            predictions = {name.removeprefix(start): value for name, value in arrays.items() if name.startswith(start)}
            # Members of other packages follow, by name.
            order = [*MEMBERS, *sorted(set(predictions) - set(MEMBERS))]
            ordered = {name: predictions[name] for name in order if name in predictions}
            near = Neighbors(arrays["similarity"], arrays["neighbors"]) if "neighbors" in arrays else None
            return cls(facts["name"], arrays["rows"], ordered, near, arrays["distance"], arrays["mean"])
        except (SafetensorError, LookupError, OSError, ValueError, TypeError):
            return None


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    joined = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        joined.update(f"{name} {array.dtype} {array.shape} ".encode())
        joined.update(np.ascontiguousarray(array).tobytes())
    return joined.hexdigest()


@final
@dataclass(frozen=True, slots=True)
class NeighborWeighting:
    """How neighbours are averaged."""

    weights: WeightsName
    k: int
    temperature: float

    def describe(self) -> str:
        """Return it in words."""
        warm = f" over {self.temperature:g}" if self.weights in ("softmax", "adaptive") else ""
        return f"{self.weights} weights{warm}, k = {self.k}"


WEIGHTINGS = (
    *(NeighborWeighting("uniform", k, 0.1) for k in (10, 25, 50, 100, 200)),
    *(NeighborWeighting("distance", k, 0.1) for k in (50, 100, 200)),
    *(NeighborWeighting("softmax", k, temperature) for k in (50, 100, 200) for temperature in (0.05, 0.1, 0.2, 0.4)),
    *(NeighborWeighting("adaptive", 200, gap) for gap in (0.1, 0.2, 0.3)),
)
"""What is tried; uniform weights over all spots would be the mean predictor, which the corrector has anyway."""


def retrieved(part: OutOfFold, expression: FoldValues, how: NeighborWeighting) -> tuple[Values, Values]:
    """Return the weighted mean and spread of a part's neighbours.

    Raises:
        MismatchError: the run has no retrieval.

    """
    if part.neighbors is None:
        raise MismatchError(f"{part.name}: was rehearsed without retrieval, so it has no neighbours to weigh")
    near = Neighbors(part.neighbors.similarity[:, : how.k].copy(), part.neighbors.rows[:, : how.k].copy())
    return averaged(expression, near, WEIGHTS[how.weights](near.similarity, how.temperature))


def mean_over_parts(scores: Sequence[float]) -> float:
    """Return the mean over the parts that have a score: one of a single spot, say, has none.

    Raises:
        DataError: none has.

    """
    found = [score for score in scores if np.isfinite(score)]
    if not found:
        raise DataError("no gene varies in any part of the training tissue that was left out, so nothing can be fitted on them")
    return float(np.mean(found))


def choose_weighting(
    parts: Sequence[OutOfFold], tables: Iterable[FoldValues], truths: Sequence[FoldValues], score: Score
) -> tuple[NeighborWeighting, dict[str, float]]:
    """Return the weighing of the best mean score over the parts, and every one's score by its words.

    Of each part its truth is given, and a table of all training spots with the values that the rest had without it.
    """
    found: dict[NeighborWeighting, list[float]] = {how: [] for how in WEIGHTINGS}
    for part, table, truth in zip(parts, tables, truths, strict=True):
        for how, scores in found.items():
            scores.append(score(retrieved(part, table, how)[0], truth))
    means = {how: mean_over_parts(scores) for how, scores in found.items()}
    return max(means, key=lambda how: means[how]), {how.describe(): value for how, value in means.items()}


def nested(seen: Sequence[StackingInput], axes: int, shrink: float, bases: Sequence[Basis]) -> list[FoldValues]:
    """Return each part predicted by the corrector that was fitted on the others."""
    out = []
    for at, one in enumerate(seen):
        others = [other for place, other in enumerate(seen) if place != at]
        stacker: Stacker = fit_stacker(others, bases[at], axes, shrink)
        out.append(stacker.apply(one.predictions))
    return out


def choose_stacker(seen: Sequence[StackingInput], score: Score) -> tuple[int, float, list[FoldValues]]:
    """Return the number of axes and the pull of best mean score, each part left out in turn; and those predictions.

    First the axes, under the strongest pull, then the pull.
    """
    bases = [Basis.of([other.truth for place, other in enumerate(seen) if place != at]) for at in range(len(seen))]

    def mean_score(predicted: Sequence[FoldValues]) -> float:
        return mean_over_parts([score(values, one.truth) for values, one in zip(predicted, seen, strict=True)])

    tried = {axes: mean_score(nested(seen, axes, max(SHRINK), bases)) for axes in AXES}
    axes = max(tried, key=lambda count: tried[count])
    pulls = {shrink: mean_score(nested(seen, axes, shrink, bases)) for shrink in SHRINK}
    shrink = max(pulls, key=lambda pull: pulls[pull])
    return axes, shrink, nested(seen, axes, shrink, bases)


HALFWAY = 4
"""Left-out subjects beyond the first after which fitted weights count as much as the mean of members (`plain_stacker`)."""


TRAVEL_AXES: Leading = (2, 5, 10, 20)
"""Numbers of principal axes of the training values along which predictions of another subject are read, and averaged; see
docs/concepts/travel."""


def trust_in(subjects: int) -> float:
    """Return the share of the fitted weights, of the mean of members the rest: 0 for one subject, a half for five."""
    return (subjects - 1) / (subjects - 1 + HALFWAY)


def nested_shrunk(seen: Sequence[StackingInput], trust: float, prior: Collection[str] = ()) -> list[FoldValues]:
    """Return each part predicted by the shrunk corrector that was fitted on the others; see `shrunk_stacker`.

    Nothing is chosen: on so few subjects the weights are those of all parts together, along a set number of axes, under the
    strongest pull.
    """
    out = []
    for at, one in enumerate(seen):
        others = [other for place, other in enumerate(seen) if place != at]
        stacker = shrunk_stacker(others, Basis.of([other.truth for other in others]), TRAVEL_AXES, max(SHRINK), trust, prior)
        out.append(stacker.apply(one.predictions))
    return out


LEAST = 2
"""Spots that can be trained on, at least: one alone leaves nothing to compare it with."""
PARTS = 4
"""Parts that a single training section is divided into, as blocks."""


@final
@dataclass(frozen=True, slots=True)
class Fold:
    """What is left out once, and what is trained on meanwhile; rows count through all training sections."""

    name: str
    held: Int64[np.ndarray, " held"]
    rest: Int64[np.ndarray, " rest"]


def parts_of(run: Run, sections: Sequence[Section], folds: int | None = None) -> list[Fold]:
    """Divide training tissue as the run's own split does: by patient where several were trained on, else by section.

    A single section is divided into spatial blocks with the run's margin between them, which pooling needs no wider: counts
    are pooled within the blocks and within the rest, as in `bleep.split`. With `folds`, patients or sections are left out
    together, in that many parts.

    Raises:
        ConfigError: fewer than two parts were asked for.
        DataError: the tissue cannot be divided.

    """
    if folds is not None and folds < 2:
        raise ConfigError(f"--folds {folds}: expected 2 or more")
    if len(sections) == 1:
        return _blocks(run, sections[0], folds or PARTS)
    patients = sorted({section.patient for section in sections})
    by_patient = run.config.data.split == "patient" and len(patients) > 1
    group = [section.patient if by_patient else section.name for section in sections]
    names = sorted(set(group))
    of_spot = np.repeat(np.arange(len(sections)), [len(section) for section in sections])
    parts = []
    for together in np.array_split(np.array(names), min(folds or len(names), len(names))):
        held = np.isin(np.array(group)[of_spot], together)
        rest = _rest(run, sections, held)
        if np.count_nonzero(rest) < LEAST:
            raise DataError(
                f"leaving out {', '.join(together)} leaves {np.count_nonzero(rest)} of {len(held)} training spots, too few to "
                f"rehearse on: expected {LEAST} or more; train on more tissue"
            )
        parts.append(Fold(", ".join(together), np.flatnonzero(held), np.flatnonzero(rest)))
    return parts


def _rest(run: Run, sections: Sequence[Section], held: Bool[np.ndarray, " spots"]) -> Bool[np.ndarray, " spots"]:
    """Return what is trained on while some spots are left out: within a single section the margin around them is not."""
    return ~held if len(sections) > 1 else ~held & ~near_spots(sections[0], held, run.config.data.margin)


def taken(sections: Sequence[Section], rows: Rows) -> tuple[Section, ...]:
    """Return the sections with these of their spots alone, rows counted through all of them."""
    found, start = [], 0
    for section in sections:
        mine = rows[(rows >= start) & (rows < start + len(section))] - start
        if len(mine):
            found.append(section if len(mine) == len(section) else section.subset(mine))
        start += len(section)
    return tuple(found)


def truth_of(run: Run, sections: Sequence[Section], part: OutOfFold, whole: FoldValues) -> FoldValues:
    """Return a part's rows of `whole`, the values of all spots; within one section counts are pooled in the part alone."""
    if len(sections) > 1 or not run.panel.pool:
        return whole[part.rows]
    return np.concatenate([run.panel.values(section) for section in taken(sections, part.rows)])


def seen_without(run: Run, sections: Sequence[Section], part: OutOfFold) -> tuple[Rows, GenePanel] | None:
    """Return the rows of what was trained on without a part, and the panel measured on it.

    None: the rest has the same values beside the part as without it, as neither correction nor pooling joins them.
    """
    if run.panel.batch is None and (len(sections) > 1 or not run.panel.pool):
        return None
    held = np.zeros(sum(map(len, sections)), bool)
    held[part.rows] = True
    rest = np.flatnonzero(_rest(run, sections, held))
    return rest, run.panel.refitted(taken(sections, rest), run.config.panel)


def values_without(sections: Sequence[Section], rest: Rows, panel: GenePanel) -> Values:
    """Return a table of all spots with the values that the rest had while a part was left out; other spots have 0."""
    values = np.zeros((sum(map(len, sections)), len(panel.genes)), np.float32)
    at = 0
    for section in taken(sections, rest):
        values[rest[at : at + len(section)]] = panel.training_values(section)
        at += len(section)
    return values


def _blocks(run: Run, section: Section, count: int) -> list[Fold]:
    if not section.has_positions:
        raise DataError(
            f"section {section.name}: is the only one that was trained on, and ready-cut tiles have no places to divide it by; "
            "train on two sections or more to calibrate"
        )
    place = blocks_of(section, run.config.data.blocks, count)
    parts = []
    for number in np.unique(place):
        held = place == number
        rest = _rest(run, (section,), held)
        if held.any() and np.count_nonzero(rest) >= LEAST:
            parts.append(Fold(f"{section.name}, block {number + 1}", np.flatnonzero(held), np.flatnonzero(rest)))
    if len(parts) < 2:
        nearer = "with a lower data.margin, or " if run.config.data.margin else ""
        raise DataError(
            f"section {section.name}: its {len(section)} spots cannot be divided into blocks of which each leaves {LEAST} or "
            f"more to rehearse on; train {nearer}on more tissue"
        )
    return parts
