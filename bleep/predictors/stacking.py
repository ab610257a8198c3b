"""The corrector: per gene, how much of each member's prediction to believe, fitted on out-of-fold predictions.

Predictions are read in standard deviations from the training mean, and in two parts: what lies along the leading principal
axes of the training expression, and what is left beside them. Each part of each member has a weight of 0 or more, so a
part that foretells nothing is shrunk to the mean.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from jaxtyping import Float32, Float64, Shaped

from bleep.data.panel import SINGLE
from bleep.errors import MismatchError

Values = Float32[np.ndarray, "spots genes"]
FoldValues = Float32[np.ndarray, "_ genes"]
"""Values of one part of several, each of its own length."""
Members = Mapping[str, Shaped[np.ndarray, "tiles genes"]]

AXES = (0, 5, 10, 20, 40)
"""Numbers of principal axes tried."""
Leading = int | tuple[int, ...]
"""A number of leading axes, or several, over which what lies along them is averaged: the first axes then count for most."""
SHRINK = (1.0, 10.0, 100.0)
"""Strengths tried of the pull of each gene's weights towards those of all genes; 1 is as much as the data say."""


POWER = 4
"""The mean that fitted weights lean to counts members by this power of their agreement with left-out tissue: see travel.md."""
LEAST_SPREAD = 1e-3
"""Spread of a member, in standard deviations of the training values, below which the mean of members leaves it out."""


@final
@dataclass(frozen=True, slots=True)
class StackingInput:
    """What members predicted of spots they had not seen, and what was measured there."""

    predictions: Mapping[str, Values]
    """By member."""
    truth: Values
    mean: Float64[np.ndarray, " genes"]
    """Mean of the spots the members were fitted on."""


@final
@dataclass(frozen=True, slots=True)
class Stacker:
    """Weights of members, gene by gene."""

    members: tuple[str, ...]
    mean: Float64[np.ndarray, " genes"]
    """Mean of the training spots."""
    spread: Float64[np.ndarray, " genes"]
    """Standard deviation within training sections."""
    axes: Float64[np.ndarray, "axes genes"]
    """Leading principal axes of the training values in these units, orthogonal; the squared length is how much each counts."""
    weights: Float64[np.ndarray, "parts genes"]
    """For each member its weight along the axes, then for each its weight beside them."""

    @property
    def counted(self) -> tuple[str, ...]:
        """The members that have a weight for any gene."""
        has = (self.weights.reshape(2, len(self.members), -1) != 0).any(axis=(0, 2))
        return tuple(name for name, weighed in zip(self.members, has, strict=True) if weighed)

    @property
    def needed(self) -> tuple[str, ...]:
        """The members without which nothing can be corrected: those that count, or all where none does."""
        return self.counted or self.members

    def apply(self, predictions: Members) -> Shaped[np.ndarray, "tiles genes"]:
        """Return the corrected prediction.

        Only the members that are `needed` must be given.

        Raises:
            MismatchError: a member is missing.

        """
        needed = self.needed
        missing = [name for name in needed if name not in predictions]
        if missing:
            raise MismatchError(f"the corrector joins {', '.join(needed)}, but {missing[0]} was not given")
        rows = [at for at, name in enumerate(self.members) if name in needed]
        parts = _parts([(predictions[self.members[at]] - self.mean) / self.spread for at in rows], self.axes)
        combined = np.einsum("png,pg->ng", parts, self.weights[[*rows, *(at + len(self.members) for at in rows)]])
        out: np.ndarray = (combined * self.spread + self.mean).astype(np.float32)
        return out


@final
@dataclass(frozen=True, slots=True)
class Basis:
    """The units and axes of training values."""

    mean: Float64[np.ndarray, " genes"]
    spread: Float64[np.ndarray, " genes"]
    axes: Float64[np.ndarray, "axes genes"]

    @classmethod
    def of(cls, tables: Sequence[FoldValues]) -> "Basis":
        """Measure them over the values of some sections, each less its own mean, so that axes are not those of sections."""
        within = np.concatenate([table - table.mean(axis=0, dtype=np.float64) for table in tables])
        spread, largest = within.std(axis=0), np.max([np.abs(table).max(axis=0, initial=0.0) for table in tables], axis=0)
        # What rounding makes of equal numbers is no spread to divide by, whatever unit values are in.
        spread = np.where(spread > SINGLE * largest, spread, 1.0)
        unit = within / spread
        # The axes of the smaller Gram matrix cost least, and only the leading ones are wanted.
        wide = unit.shape[1] > unit.shape[0]
        _, vectors = np.linalg.eigh(unit @ unit.T if wide else unit.T @ unit)
        leading = vectors[:, ::-1][:, : max(AXES)]
        axes = (unit.T @ leading).T if wide else leading.T
        size = np.linalg.norm(axes, axis=1, keepdims=True)
        axes = axes[size[:, 0] > 1e-6] / size[size[:, 0] > 1e-6]
        return cls(np.concatenate(tables).mean(axis=0, dtype=np.float64), spread, axes)

    def leading(self, numbers: Leading) -> Float64[np.ndarray, "axes genes"]:
        """Return the leading axes; for several numbers, so long that what lies along them is the mean over those numbers."""
        counts = numbers if isinstance(numbers, tuple) else (numbers,)
        share = np.mean([np.arange(len(self.axes)) < count for count in counts], axis=0)
        scaled: np.ndarray = (self.axes * np.sqrt(share)[:, None])[share > 0]
        return scaled


