"""References of version 0.1, and tables of spots: read, or refused when damaged."""

from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd

from bleep.errors import DataError
from bleep.prediction.expression import DenseExpression
from bleep.prediction.search import FlatIndex


def open_first(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """Read the first format (index.faiss, spots.h5ad), and return the parts of a reference by name.

    Raises:
        DataError: a file is missing or damaged.

    """
    index, path = FlatIndex.load(folder / "index.faiss"), folder / "spots.h5ad"
    try:
        data = anndata.read_h5ad(path)
    except (OSError, KeyError, ValueError):
        raise _unreadable(path) from None
    spots = data.obs
    patients = spots.groupby("section", observed=True)["patient"].first()
    sections = [
        {
            "name": str(name),
            "patient": str(patients[name]),
            "spots": int((spots["section"] == name).sum()),
            "digest": "",
            "picture": "",
            "origin": "training",
        }
        for name in manifest["sections"]
    ]
    recall = {"recall": manifest["recall_at_10"], "k": 10, "queries": min(200, len(spots)), "queries_are": "stored vectors"}
    facts = {
        "sections": sections,
        "genes": list(data.var_names),
        "expression": {"form": "dense", "why": "written by version 0.1"},
        "measured": recall,
        "why": "the only kind of version 0.1",
    }
    kept = {key: value for key, value in manifest.items() if key != "recall_at_10"}
    return {
        "index": index,
        "vectors": index.vectors,
        "expression": DenseExpression(np.asarray(data.X, dtype=np.float32)),
        "spots": spots.astype(PLAIN),
        "queries": index.vectors[:0],
        "manifest": {**kept, **facts},
    }


PLAIN = {"section": str, "spot": str, "patient": str}
"""AnnData makes categories of these."""


def read_table(path: Path) -> pd.DataFrame:
    """Read a table of spots.

    Raises:
        DataError: it is missing, damaged, or no such table.

    """
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError):
        raise _unreadable(path) from None
    if not {"section", "spot", "patient", "x", "y"} <= set(table.columns):
        raise DataError(f"{path}: lacks columns of a table of spots; make it again with `bleep index build`")
    return table


def _unreadable(path: Path) -> DataError:
    state = "is damaged" if path.exists() else "is not there"
    return DataError(f"{path}: {state}; make it again with `bleep index build`")
