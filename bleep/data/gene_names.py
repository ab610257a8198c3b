"""Names of genes: identifiers and symbols brought together, species by them, and which names are no genes."""

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import numpy as np
import pandas as pd
from jaxtyping import Int64

from bleep.data.section import Section
from bleep.errors import DataError

ID, SYMBOL = "gene_id", "symbol"
"""Columns of `counts.var` that hold further names of the genes; either may be missing."""
MISSING, AMBIGUOUS = -1, -2
_IS_ID = re.compile(r"ENS[A-Z]*\d{5,}")
_VERSION = re.compile(r"(ENS[A-Z]*\d+)\.\d+")

NO_GENES = {
    *("in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres", "imagerow", "imagecol"),
    *("pixel_x", "pixel_y", "new_x", "new_y", "x_pixel", "y_pixel", "selected", "barcode", "barcodes", "spot_id"),
    *("array_x", "array_y", "row", "col", "n_counts", "n_genes", "n_genes_by_counts", "log1p_n_genes_by_counts"),
    *("cluster", "clusters", "seurat_clusters", "leiden", "louvain", "unnamed: 0", "sample_id", "library_id"),
    *("x_center", "y_center", "center_x", "center_y", "x_centre", "y_centre", "centre_x", "centre_y", "x_coord", "y_coord"),
    *("x_centroid", "y_centroid", "centroid_x", "centroid_y", "x_coordinate", "y_coordinate", "coord_x", "coord_y"),
    *("x_pos", "y_pos", "pos_x", "pos_y", "x_position", "y_position", "x_um", "y_um", "x_px", "y_px", "spatial_x", "spatial_y"),
    *("tile_x", "tile_y", "tile_size", "tile_id", "patch_size", "spot_size", "cell_id", "width", "height"),
    *("fold", "batch", "batch_id", "sample", "slide", "slide_id", "split", "label", "labels"),
}
"""Names of columns, in small letters, that tools keep beside the genes of a spot."""
COUNTED = re.compile(r"(log1p_)?total_counts(_.+)?|(n_?count|n_?feature)s?_.+|(pct_counts|percent)[._].+")
"""What scanpy and Seurat call sums over the genes of a spot, of any assay or set of genes, in small letters."""

log = logging.getLogger(__name__)

Names = np.ndarray
"""Text, empty where a name is not known."""
Columns = Int64[np.ndarray, " panel"]
"""Columns of a section, in the order of the genes sought."""


def other_names(genes: pd.DataFrame) -> tuple[str, ...]:
    """Return each gene's name in the other vocabulary, from a section's `counts.var`; empty where it is not known.

    An id is preferred to a symbol. A name that several genes of the section bear tells none of them, so it is left out.

    >>> other_names(pd.DataFrame({ID: ["ENSG00000141510", ""]}, index=["TP53", "own1"]))
    ('ENSG00000141510', '')

    """
    names = genes.index.to_numpy(object)
    others = np.full(len(genes), "", dtype=object)
    for column in (SYMBOL, ID):
        further = _column(genes, column)
        if further is not None:
            telling = (_plain(further) != _plain(names)) & (further != "") & ~pd.Index(further).duplicated(keep=False)
            others = np.where(telling, further, others)
    return tuple(map(str, others))


def without_clashes(names: pd.Index, others: Sequence[str]) -> tuple[str, ...]:
    """Blank what stands for several genes: another name that a second gene has too, as its name or as its other name."""
    table = pd.Index(np.array(others, dtype=object))
    clash = table.duplicated(keep=False) | table.isin(names)
    return tuple("" if bad else name for name, bad in zip(others, clash, strict=True))


def locate(names: pd.Index, others: Sequence[str], genes: pd.DataFrame) -> Columns:
    """Return the column of each gene among those of a section, given as its `counts.var`; negative: it is not there.

    A gene is sought by its name, but where both sides state an Ensembl id these must agree: one symbol may stand for two
    genes, and another gene's counts are never taken for it. Those not found so are sought by either name among the
    section's ids, its own names and its symbols, in that order, as ids are the surest; among each as they are, and then
    without the versions of Ensembl ids. The first kind of name under which a gene is found decides. A gene that fits two
    columns there, or a column that fits two genes, is not guessed at: the gene counts as missing.
    """
    columns = genes.index.get_indexer(names).astype(np.int64)
    if len(genes) == 0:
        return columns
    wanted = (names.to_numpy(object), np.array(others, dtype=object))
    sought, stated = ids_of(names, others), _ids(genes)
    columns = _agreeing(columns, sought, stated)
    if (columns >= 0).all():
        return columns
    for held in (_column(genes, ID), genes.index.to_numpy(object), _column(genes, SYMBOL)):
        if held is not None:
            for form in (lambda found: found, _plain):
                hits = [_agreeing(_hits(form(part), form(held)), sought, stated) for part in wanted]
                columns = _settled(columns, hits)
    return columns