def fit_stacker(seen: Sequence[StackingInput], basis: Basis, axes: Leading, shrink: float) -> Stacker:
    """Fit weights of 0 or more that make squared error within sections least.

    First one weight for each part of each member over all genes; then each gene's own, pulled towards those by `shrink`
    times the part's mean square.
    """
    members = tuple(seen[0].predictions)
    kept = basis.leading(axes)
    gram: Any = 0.0
    cross: Any = 0.0
    for one in seen:
        units = [_within(one.predictions[name], basis) for name in members]
        parts, truth = _parts(units, kept), _within(one.truth, basis)
        gram = gram + np.einsum("png,qng->gpq", parts, parts)
        cross = cross + np.einsum("png,ng->gp", parts, truth)
    shared = _least_squares(gram.sum(axis=0), cross.sum(axis=0))
    pull = shrink * np.trace(gram, axis1=1, axis2=2) / gram.shape[1]
    own = [
        _least_squares(one + strength * np.eye(len(shared)), towards + strength * shared)
        for one, towards, strength in zip(gram, cross, pull, strict=True)
    ]
    return Stacker(members, basis.mean, basis.spread, kept, np.stack(own, axis=1))


def _within(values: Values, basis: Basis) -> Float64[np.ndarray, "spots genes"]:
    within: np.ndarray = (values - values.mean(axis=0, dtype=np.float64)) / basis.spread
    return within


def _parts(units: Sequence[np.ndarray], axes: np.ndarray) -> Float64[np.ndarray, "parts tiles genes"]:
    """Return what of each member lies along the axes, then what lies beside them; without axes all lies beside."""
    stacked = np.stack(units).astype(np.float64)
    along = (stacked @ axes.T) @ axes
    return np.concatenate([along, stacked - along])


def _least_squares(gram: np.ndarray, cross: np.ndarray) -> Float64[np.ndarray, " parts"]:
    """Return the weights of 0 or more of least squared error (Lawson and Hanson, Solving Least Squares Problems, 1974)."""
    ridge = 1e-9 * max(np.trace(gram), 1e-12) * np.eye(len(gram))
    lower = np.linalg.cholesky(gram + ridge)
    from scipy.optimize import nnls  # here, since a query learns no weights and importing it takes its time

    out: np.ndarray = nnls(lower.T, np.linalg.solve(lower, cross))[0]
    return out


def plain_stacker(seen: Sequence[StackingInput], basis: Basis, axes: Leading, prior: Collection[str] = ()) -> Stacker:
    """Return a mean of standardised members: each divided by its own spread over all genes on left-out tissue.

    Each counts by its agreement with that tissue, to the power of `POWER`: the mean is all but plain among equals, and leaves
    out what fails. With a `prior`, the others of the members have weight 0, unless it names none of them. With axes, only what
    of each member lies along them counts: what is foretold beside the leading axes of expression is mostly noise on another
    subject.

    Correlation does not depend on how long the mean is; squared error does, so each gene's length is that of least squares,
    pulled half way towards that of all genes, and never below a tenth of it.
    """
    members, along = tuple(seen[0].predictions), basis.leading(axes)
    units = [np.concatenate([_within(one.predictions[name], basis) for one in seen]) for name in members]
    units = [unit @ along.T @ along for unit in units] if axes else units
    spreads = np.array([[float(unit.std())] for unit in units])
    # A member that hardly varies has no say, rather than its noise and its level enlarged.
    spreads[spreads < LEAST_SPREAD] = np.inf
    counted = [name in prior for name in members] if set(prior) & set(members) else [True] * len(members)
    truth = np.concatenate([_within(one.truth, basis) for one in seen])
    share = np.array(counted) * np.array([max(_agreement(unit, truth), 1e-3) ** POWER for unit in units])
    share = share / share.sum()
    mean = sum(part * unit / spread for part, unit, spread in zip(share, units, spreads, strict=True) if part)
    gram, cross = (mean**2).sum(axis=0), (mean * truth).sum(axis=0)
    shared = max(float(cross.sum() / max(gram.sum(), 1e-12)), 1e-3)
    pull = gram.mean()
    length = np.maximum((cross + pull * shared) / np.maximum(gram + pull, 1e-12), 0.1 * shared)
    weights = share[:, None] / spreads * length
    return Stacker(members, basis.mean, basis.spread, along, np.concatenate([weights, 0 * weights if axes else weights]))


def _agreement(unit: np.ndarray, truth: np.ndarray) -> float:
    """Return the correlation within left-out parts, whose means are taken off, mean over the genes that vary."""
    size = np.sqrt((unit**2).sum(axis=0) * (truth**2).sum(axis=0))
    return float(((unit * truth).sum(axis=0)[size > 0] / size[size > 0]).mean()) if (size > 0).any() else 0.0


def shrunk_stacker(
    seen: Sequence[StackingInput], basis: Basis, axes: Leading, shrink: float, trust: float, prior: Collection[str] = ()
) -> Stacker:
    """Return fitted weights shrunk towards the mean of standardised members: `trust` 1 leaves them as fitted, 0 the mean.

    The mean is that of `plain_stacker`, over the members that `prior` names, if it names any.

    Left-out subjects are few, so that weights fitted on them say little of the next subject (James and Stein 1961 of means).
    """
    fitted = fit_stacker(seen, basis, axes, shrink)
    if trust == 1:
        return fitted
    plain = plain_stacker(seen, basis, axes, prior)
    return replace(fitted, weights=trust * fitted.weights + (1 - trust) * plain.weights)
