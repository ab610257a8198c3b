"""What the readers of AnnData share: counts as measured, names of genes, spots under tissue, the scale by the pitch."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData
from jaxtyping import Bool, Float64
from scipy import sparse
from scipy.spatial import cKDTree

from bleep.data.readers.spaceranger import GENES, PITCH
from bleep.data.readers.tables import Measured, scale_of
from bleep.errors import DataError

IDS = ("gene_id", "gene_ids", "ensembl", "ensembl_id", "ensembl_ids", "ensembl_gene_id", "feature_id")
"""Columns of `var`, in small letters, that hold Ensembl ids."""
SYMBOLS = ("symbol", "symbols", "gene_symbol", "gene_symbols", "gene_name", "gene_names", "feature_name")
"""Columns of `var`, in small letters, that hold symbols."""
ENSEMBL = r"ENS[A-Z]*G\d{6,}"
KINDS = "feature_types"
"""Column of `var` in which Space Ranger's readers keep what a feature is."""
RING = 1.3
"""Neighbours up to this many pitches are a spot's own ring: six on a Visium slide, four where spots stand in squares."""

log = logging.getLogger(__name__)


@contextlib.contextmanager
def clearly(path: Path, what: str) -> Iterator[None]:
    """Turn what the libraries raise at a damaged file, of a dozen kinds, into one sentence."""
    try:
        yield
    except (DataError, KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0][:200] if lines else type(error).__name__
        raise DataError(f"{path}: cannot be read as {what} ({reason}); is it whole?") from None


