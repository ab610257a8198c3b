"""How many digits of a score are shown, and kept in files."""

import math

OF_UNIT = ("mse", "mae", "width", "metric:")
"""How scores begin that are in the unit of values, or its square, or may be: those of shares of a total are tiny."""
SMALL = 0.01
"""Below it they are told by their digits, not by places, of which one at most would be left."""


def words_of(score: str, value: float, spread: float = math.nan, places: int = 3) -> str:
    """Return a score, and its spread where it has one, for people to read.

    >>> words_of("mse", 0.312345), words_of("mse", 6.4123e-05, 2e-06), words_of("pcc", 0.0004)
    ('0.312', '6.41e-05 ± 2e-06', '0.000')

    """
    form = ".3g" if _is_small(score, value) else f".{places}f"
    return f"{value:{form}}" if math.isnan(spread) else f"{value:{form}} ± {spread:{form}}"


def to_digits(score: str, value: float) -> float:
    """Return a score, or its spread, as files keep it: to six places, or four digits where it is small."""
    return float(f"{value:.4g}") if _is_small(score, value) else round(value, 6)


def _is_small(score: str, value: float) -> bool:
    return score.startswith(OF_UNIT) and bool(0 < abs(value) < SMALL)
