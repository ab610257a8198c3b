"""Look at tissue before anything is trained: measures of each section, and what is wrong with it or does not fit."""

from bleep.data.qc.cohort_rules import across
from bleep.data.qc.label_rules import labelling
from bleep.data.qc.measures import Measures, measure
from bleep.data.qc.report import Check, Finding, as_text
from bleep.data.qc.section_rules import alone

__all__ = ["Check", "Finding", "Measures", "across", "alone", "as_text", "labelling", "measure"]
