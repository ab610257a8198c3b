"""Every setting, in one frozen typed tree; the text under a field is its help, its docs line and its hint."""

from bleep.config.config import Config, describe_fields
from bleep.config.data import DataConfig, PaddingName, SourceName, SplitName, TilesConfig
from bleep.config.model import (
    BeforeName,
    ExpressionConfig,
    HeadConfig,
    ImageConfig,
    LayersName,
    PrecisionName,
    StainName,
    TrainName,
)
from bleep.config.panel import BatchName, ChoiceName, NormaliseName, PanelConfig, ScaleName
from bleep.config.prediction import ABSTAIN, GpuName, GpusName, IndexConfig, KindName, QueryConfig, StoreName, WeightsName
from bleep.config.training import (
    FormName,
    LossConfig,
    OptimConfig,
    OptimizerName,
    ScheduleName,
    TargetsName,
    TaskName,
    TermName,
    TrackerName,
)

__all__ = [
    "ABSTAIN",
    "BatchName",
    "BeforeName",
    "ChoiceName",
    "Config",
    "DataConfig",
    "ExpressionConfig",
    "FormName",
    "GpuName",
    "GpusName",
    "HeadConfig",
    "ImageConfig",
    "IndexConfig",
    "KindName",
    "LayersName",
    "LossConfig",
    "NormaliseName",
    "OptimConfig",
    "OptimizerName",
    "PaddingName",
    "PanelConfig",
    "PrecisionName",
    "QueryConfig",
    "ScaleName",
    "ScheduleName",
    "SourceName",
    "SplitName",
    "StainName",
    "StoreName",
    "TargetsName",
    "TaskName",
    "TermName",
    "TilesConfig",
    "TrackerName",
    "TrainName",
    "WeightsName",
    "describe_fields",
]