def ids_of(names: pd.Index, others: Sequence[str]) -> Names:
    """Return the Ensembl id of each gene, without its version, of its two names; empty where neither is one."""
    one, other = _only_ids(names.to_numpy(object)), _only_ids(np.array(others, dtype=object))
    return np.where(other != "", other, one)


def _ids(genes: pd.DataFrame) -> Names:
    """Return the Ensembl id of each gene of a section, without its version; empty where it is not stated."""
    own, further = _only_ids(genes.index.to_numpy(object)), _column(genes, ID)
    if further is None:
        return own
    told = _only_ids(further)
    ids: Names = np.where(told != "", told, own)
    return ids


def _only_ids(names: Names) -> Names:
    return np.array([name if name[:3] == "ENS" and _IS_ID.fullmatch(name) else "" for name in _plain(names)], dtype=object)


def _agreeing(columns: Columns, sought: Names, stated: Names) -> Columns:
    """Give up columns whose stated id is not the one that is sought."""
    held = np.where(columns >= 0, stated[np.maximum(columns, 0)], "")
    return np.where((columns >= 0) & (sought != "") & (held != "") & (held != sought), MISSING, columns)


def aligned(sections: Sequence[Section]) -> tuple[pd.Index, tuple[str, ...], list[Columns]]:
    """Return the genes that all sections have, by the first one's names; their other names; and their columns in each.

    Raises:
        DataError: a section has no genes, or they share none.

    """
    for section in sections:
        if section.genes.empty:
            why = section.counts.uns.get("bleep", {}).get("nothing")
            because = f" ({why})" if why else ""
            raise DataError(
                f"section {section.name}: has no genes, so it cannot be trained on; it can only be queried{because}"
            )
    names = sections[0].genes
    others = np.full(len(names), "", dtype=object)
    for section in sections:
        columns = locate(names, without_clashes(names, tuple(others)), section.counts.var)
        for told in (np.array(other_names(section.counts.var), dtype=object), section.genes.to_numpy(object)):
            here = told[columns]
            new = np.flatnonzero((others == "") & (columns >= 0) & (here != "") & (here != names))
            new = new[_plain(here[new]) != _plain(names.to_numpy(object)[new])]
            others[new] = here[new]
    settled = without_clashes(names, tuple(others))
    found = [locate(names, settled, section.counts.var) for section in sections]
    shared = np.flatnonzero((np.array(found) >= 0).all(axis=0))
    if len(shared) == 0:
        first, other = sections[0], sections[1]
        raise DataError(
            f"the training sections share no gene: {first.name} has genes like {first.genes[0]!r}, "
            f"{other.name} like {other.genes[0]!r}; read sections that name genes alike"
        )
    return names[shared], tuple(settled[place] for place in shared), [columns[shared] for columns in found]


def _hits(wanted: Names, held: Names) -> Columns:
    """Return where each name stands; AMBIGUOUS if it stands twice on either side."""
    index = pd.Index(held)
    first = np.flatnonzero(~index.duplicated())
    at = index[first].get_indexer(pd.Index(wanted))
    there = (at >= 0) & (wanted != "")
    columns = np.where(there, first[at], MISSING)
    twice = index.duplicated(keep=False)[first[at]] | pd.Index(wanted).duplicated(keep=False)
    return np.where(there & twice, AMBIGUOUS, columns)


def _settled(columns: Columns, hits: Sequence[Columns]) -> Columns:
    """Fill in genes still missing; both names must not point to two columns, nor two genes to one."""
    one, other = hits
    found = np.maximum(one, other)
    clash = (one == AMBIGUOUS) | (other == AMBIGUOUS) | ((one >= 0) & (other >= 0) & (one != other))
    found = np.where(columns == MISSING, np.where(clash, AMBIGUOUS, found), columns)
    new = (columns == MISSING) & (found >= 0)
    taken = np.isin(found, columns[columns >= 0]) | pd.Series(np.where(new, found, MISSING)).duplicated(keep=False).to_numpy()
    return np.where(new & taken, AMBIGUOUS, found)


def _column(genes: pd.DataFrame, column: str) -> Names | None:
    if column not in genes:
        return None
    values = genes[column].astype(object)
    return values.where(values.notna(), "").astype(str).to_numpy(object)


