"""What the readers of AnnData share: counts as measured, names of genes, spots under tissue, the scale by the pitch."""

import contextlib
import logging
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData
from jaxtyping import Bool, Float64
from scipy import sparse

from bleep.config import DataConfig
from bleep.data.normalize import standardised
from bleep.data.readers.spaceranger import GENES
from bleep.data.readers.tables import Measured, nothing, without_controls
from bleep.data.section import word
from bleep.errors import BleepError, DataError, told_of_memory
from bleep.files import check_file
from bleep.marks import is_prediction
from bleep.outputs import check_h5

IDS = ("gene_id", "gene_ids", "ensembl", "ensembl_id", "ensembl_ids", "ensembl_gene_id", "feature_id")
"""Headings of `var`, by `heading`, over what is taken for Ensembl ids whatever it looks like; others by their values."""
SYMBOLS = ("symbol", "symbols", "gene_symbol", "gene_symbols", "gene_name", "gene_names", "feature_name")
"""Headings of `var` over symbols."""
SAMPLES = {
    *("library_id", "library", "sample", "sample_id", "sampleid", "sample_name", "batch", "batch_id"),
    *("slide", "slide_id", "section", "section_id", "capture_area", "orig_ident"),
}
"""Headings of `obs` that say which sample a spot is of."""
COORDINATES = (
    ("pxl_col_in_fullres", "pxl_row_in_fullres"),
    ("imagecol", "imagerow"),
    ("pixel_x", "pixel_y"),
    ("x_pixel", "y_pixel"),
    ("spatial_x", "spatial_y"),
)
"""Columns of `obs` that well-known tools keep x and y in, in pixels of the full-resolution picture."""
NAMED = (*COORDINATES, ("x", "y"))
"""Columns of `obsm["spatial"]`, where it is a table: x, then y, whatever their order in it."""
LARGEST_LOG = 20.0
"""No logarithm of a count is as large as this."""
ENSEMBL = r"ENS[A-Z]*G\d{6,}"
KINDS = "feature_types"
"""Column of `var` in which Space Ranger's readers keep what a feature is."""

log = logging.getLogger(__name__)


@contextlib.contextmanager
def clearly(path: Path, what: str) -> Iterator[None]:
    """Turn what the libraries raise at a damaged file, of a dozen kinds, into one sentence."""
    try:
        yield
    except (BleepError, KeyboardInterrupt):
        raise
    except MemoryError as error:
        raise DataError(f"{path}: {told_of_memory(error)}") from None
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0][:200] if lines else type(error).__name__
        raise DataError(f"{path}: cannot be read as {what} ({reason}); is it whole?") from None


