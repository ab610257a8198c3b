"""Predictions as files, by suffix."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from bleep.errors import ConfigError
from bleep.files import whole
from bleep.records import Prediction

TABLES: Mapping[str, Callable[[pd.DataFrame, Path], object]] = {
    ".csv": lambda table, path: table.to_csv(path, index=False),
    ".parquet": lambda table, path: table.to_parquet(path, index=False),
}


def write_prediction(prediction: Prediction, path: Path) -> None:
    """Write h5ad, CSV or parquet by the suffix, whole or not at all.

    Raises:
        ConfigError: the suffix is none of these.

    """
    if path.suffix == ".h5ad":
        with whole(path) as temporary:
            prediction.to_anndata().write_h5ad(temporary)
    else:
        write_table(prediction.to_frame(), path)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write CSV or parquet by the suffix, whole or not at all.

    Raises:
        ConfigError: the suffix is neither.

    """
    if path.suffix not in TABLES:
        raise ConfigError(f"{path}: expected a name ending in .h5ad, {', '.join(TABLES)}")
    with whole(path) as temporary:
        TABLES[path.suffix](table, temporary)
