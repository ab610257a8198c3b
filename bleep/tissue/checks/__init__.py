"""Look at tissue before anything is trained: measures of each section, and what is wrong with it or does not fit."""

from bleep.tissue.checks.across import across
from bleep.tissue.checks.alone import alone
from bleep.tissue.checks.finding import Finding
from bleep.tissue.checks.measures import Measures, measure
from bleep.tissue.checks.report import Check, as_text

__all__ = ["Check", "Finding", "Measures", "across", "alone", "as_text", "measure"]
