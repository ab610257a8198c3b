"""A contest's tables: submission, truth and training values, read and held against each other."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import pandas as pd
from jaxtyping import Float32

from bleep.errors import DataError, MismatchError
from bleep.tissue.sources.folder import WORDS
from bleep.tissue.sources.tables import numeric, read_table


@final
@dataclass(frozen=True, slots=True)
class ContestTable:
    """Values by sample and gene."""

    path: Path
    ids: tuple[str, ...]
    genes: tuple[str, ...]
    values: Float32[np.ndarray, "samples genes"]

    @classmethod
    def read(cls, path: Path) -> "ContestTable":
        """Read a CSV of `ID, GENE...`; columns that say where a tile is are passed over.

        Raises:
            DataError: the file is no such table, an ID stands twice, or a value is missing or no number.

        """
        table = read_table(path, ",", ("ID",), dtype=dict.fromkeys(WORDS, str))
        if table["ID"].isna().any():
            raise DataError(f"{path}: line {int(np.argmax(table['ID'].isna())) + 2} has no ID; expected one on every line")
        ids = pd.Index(table["ID"])
        if not ids.is_unique:
            raise DataError(f"{path}: ID {ids[ids.duplicated()][0]!r} stands more than once; each must stand once")
        genes = [name for name in table.columns if name not in WORDS]
        if not genes:
            raise DataError(f"{path}: has no gene; expected a column for each")
        values = numeric(table[genes], path).to_numpy(np.float32)
        bad = ~np.isfinite(values)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise DataError(f"{path}: ID {ids[row]!r} has no number for gene {genes[column]!r}; every cell must hold one")
        return cls(path, tuple(ids), tuple(genes), values)

    def check_same(self, truth: "ContestTable") -> None:
        """Refuse a submission whose IDs or genes are not those of the truth, or stand in another order.

        Raises:
            MismatchError: both files are named.

        """
        for what, mine, theirs in (("IDs", self.ids, truth.ids), ("genes", self.genes, truth.genes)):
            check_order(what, (self.path, mine), (truth.path, theirs))

    def columns(self, genes: tuple[str, ...]) -> Float32[np.ndarray, "samples some"]:
        """Return the values of these genes, in their order.

        Raises:
            MismatchError: some are not here.

        """
        places = pd.Index(self.genes).get_indexer(pd.Index(genes))
        if (places < 0).any():
            first = genes[int(np.argmax(places < 0))]
            raise MismatchError(f"{self.path}: lacks {int((places < 0).sum())} of {len(genes)} genes, first {first!r}")
        return self.values[:, places]


def check_order(what: str, mine: tuple[Path, tuple[str, ...]], theirs: tuple[Path, tuple[str, ...]]) -> None:
    """Refuse names that are not those expected, or are in another order.

    Raises:
        MismatchError: what is missing, more or moved, and where.

    """
    (path, found), (other, expected) = mine, theirs
    missing, more = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing:
        raise MismatchError(f"{path}: lacks {len(missing)} of the {len(expected)} {what} of {other}, first {missing[0]!r}")
    if more:
        raise MismatchError(f"{path}: has {len(more)} {what} that {other} has not, first {more[0]!r}")
    if found != expected:
        place = next(at for at, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1])
        raise MismatchError(
            f"{path}: its {what} stand in another order than those of {other}: number {place + 1} is {found[place]!r}, "
            f"expected {expected[place]!r}; write them in that order"
        )
