"""A contest's form: its score, and its submission."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Float64, Int, Int64

from bleep.data.normalize import GeneVector, ranked
from bleep.data.readers.folder import WORDS
from bleep.data.readers.tables import numeric, read_table
from bleep.errors import DataError, MismatchError
from bleep.evaluation.metrics import pearson
from bleep.files import whole

FORMULA = "max((samples + best gene + HEG + HVG) / 4, 0), each a Pearson r"
PARTS: Mapping[str, str] = {
    "samples": "r of each sample over the genes, mean over samples",
    "best_gene": "r of each gene over the samples, the highest of all",
    "heg": "r of each gene over the samples, mean over the list HEG",
    "hvg": "the same, mean over the list HVG",
}
"""The four parts, and what each is."""
CONSTANTS = "a prediction that does not vary has r = 0; a gene or sample whose true values do not vary is left out"

Column = Int[np.ndarray, " some"]


@final
@dataclass(frozen=True, slots=True)
class GeneLists:
    """The genes that two parts of the score are over."""

    heg: Column
    """Columns of highest mean, best first."""
    hvg: Column
    """Columns of highest coefficient of variation, best first."""
    source: str
    """What they were chosen on, in words."""

    @classmethod
    def of(cls, mean: GeneVector, variance: GeneVector, top: int, source: str) -> "GeneLists":
        """Choose the lists by the genes' mean and variance; where there are fewer genes than `top`, they are all in each."""
        return cls(ranked(mean, variance, "mean")[:top], ranked(mean, variance, "cv")[:top], source)

    def describe(self) -> str:
        """Return the rule in words."""
        return (
            f"HEG: the {len(self.heg)} genes of highest mean; HVG: the {len(self.hvg)} of highest coefficient of variation "
            f"(standard deviation over mean; genes of mean 0 or less come last), {self.source}"
        )


@final
@dataclass(frozen=True, slots=True)
class ContestScore:
    """The score and its parts."""

    parts: Mapping[str, float]
    """See `PARTS`."""
    best_gene: int
    """Column of the gene of the highest r."""
    skipped: tuple[int, int]
    """Samples and genes left out, because their true values do not vary."""

    @property
    def total(self) -> float:
        """The contest's number."""
        return max(sum(self.parts.values()) / len(self.parts), 0.0)


def contest_score(
    predicted: Float[np.ndarray, "samples genes"], measured: Float[np.ndarray, "true_samples true_genes"], lists: GeneLists
) -> ContestScore:
    """Score a prediction as the contest does.

    A prediction that does not vary has r = 0. Genes and samples whose true values do not vary are left out of their part.

    Raises:
        MismatchError: the shapes differ.
        DataError: a value is not a number, or a part has nothing that varies.

    """
    if predicted.shape != measured.shape:
        raise MismatchError(f"a prediction of shape {predicted.shape} meets true values of shape {measured.shape}")
    for what, values in (("prediction", predicted), ("truth", measured)):
        if not np.isfinite(values).all():
            raise DataError(f"the {what} holds {int((~np.isfinite(values)).sum())} values that are not numbers; mend them")
    by_sample, by_gene = pearson(predicted.T, measured.T), pearson(predicted, measured)
    found = {"samples": by_sample, "best_gene": by_gene, "heg": by_gene[lists.heg], "hvg": by_gene[lists.hvg]}
    for name, r in found.items():
        if np.isnan(r).all():
            raise DataError(f"the part {name!r} of the score is over true values that do not vary; give more samples or genes")
    parts = {name: float(np.nanmax(r) if name == "best_gene" else np.nanmean(r)) for name, r in found.items()}
    return ContestScore(parts, int(np.nanargmax(by_gene)), (int(np.isnan(by_sample).sum()), int(np.isnan(by_gene).sum())))


@final
@dataclass(frozen=True, slots=True)
class ContestTable:
    """Values by sample and gene."""

    path: Path
    ids: tuple[str, ...]
    genes: tuple[str, ...]
    values: Float64[np.ndarray, "samples genes"]
    """As written: in float32 large values that differ by little would become alike."""

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
        values = numeric(table[genes], path).to_numpy(np.float64)
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

    def columns(self, genes: tuple[str, ...]) -> Float64[np.ndarray, "samples some"]:
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

    def describe(self) -> str:
        """Return what is written, in words."""
        return f"{len(self.ids)} IDs x {len(self.genes)} genes, in the order of {self.sample}"


def _read_sample(sample: Path) -> tuple[bytes, list[str], list[str]]:
    """Return the bytes of the header, its genes, and the IDs."""
    try:
        with sample.open("rb") as file:
            header = file.readline().rstrip(b"\r\n")
        names = [name.strip() for name in next(csv.reader([header.decode("utf-8-sig")], skipinitialspace=True), [])]
        asked: dict[str, Any] = {"usecols": [0], "dtype": str, "keep_default_na": False, "na_values": [""]}
        asked |= {"header": 0, "names": ["ID", *map(str, range(1, len(names)))], "skipinitialspace": True}
        table = pd.read_csv(sample, encoding="utf-8-sig", **asked) if names[:1] == ["ID"] else None
        table = None if table is None else table.assign(ID=table["ID"].str.strip())
    except (FileNotFoundError, IsADirectoryError):
        raise DataError(f"{sample}: no such file; expected a sample submission, a CSV with a header of ID and genes") from None
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{sample}: cannot be read as a sample submission ({str(error).splitlines()[0]})") from None
    if table is None or len(names) < 2:
        began = ", ".join(names[:3])[:50] or "nothing"
        raise DataError(f"{sample}: begins with {began}; expected a header of ID and genes, with commas between them")
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
