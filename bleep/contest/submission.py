"""A prediction as a contest's submission: the IDs, the genes and the header of its sample, byte for byte."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int, Int64

from bleep.errors import DataError, MismatchError
from bleep.files import whole

SAMPLE = "sample_submission.csv"
"""Name by which a sample is found beside the CSV of the tiles."""


def find_sample(images: Path | None, out: Path, given: Path | None) -> Path | None:
    """Return the sample that a submission follows: the one given, else one beside the CSV of the tiles, for a CSV to write.

    Raises:
        DataError: a sample was given, but what is written is no CSV.

    """
    if given is not None:
        if out.suffix != ".csv":
            raise DataError(f"--out {out}: a submission is a CSV; expected a name ending in .csv beside --sample")
        return given
    if images is None or images.suffix != ".csv" or out.suffix != ".csv":
        return None
    beside = images.parent / SAMPLE
    return beside if beside.is_file() else None


@final
@dataclass(frozen=True, slots=True)
class Submission:
    """What a sample asks for, found among what is predicted."""

    sample: Path
    header: bytes
    """First line of the sample, without its end."""
    ids: tuple[str, ...]
    genes: tuple[str, ...]
    rows: Int[np.ndarray, " ids"]
    """The tile of each ID."""
    columns: Int[np.ndarray, " genes"]
    """The predicted column of each gene."""

    @classmethod
    def of(cls, sample: Path, spots: Sequence[str], genes: Sequence[str]) -> "Submission":
        """Match a sample with the spots and genes that are predicted.

        Raises:
            DataError: the sample is no table whose first column is `ID`.
            MismatchError: the sample's IDs are not the spots, or it asks for a gene that is not predicted.

        """
        header, asked, ids = _read_sample(sample)
        more = sorted(set(spots) - set(ids))
        if more:
            raise MismatchError(f"{sample}: lacks {len(more)} of the {len(spots)} IDs of the tiles, first {more[0]!r}")
        rows, columns = _places("IDs", spots, ids, sample), _places("genes", genes, asked, sample)
        return cls(sample, header, tuple(ids), tuple(asked), rows, columns)

    def write(self, expression: Float32[np.ndarray, "tiles predicted"], path: Path) -> None:
        """Write IDs and genes in the sample's order, under its own header, whole or not at all."""
        import pyarrow as pa
        import pyarrow.csv as arrow

        values = expression[self.rows]
        numbers = io.BytesIO()
        table = pa.table([pa.array(values[:, column]) for column in self.columns], list(self.genes))
        arrow.write_csv(table, numbers, arrow.WriteOptions(include_header=False))
        with whole(path) as temporary, temporary.open("wb") as file:
            file.write(self.header + b"\n")
            # Arrow would put every ID in quotes, needed or not.
            for name, row in zip(self.ids, numbers.getvalue().splitlines(), strict=True):
                file.write(_cell(name) + b"," + row + b"\n")

    def words(self) -> str:
        """Return what is written, in words."""
        return f"{len(self.ids)} IDs x {len(self.genes)} genes, in the order of {self.sample}"


def _read_sample(sample: Path) -> tuple[bytes, list[str], list[str]]:
    """Return the bytes of the header, its genes, and the IDs."""
    try:
        with sample.open("rb") as file:
            header = file.readline().rstrip(b"\r\n")
        names = next(csv.reader([header.decode("utf-8-sig")]), [])
        table = pd.read_csv(sample, usecols=["ID"], dtype=str, encoding="utf-8-sig") if "ID" in names else None
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{sample}: cannot be read as a sample submission ({str(error).splitlines()[0]})") from None
    if table is None or names[0] != "ID" or len(names) < 2:
        raise DataError(f"{sample}: begins with {', '.join(names[:3]) or 'nothing'}; expected a header of ID and genes")
    for what, found in (("gene", pd.Index(names[1:])), ("ID", pd.Index(table["ID"]))):
        if not found.is_unique or found.hasnans:
            odd = "an empty one" if found.hasnans else repr(found[found.duplicated()][0])
            raise DataError(f"{sample}: {what} {odd} stands more than once or says nothing; each must stand once")
    return header, names[1:], list(table["ID"])


def _cell(text: str) -> bytes:
    """Return a cell of a CSV, in quotes only where it needs them."""
    written = io.StringIO()
    csv.writer(written, lineterminator="").writerow([text])
    return written.getvalue().encode()


def _places(what: str, predicted: Sequence[str], asked: list[str], sample: Path) -> Int64[np.ndarray, " asked"]:
    index = pd.Index(predicted)
    if not index.is_unique:
        raise MismatchError(f"{index[index.duplicated()][0]!r} stands more than once among the {what} to predict")
    places = index.get_indexer(pd.Index(asked))
    if (places < 0).any():
        first = asked[int(np.argmax(places < 0))]
        raise MismatchError(
            f"{sample}: asks for {int((places < 0).sum())} {what} of {len(asked)} that are not predicted, first {first!r}; "
            "give the tiles and the run that the sample is of"
        )
    return places
