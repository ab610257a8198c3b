"""Two predictors on the same sections: is one better, or was it luck, by a test over sections."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd

from bleep.records import Contrast, Scorecard

RESAMPLES, SEED = 10_000, 0
"""Resamples, and where their random numbers start, so that the same scores give the same interval."""


def section_interval(scores: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Return the interval of the mean when sections are drawn with replacement (Efron, Ann Stat 1979).

    Spots of one section are alike, so they are never drawn singly. With one section nothing is known of others, and both
    ends are not a number. With few sections the interval is too narrow: four allow no more than 35 different means.
    """
    known = np.array([score for score in scores if np.isfinite(score)])
    if len(known) < 2:
        return float("nan"), float("nan")
    rows = np.random.default_rng(SEED).integers(len(known), size=(RESAMPLES, len(known)))
    low, high = np.quantile(known[rows].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


EXACT, SIGN_FLIPS = 14, 20_000
"""Up to this many sections all flips of sign are tried; beyond, this many at random."""


def contrast(cards: Sequence[Scorecard], first: str, second: str, score: str = "pcc") -> Contrast:
    """Compare two predictors section by section, each section's score the mean over its genes and seeds.

    The p-value is of the sign-flip permutation test over sections: if the two were alike, each section's difference could as
    well have the other sign. Spots and genes of one section are not independent, so they are not counted as evidence. With n
    sections no p-value is below 2 / 2^n; with one there is none.
    """
    flat = pd.DataFrame(
        [
            {"predictor": c.predictor, "section": c.section, "part": c.part, score: c.summary.get(score, np.nan)}
            for c in cards
            if c.predictor in (first, second)
        ],
        columns=["predictor", "section", "part", score],
    )
    # Blocks of one section are paired one by one: a predictor that lacks some is compared on those that both have.
    wide = flat.pivot_table(index=["section", "part"], columns="predictor", values=score, sort=False, dropna=False)
    both = wide.reindex(columns=[first, second]).dropna()
    gaps = (both[first] - both[second]).groupby("section", sort=False).mean().to_numpy(np.float64)
    low, high = section_interval(gaps.tolist())
    return Contrast(
        first=first,
        second=second,
        score=score,
        difference=float(gaps.mean()) if len(gaps) else float("nan"),
        low=low,
        high=high,
        sections=len(gaps),
        better=int((gaps > 0).sum()),
        ties=int((gaps == 0).sum()),
        p_value=sign_flip(gaps) if len(gaps) > 1 else None,
    )


def turned(found: Contrast) -> Contrast:
    """Return the same comparison, told from the second predictor's side."""
    return replace(
        found,
        first=found.second,
        second=found.first,
        difference=-found.difference,
        low=-found.high,
        high=-found.low,
        better=found.sections - found.better - found.ties,
    )


def sign_flip(gaps: np.ndarray) -> float:
    """Return the two-sided p-value of a mean difference under random flips of sign (Fisher, 1935)."""
    many = len(gaps)
    if many <= EXACT:
        signs = np.array(list(product((1.0, -1.0), repeat=many)))
        extra = 0
    else:
        signs = np.random.default_rng(SEED).choice((1.0, -1.0), size=(SIGN_FLIPS, many))
        extra = 1
    # Rounding must not make a flip that equals the finding look smaller than it.
    as_far = np.abs(signs @ gaps) >= abs(gaps.sum()) - 1e-12 * np.abs(gaps).sum()
    return float((as_far.sum() + extra) / (len(signs) + extra))


def words(found: Contrast) -> str:
    """Say a comparison in a sentence."""
    start = f"{found.first} - {found.second}: {found.difference:+.3f} {found.score}"
    if found.p_value is None:
        return f"{start}; {'one section' if found.sections == 1 else 'no section in common'}, so no p-value can be given"
    least = 2 / 2**found.sections
    note = f", the least possible with {found.sections} sections" if found.p_value <= least * 1.001 else ""
    return (
        f"{start} [{found.low:+.3f}, {found.high:+.3f}], better on {found.better} of {found.sections} sections, "
        f"p = {found.p_value:.2g}{note}"
    )
