"""The stages joined: fit, build a reference, query, evaluate, compare. Commands call these and print."""

from bleep.pipeline.checking import check
from bleep.pipeline.comparing import compare, evaluate, score_all
from bleep.pipeline.fitting import fit, is_main_process, load_split
from bleep.pipeline.predicting import (
    baselines_of,
    best_device,
    build_reference,
    open_predictor,
    open_tiles,
    predict,
    predictors_of,
    query,
)
from bleep.pipeline.whole_slides import open_slides, save_masks

__all__ = [
    "baselines_of",
    "best_device",
    "build_reference",
    "check",
    "compare",
    "evaluate",
    "fit",
    "is_main_process",
    "load_split",
    "open_predictor",
    "open_slides",
    "open_tiles",
    "predict",
    "predictors_of",
    "query",
    "save_masks",
    "score_all",
]
