"""Every setting, in one frozen typed tree; the text under a field is its help, its docs line and its hint."""

from bleep.settings.data import DataConfig, PaddingName, SourceName, SplitName, TilesConfig
from bleep.settings.model import ExpressionConfig, HeadConfig, ImageConfig, TrainName
from bleep.settings.panel import BatchName, ChoiceName, NormaliseName, PanelConfig, ScaleName
from bleep.settings.prediction import IndexConfig, QueryConfig, WeightsName
from bleep.settings.training import LossConfig, OptimConfig, ScheduleName, TargetsName, TaskName, TrackerName
from bleep.settings.tree import Config, describe_fields

__all__ = [
    "BatchName",
    "ChoiceName",
    "Config",
    "DataConfig",
    "ExpressionConfig",
    "HeadConfig",
    "ImageConfig",
    "IndexConfig",
    "LossConfig",
    "NormaliseName",
    "OptimConfig",
    "PaddingName",
    "PanelConfig",
    "QueryConfig",
    "ScaleName",
    "ScheduleName",
    "SourceName",
    "SplitName",
    "TargetsName",
    "TaskName",
    "TilesConfig",
    "TrackerName",
    "TrainName",
    "WeightsName",
    "describe_fields",
]
