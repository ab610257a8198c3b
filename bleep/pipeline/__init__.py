"""The stages joined: fit, build a reference, query, evaluate, compare. Commands call these and print."""

from bleep.pipeline.comparing import compare, evaluate, score_all
from bleep.pipeline.fitting import fit, is_main_process, load_split
from bleep.pipeline.predicting import baselines_of, best_device, build_reference, open_tiles, predictors_of, query

__all__ = [
    "baselines_of",
    "best_device",
    "build_reference",
    "compare",
    "evaluate",
    "fit",
    "is_main_process",
    "load_split",
    "open_tiles",
    "predictors_of",
    "query",
    "score_all",
]