def read_h5ad(path: Path) -> AnnData:
    """Read an h5ad.

    Raises:
        DataError: the file is missing, damaged or no AnnData, or holds no spots.

    """
    check_file(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected an AnnData there")
    with clearly(path, "an AnnData"), warnings.catch_warnings():
        # Names that stand twice and forms of older versions are dealt with here, not by whoever reads the file.
        warnings.simplefilter("ignore")
        check_h5(path)
        found = anndata.read_h5ad(path)
    if found.n_obs == 0:
        raise DataError(f"{path}: holds no spots; expected a row for each")
    return found


def positions(data: AnnData, path: Path) -> Float64[np.ndarray, "spots 2"]:
    """Return `obsm["spatial"]`, x first; where there is none, the columns of `obs` that are known to hold pixels.

    A third column that is the same everywhere, such as z = 0, is left out. A table's columns go by their names, where these
    are known. Spots without a place have NaN.

    Raises:
        DataError: there are no positions, they do not have two columns, or are no numbers.

    """
    if "spatial" not in data.obsm:
        return _columns(data, path)
    with clearly(path, "an AnnData with x and y in obsm['spatial']"):
        places = np.asarray(_ordered(data.obsm["spatial"]), dtype=np.float64)
    if places.ndim == 2 and places.shape[1] == 3 and len(np.unique(places[:, 2][~np.isnan(places[:, 2])])) <= 1:
        places = places[:, :2]
    if places.ndim != 2 or places.shape[1] != 2:
        raise DataError(f"{path}: obsm['spatial'] has the shape {places.shape}; expected two columns, x and y in pixels")
    return places


def _ordered(held: Any) -> Any:
    """Return x and y of a table by its columns' names, where these are known; anything else as it is."""
    if not isinstance(held, pd.DataFrame):
        return held
    named = {str(column).strip().lower(): column for column in held.columns}
    pair = next((pair for pair in NAMED if set(pair) <= set(named)), None)
    return held if pair is None else held[[named[name] for name in (*pair, "z") if name in named]]


def _columns(data: AnnData, path: Path) -> Float64[np.ndarray, "spots 2"]:
    for pair in COORDINATES:
        if all(column in data.obs and pd.api.types.is_numeric_dtype(data.obs[column]) for column in pair):
            log.info("%s: has no obsm['spatial']; positions from obs[%r] (x) and obs[%r] (y)", path.name, *pair)
            return data.obs[list(pair)].to_numpy(np.float64)
    found = [", ".join(map(str, names)) or "nothing" for names in (data.obsm, data.obs.columns[:12])]
    raise DataError(
        f"{path}: has no obsm['spatial']; found {found[0]} in obsm and {found[1]} in obs; expected"
        " x and y of each spot in pixels in obsm['spatial']"
    )


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


def check_one_sample(name: str, obs: pd.DataFrame, path: Path) -> None:
    """Refuse spots of several samples where one picture is given for all.

    Raises:
        DataError: a column that names samples holds several names.

    """
    for column in (column for column in obs if heading(column) in SAMPLES):
        found = [str(value) for value in obs[column].dropna().unique()]
        if 1 < len(found) <= len(obs) / 2:
            raise DataError(
                f"{path}: obs[{column!r}] names {len(found)} samples ({', '.join(found[:3])}), but one picture is all there is "
                f"for section {name}; write each sample, with its own picture, to a file of its own"
            )


def without_predictions(paths: Iterable[Path]) -> list[Path]:
    """Return the files of a folder but for the predictions of bleep that lie beside measured tissue; say so.

    Where nothing else lies there they all stay: whoever needs measured values refuses them, a query does not.
    """
    found = list(paths)
    left = [path for path in found if is_prediction(path)]
    if not left or len(left) == len(found):
        return found
    more = f" and {len(left) - 1} more" if len(left) > 1 else ""
    log.warning("left out %s%s: a prediction of bleep, not measured tissue", left[0], more)
    return [path for path in found if path not in left]


def measured(data: AnnData, name: str, path: Path, config: DataConfig) -> Measured:
    """Return the counts, and say where they are from.

    They are the layer that `data.layer` names, or `raw` with `data.raw`; else the layer `counts`, `raw` where it holds whole
    numbers, or X. A file without any has no genes: it can be queried. So can one without what was asked for, or whose values
    are z-scores or predicted: see `Measured.refused`.

    Raises:
        DataError: they are no numbers.

    """
    facts = data.uns.get("bleep")
    if isinstance(facts, Mapping) and "predictor" in facts:
        predicted = f"{path}: is a prediction of bleep, not measured tissue; name a file of measured counts instead"
        return nothing(data.obs_names.astype(str), predicted, refused=True)
    if data.X is None and not config.layer and not config.raw and "counts" not in data.layers and not _whole_raw(data, path):
        why = f"{path}: has neither X, nor layers['counts'], nor whole numbers in raw"
        log.warning("section %s: can only be queried (%s)", name, why)
        return nothing(data.obs_names.astype(str), why)
    if lacks := _lacks(data, path, config):
        return nothing(data.obs_names.astype(str), lacks, refused=True)
    where, matrix, var = _counts(data, path, config)
    log.info("section %s: counts from %s, %d spots x %d genes", name, where, matrix.shape[0], matrix.shape[1])
    if not _whole(matrix):
        better = [key for key in data.layers if key is not None and _whole(_sample(data.layers[key], path))]
        if standardised(matrix):
            return nothing(data.obs_names.astype(str), _scores(where, better, data, path), refused=True)
        # Whoever takes them for counts warns of it: see bleep.data.qc.values.
        told = f", layers[{better[0]!r}] does: data.layer takes it" if better else ", so it is no table of raw counts"
        log.log(logging.WARNING if better else logging.INFO, "section %s: %s does not hold whole numbers%s", name, where, told)
    genes = gene_names(var)
    if KINDS in var:
        kept = (var[KINDS].astype(str) == GENES).to_numpy(dtype=bool)
        if kept.any() and not kept.all():
            log.info("section %s: left out %d features that are not of the kind %s", name, (~kept).sum(), GENES)
            genes, matrix = genes[kept], matrix[:, np.flatnonzero(kept)]
    return without_controls(name, Measured(data.obs_names.astype(str), genes, matrix))


def _counts(data: AnnData, path: Path, config: DataConfig) -> tuple[str, sparse.csr_matrix, pd.DataFrame]:
    if config.layer == "X" and data.X is not None:
        return "X", _matrix(data.X, path), data.var
    if config.layer:
        return f"layers[{config.layer!r}]", _matrix(data.layers[config.layer], path), data.var
    if config.raw:
        return "raw.X", _matrix(data.raw.X, path), data.raw.var
    if "counts" in data.layers:
        return "layers['counts']", _matrix(data.layers["counts"], path), data.var
    if _whole_raw(data, path):
        return "raw.X", _matrix(data.raw.X, path), data.raw.var
    return "X", _matrix(data.X, path), data.var


def _lacks(data: AnnData, path: Path, config: DataConfig) -> str:
    """Return what was asked for and is not there, with what is; empty: nothing."""
    if config.layer and config.layer not in data.layers and (config.layer != "X" or data.X is None):
        found = [str(key) for key in data.layers if key is not None]
        way = f"found {', '.join(found)}: set data.layer to one of them" if found else "found none: leave data.layer out"
        return f"{path}: has no layer {config.layer!r}; {way}"
    if config.raw and not config.layer and data.raw is None:
        return f"{path}: has no raw, and data.raw asks for it; leave data.raw out"
    return ""


def _whole_raw(data: AnnData, path: Path) -> bool:
    return data.raw is not None and _whole(_matrix(data.raw.X, path))


def _scores(where: str, better: list[str], data: AnnData, path: Path) -> str:
    """Return that z-scores are no expression, and what to take instead."""
    ways = [f"layers[{key!r}] holds whole numbers: set data.layer to it, or call it counts" for key in better[:1]]
    if data.raw is not None and not ways:
        raw = _matrix(data.raw.X, path)
        if raw.nnz and raw.data.min() >= 0 and raw.data.max() < LARGEST_LOG:
            ways = ["raw holds logarithms: set data.raw to true and panel.normalise to none"]
    way = ways[0] if ways else "write the counts into the file, in a layer called counts"
    return (
        f"{path}: {where} holds z-scores, a mean of 0 and values of both signs in nearly every gene, and these are no "
        f"expression; {way}"
    )


def _sample(table: Any, path: Path) -> sparse.csr_matrix:
    """Return the first rows of a table, which tell what kind of values it holds."""
    return _matrix(table[:200], path)


def _matrix(table: Any, path: Path) -> sparse.csr_matrix:
    with clearly(path, "an AnnData of numbers"):
        return sparse.csr_matrix(table, dtype=np.float32)


def _whole(matrix: sparse.csr_matrix) -> bool:
    return bool(np.isfinite(matrix.data).all() and (np.mod(matrix.data, 1) == 0).all())


def heading(column: object) -> str:
    """Return a heading in small letters, words joined by `_`: `orig.ident` and `Orig Ident` are `orig_ident`."""
    return re.sub(r"[^a-z0-9]+", "_", str(column).strip().lower()).strip("_")


def with_label(counts: AnnData, obs: pd.DataFrame, label: str) -> AnnData:
    """Return counts with the column of labels that `data.label` names, where the file's `obs` has it."""
    if label and label in obs and label not in counts.obs:
        counts.obs[label] = pd.Series(obs[label].to_numpy(), index=obs.index.astype(str)).reindex(counts.obs_names).to_numpy()
    return counts


def gene_names(var: pd.DataFrame) -> pd.DataFrame:
    """Return `symbol` and `gene_id`, as far as `var` knows them, indexed by the file's names, made unique.

    Columns that mostly hold Ensembl ids are such under any heading, as `gene_ids-0` of joined files; of several, a later one
    tells what the earlier ones do not.
    """
    names = var.index.astype(str)
    columns = {heading(column): column for column in var.columns}
    found = {
        kind: _text(var[columns[key]])
        for kind, keys in (("symbol", SYMBOLS), ("gene_id", IDS))
        for key in keys[::-1]
        if key in columns
    }
    ids = [_text(var[column]) for column in var.columns if not pd.api.types.is_numeric_dtype(var[column])]
    for told in (one for one in ids if len(one) and pd.Series(one).str.fullmatch(ENSEMBL + r"(\.\d+)?").mean() > 0.5):
        known = found.get("gene_id", told)
        found["gene_id"] = np.where(known == "", told, known)
    own = "gene_id" if len(names) and names.str.fullmatch(ENSEMBL + r"(\.\d+)?").mean() > 0.5 else "symbol"
    found.setdefault(own, names.to_numpy())
    with warnings.catch_warnings():
        # It warns of genes that are called like a numbered one, such as HLA-1, which it then numbers on.
        warnings.simplefilter("ignore")
        return pd.DataFrame(found, index=anndata.utils.make_index_unique(pd.Index(names)))


def _text(column: pd.Series) -> np.ndarray:
    values: np.ndarray = column.astype(object).fillna("").astype(str).to_numpy(object)
    return values


def patient_of(name: str, obs: pd.DataFrame, patients: dict[str, str]) -> str:
    """Return the patient given for a section, else the one in the column `patient` or `donor_id`, else the section.

    Raises:
        DataError: the column names several.

    """
    for column in ("patient", "donor_id"):
        told = () if name in patients or column not in obs else obs[column].dropna().unique()
        found = list(dict.fromkeys(said for said in map(word, told) if said))
        if len(found) > 1:
            raise DataError(
                f"section {name}: obs[{column!r}] names {found[0]!r} and {found[1]!r}; name one patient in data.patients"
            )
        if found:
            return found[0]
    return patients.get(name, name)
