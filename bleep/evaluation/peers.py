"""What others have published, from a table with its sources: told only where protocol and test sections are the same."""

from collections.abc import Collection
from functools import lru_cache
from pathlib import Path

import pandas as pd

TABLE = Path(__file__).with_name("published.tsv")
"""protocol, method, part (`all` or one section), score, value, trained_on, source."""
WHOLE = "all"
"""A part that is the whole result."""


@lru_cache(maxsize=1)
def published() -> pd.DataFrame:
    """Return the table."""
    return pd.read_csv(TABLE, sep="\t", comment="#", dtype={"part": str})


def beside(protocol: str, sections: Collection[str], *, whole: bool) -> pd.DataFrame | None:
    """Return what may stand beside a result of a protocol: rows of its test sections, and of the whole if it is whole.

    None where nothing may.
    """
    table = published()
    mine = (table["protocol"] == protocol) & (table["part"].isin(list(sections)) | ((table["part"] == WHOLE) & whole))
    return table[mine].reset_index(drop=True) if mine.any() else None


def lines(rows: pd.DataFrame | None) -> list[str]:
    """Say them, one line a method and score."""
    if rows is None:
        return []
    found = []
    for (method, score, trained, source), group in rows.groupby(["method", "score", "trained_on", "source"], sort=False):
        values = ", ".join(f"{part} {value:.3f}" for part, value in zip(group["part"], group["value"], strict=True))
        mean = f" (mean {group['value'].mean():.3f})" if len(group) > 1 else ""
        found.append(f"published, {method}, {score}: {values}{mean}; trained on {trained}; {source}")
    return found
