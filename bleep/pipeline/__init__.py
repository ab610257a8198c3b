"""The stages joined: fit, build a reference, query, evaluate, compare. Commands call these and print."""

from bleep.pipeline.calibrating import calibrate
from bleep.pipeline.checking import check
from bleep.pipeline.comparing import compare, evaluate, score_all
from bleep.pipeline.ensembling import fitted, open_any, open_ensemble, open_run, save_ensemble
from bleep.pipeline.explaining import explain, save_explanations
from bleep.pipeline.fitting import fit, is_main_process, load_split
from bleep.pipeline.predicting import (
    baselines_of,
    best_device,
    build_reference,
    help_build_reference,
    open_predictor,
    open_tiles,
    predict,
    predictors_of,
    query,
    share_features,
    warn_of_trained,
)
from bleep.pipeline.streaming import Output, Query, check_query, stream, write_query
from bleep.pipeline.whole_slides import mask_places, open_slides, save_masks

__all__ = [
    "Output",
    "Query",
    "baselines_of",
    "best_device",
    "build_reference",
    "calibrate",
    "check",
    "check_query",
    "compare",
    "evaluate",
    "explain",
    "fit",
    "fitted",
    "help_build_reference",
    "is_main_process",
    "load_split",
    "mask_places",
    "open_any",
    "open_ensemble",
    "open_predictor",
    "open_run",
    "open_slides",
    "open_tiles",
    "predict",
    "predictors_of",
    "query",
    "save_ensemble",
    "save_explanations",
    "save_masks",
    "score_all",
    "share_features",
    "stream",
    "warn_of_trained",
    "write_query",
]