def read_h5ad(path: Path) -> AnnData:
    """Read an h5ad.

    Raises:
        DataError: the file is missing, damaged or no AnnData, or holds no spots.

    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected an AnnData there")
    with clearly(path, "an AnnData"), warnings.catch_warnings():
        # Names that stand twice and forms of older versions are dealt with here, not by whoever reads the file.
        warnings.simplefilter("ignore")
        found = anndata.read_h5ad(path)
    if found.n_obs == 0:
        raise DataError(f"{path}: holds no spots; expected a row for each")
    return found


def positions(data: AnnData, path: Path) -> Float64[np.ndarray, "spots 2"]:
    """Return `obsm["spatial"]`, x first.

    Raises:
        DataError: it is missing, does not have two columns, or a place is not a number.

    """
    if "spatial" not in data.obsm:
        found = ", ".join(data.obsm) or "nothing"
        raise DataError(f"{path}: has no obsm['spatial']; found {found}; expected x and y of each spot in pixels")
    with clearly(path, "an AnnData with x and y in obsm['spatial']"):
        places = np.asarray(data.obsm["spatial"], dtype=np.float64)
    if places.ndim != 2 or places.shape[1] != 2:
        raise DataError(f"{path}: obsm['spatial'] has the shape {places.shape}; expected two columns, x and y in pixels")
    finite = np.isfinite(places).all(axis=1)
    if not finite.all():
        raise DataError(f"{path}: the position of spot {data.obs_names[int(np.argmin(finite))]!r} is not a number")
    return places


def under_tissue(obs: pd.DataFrame, path: Path) -> Bool[np.ndarray, " spots"]:
    """Return which spots have `in_tissue` = 1; all where there is no such column.

    Raises:
        DataError: none has.

    """
    if "in_tissue" not in obs:
        return np.ones(len(obs), dtype=bool)
    kept = obs["in_tissue"].astype(str).str.lower().isin(("1", "1.0", "true")).to_numpy(dtype=bool)
    if not kept.any():
        raise DataError(f"{path}: no spot has in_tissue = 1; expected that for the spots under tissue")
    return kept


def measured(data: AnnData, name: str, path: Path) -> Measured:
    """Return the counts: the layer `counts`, else `raw` where it holds whole numbers, else X; which is said aloud.

    Raises:
        DataError: there are none, or they are no numbers.

    """
    where, matrix, var = _counts(data, path)
    log.info("section %s: counts from %s, %d spots x %d genes", name, where, matrix.shape[0], matrix.shape[1])
    if not _whole(matrix):
        log.warning(
            "section %s: %s does not hold whole numbers, so it is no table of raw counts; if it is normalised already, "
            "set panel.normalise to none",
            name, where,
        )  # fmt: skip
    genes = gene_names(var)
    if KINDS in var:
        kept = (var[KINDS].astype(str) == GENES).to_numpy(dtype=bool)
        if kept.any() and not kept.all():
            log.info("section %s: left out %d features that are not of the kind %s", name, (~kept).sum(), GENES)
            genes, matrix = genes[kept], matrix[:, np.flatnonzero(kept)]
    return Measured(data.obs_names.astype(str), genes, matrix)


def _counts(data: AnnData, path: Path) -> tuple[str, sparse.csr_matrix, pd.DataFrame]:
    if "counts" in data.layers:
        return "layers['counts']", _matrix(data.layers["counts"], path), data.var
    if data.raw is not None:
        raw = _matrix(data.raw.X, path)
        if _whole(raw):
            return "raw.X", raw, data.raw.var
    if data.X is None:
        raise DataError(f"{path}: has neither X, nor layers['counts'], nor whole numbers in raw; expected counts")
    return "X", _matrix(data.X, path), data.var


def _matrix(table: Any, path: Path) -> sparse.csr_matrix:
    with clearly(path, "an AnnData of numbers"):
        return sparse.csr_matrix(table, dtype=np.float32)


def _whole(matrix: sparse.csr_matrix) -> bool:
    return bool(np.isfinite(matrix.data).all() and (np.mod(matrix.data, 1) == 0).all())


def gene_names(var: pd.DataFrame) -> pd.DataFrame:
    """Return `symbol` and `gene_id`, as far as `var` knows them, indexed by the file's names, made unique."""
    names = var.index.astype(str)
    columns = {str(column).lower(): column for column in var.columns}
    found = {
        kind: var[columns[key]].astype(object).fillna("").astype(str).to_numpy()
        for kind, keys in (("symbol", SYMBOLS), ("gene_id", IDS))
        for key in keys[::-1]
        if key in columns
    }
    own = "gene_id" if len(names) and names.str.fullmatch(ENSEMBL + r"(\.\d+)?").mean() > 0.5 else "symbol"
    found.setdefault(own, names.to_numpy())
    with warnings.catch_warnings():
        # It warns of genes that are called like a numbered one, such as HLA-1, which it then numbers on.
        warnings.simplefilter("ignore")
        return pd.DataFrame(found, index=anndata.utils.make_index_unique(pd.Index(names)))


def mpp_by_pitch(name: str, xy: Float64[np.ndarray, "spots 2"]) -> float:
    """Return the microns per pixel of a Visium slide, whose spots stand in a honeycomb of a known pitch; say so.

    Raises:
        DataError: the spots do not stand like that, so nothing says what their distance is in microns.

    """
    mpp = scale_of(name, xy, PITCH)
    ring = cKDTree(xy).query_ball_point(xy, RING * PITCH / mpp, return_length=True) - 1
    if np.quantile(ring, 0.9) >= 5:
        log.info("section %s: scale from the spots, which stand %.0f microns apart on a Visium slide", name, PITCH)
        return mpp
    raise DataError(
        f"section {name}: nothing says its scale, and its spots do not stand as on a Visium slide; set data.mpp, the microns "
        "per pixel of the picture"
    )


def patient_of(name: str, obs: pd.DataFrame, patients: dict[str, str]) -> str:
    """Return the patient given for a section, else the one in the column `patient` or `donor_id`, else the section.

    Raises:
        DataError: the column names several.

    """
    for column in ("patient", "donor_id"):
        found = [] if name in patients or column not in obs else [str(value) for value in obs[column].dropna().unique()]
        if len(found) > 1:
            raise DataError(
                f"section {name}: obs[{column!r}] names {found[0]!r} and {found[1]!r}; name one patient in data.patients"
            )
        if found:
            return found[0]
    return patients.get(name, name)