def _plain(names: Names) -> Names:
    """Leave away the versions of Ensembl ids, such as the .12 of ENSG00000141510.12."""
    # Thousands of symbols are asked for again and again: most are told by their first letters.
    found = (_VERSION.fullmatch(name) if name[:3] == "ENS" else None for name in names)
    return np.array([match[1] if match else name for match, name in zip(found, names, strict=True)], dtype=object)


Looks = Literal["human", "mouse", "rat", "rodent", "mixed", "unknown"]
FEWEST = 10
"""Names from which a style can be told."""
MOST = 0.6
"""Share of the names that makes a style."""
SOME = 0.15
"""Share that another style needs to make a mixture."""
PREFIXES: Mapping[str, Looks] = {"": "human", "MUS": "mouse", "RNO": "rat"}
"""What stands between ENS and G in an Ensembl id."""
SPECIES: Mapping[str, tuple[Looks, ...]] = {
    "human": ("human",),
    "homo sapiens": ("human",),
    "mouse": ("mouse", "rodent"),
    "mus musculus": ("mouse", "rodent"),
    "rat": ("rat", "rodent"),
    "rattus norvegicus": ("rat", "rodent"),
}
"""What the names of a species may look like; a species that is not listed may look like anything."""
ANIMALS: Mapping[Looks, str] = {"human": "a human", "mouse": "a mouse", "rat": "a rat", "rodent": "a mouse or rat"}
_ID = re.compile(r"ENS([A-Z]{0,4})G\d{6,}(\.\d+)?$")
_CAPITALISED = re.compile(r"[A-Z][a-z]")


@final
@dataclass(frozen=True, slots=True)
class GeneNames:
    """The style of a section's gene names."""

    ids: bool
    """Whether they are Ensembl ids."""
    looks: Looks
    """The species they look like: by the prefix of ids, else SYMBOLS of human and Symbols of rodents."""
    example: str
    """One of them."""

    def describe(self) -> str:
        """Return the style in words."""
        return f"{'Ensembl ids' if self.ids else 'symbols'} such as {self.example}"

    def fit(self, species: str) -> bool:
        """Return whether they may belong to a species."""
        return self.looks in ("mixed", "unknown", *SPECIES.get(species.lower(), (self.looks,)))


def names_of(genes: pd.Index) -> GeneNames:
    """Return the style of some gene names."""
    names = [str(gene) for gene in genes]
    found = [match for match in map(_ID.match, names) if match is not None]
    if len(found) > len(names) / 2:
        return _by_prefix([(match.group(0), PREFIXES.get(match.group(1), "unknown")) for match in found])
    words = [name for name in names if sum(letter.isalpha() for letter in name) > 1]
    styles = {
        "human": [name for name in words if name.upper() == name],
        "rodent": [name for name in words if _CAPITALISED.match(name)],
    }
    first, second = sorted(styles, key=lambda style: -len(styles[style]))
    looks: Looks = "unknown"
    if len(words) >= FEWEST and len(styles[second]) > SOME * len(words):
        looks = "mixed"
    elif len(words) >= FEWEST and len(styles[first]) > MOST * len(words):
        looks = "human" if first == "human" else "rodent"
    usual = styles[first] or names or [""]
    return GeneNames(False, looks, usual[0])


def _by_prefix(found: Sequence[tuple[str, Looks]]) -> GeneNames:
    (first, _), *others = Counter(looks for _, looks in found).most_common()
    mixed = bool(others) and others[0][1] > SOME * len(found)
    return GeneNames(True, "mixed" if mixed else first, next(name for name, looks in found if looks == first))


def overlaps(genes: Sequence[pd.Index]) -> np.ndarray:
    """Return, for each pair of sets of names, what they share as a share of the smaller; Float64[sets sets]."""
    union = genes[0].append(list(genes[1:])).unique()
    member = np.zeros((len(genes), len(union)), dtype=np.float32)
    for row, names in enumerate(genes):
        member[row, union.get_indexer(names)] = 1
    sizes = member.sum(axis=1)
    return np.asarray((member @ member.T) / np.minimum(sizes[:, None], sizes), dtype=np.float64)


def genes_among(columns: list[str], path: Path) -> list[str]:
    """Return the columns that may be genes, and say which are left out: places, and what tools count of a spot."""
    named = {str(column).lower() for column in columns}
    # A fly has a gene y; beside an x it is a place.
    no_genes = NO_GENES | ({"x", "y"} if {"x", "y"} <= named else set())
    left = [name for name in columns if (low := str(name).lower()) in no_genes or COUNTED.fullmatch(low)]
    if left:
        log.warning("%s: left out %s, which by their names are no genes", path.name, ", ".join(map(str, left)))
    return [column for column in columns if column not in left]
