"""How expression is kept: which form, and its files, written and mapped a few spots at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float32
from scipy import sparse

from bleep.errors import DataError
from bleep.retrieval.reference.expression_remote import open_remote, write_remote
from bleep.retrieval.reference.expression_store import (
    AGAIN,
    LARGEST,
    DenseExpression,
    ExpressionStore,
    FormName,
    Growing,
    Rows,
    SparseExpression,
    Values,
    as_kept,
    mapped,
)

Block: TypeAlias = Float32[np.ndarray, "_ genes"] | sparse.csr_matrix
"""Some spots on their way into a store."""

STEP = 4096
"""Spots copied or looked at at a time."""
SPARSE = 0.25
"""Up to this share of values other than zero, compressed rows take at most half of the bytes."""
LARGE = 2**32
"""Bytes; values that would take more as float32 are kept as float16, where they do not pay compressed."""


def choose_form(spots: int, genes: int, density: float, largest: float) -> tuple[FormName, str]:
    """Choose how values are kept, and say why.

    Args:
        spots: how many rows.
        genes: how many columns.
        density: share of values that are not zero.
        largest: the largest absolute value.

    """
    said, size = f"{density:.0%} of the values are not zero", 4 * spots * genes
    if density <= SPARSE:
        return "sparse", f"{said}: compressed rows take {2 * density:.0%} of the bytes"
    if size > LARGE and largest <= LARGEST:
        return "half", f"{said}, and {size / 2**30:.1f} GB as float32: values are rounded to float16, to 1 part in 2,000"
    return "dense", f"{said}"


def stored(blocks: Sequence[Block], form: Literal["auto"] | FormName) -> tuple[ExpressionStore, str]:
    """Keep blocks of spots as one store in memory, and say why in this form.

    Raises:
        DataError: float16 is asked for, and a value is too large for it.

    """
    why = f"index.expression is {form}"
    if form == "auto":
        spots, genes = sum(block.shape[0] for block in blocks), blocks[0].shape[1]
        filled = sum(map(_places_filled, blocks))
        form, why = choose_form(spots, genes, filled / max(1, spots * genes), max(map(_largest, blocks)))
    return MAKERS[form](blocks), why


def write_expression(store: ExpressionStore, folder: Path, stem: str, url: str = "") -> None:
    """Write a store in its form, a few spots at a time: `STEM.npy`, or `STEM.data.npy`, `.indices.npy`, `.indptr.npy`.

    With a URL it is written there, and `STEM.json` names it.

    Raises:
        ConfigError, DataError: see `write_remote`; or the store is of float16, and a value that was joined to it too large.

    """
    if url:
        write_remote(store, url, folder / f"{stem}.json")
    elif store.form == "sparse":
        with (
            Growing(folder / f"{stem}.data.npy", np.dtype(np.float32)) as data,
            Growing(folder / f"{stem}.indices.npy", np.dtype(np.int32)) as indices,
            Growing(folder / f"{stem}.indptr.npy", np.dtype(np.int64)) as indptr,
        ):
            indptr.append(np.zeros(1, np.int64))
            for rows in steps(len(store)):
                block = store.sparse_rows(rows)
                indptr.append(len(data) + block.indptr[1:].astype(np.int64))
                data.append(block.data)
                indices.append(block.indices.astype(np.int32))
    else:
        with Growing(folder / f"{stem}.npy", store.dtype, store.shape[1]) as values:
            for rows in steps(len(store)):
                values.append(as_kept(store.rows(rows), store.dtype))


def open_expression(folder: Path, stem: str, genes: int) -> ExpressionStore:
    """Map a store that `write_expression` wrote, or open it at its URL.

    Raises:
        DataError: a file is missing, damaged, or contradicts another; or the store at the URL is gone.
        MismatchError: the store at the URL is another.

    """
    if (folder / f"{stem}.json").exists():
        return open_remote(folder / f"{stem}.json", genes)
    if (folder / f"{stem}.indptr.npy").exists() and not (folder / f"{stem}.npy").exists():
        names = [f"{stem}.{part}.npy" for part in ("data", "indices", "indptr")]
        data, indices, indptr = (
            mapped(folder / name, (kind,), 1) for name, kind in zip(names, ("float32", "int32", "int64"), strict=True)
        )
        if len(data) != len(indices):
            raise DataError(f"{folder / names[1]}: holds {len(indices)} values, {names[0]} {len(data)}: {AGAIN}")
        try:
            return SparseExpression(data, indices, indptr, genes)
        except DataError as error:
            raise DataError(f"{folder / names[2]}: {error}: {AGAIN}") from None
    values = mapped(folder / f"{stem}.npy", ("float32", "float16"), 2)
    if values.shape[1] != genes:
        raise DataError(f"{folder / stem}.npy: holds {values.shape[1]} genes, its manifest names {genes}: {AGAIN}")
    return DenseExpression(values)


def steps(spots: int) -> Iterator[Rows]:
    """Yield all rows, some thousand at a time."""
    for start in range(0, spots, STEP):
        yield np.arange(start, min(start + STEP, spots))


def _places_filled(block: Block) -> int:
    return int(block.nnz) if isinstance(block, sparse.csr_matrix) else int(np.count_nonzero(block))


def _largest(block: Block) -> float:
    values: np.ndarray = block.data if isinstance(block, sparse.csr_matrix) else block
    return float(np.abs(values).max(initial=0.0))


def _dense(blocks: Sequence[Block]) -> ExpressionStore:
    return DenseExpression(np.concatenate([_filled(block) for block in blocks]))


def _half(blocks: Sequence[Block]) -> ExpressionStore:
    largest = max(map(_largest, blocks))
    if largest > LARGEST:
        raise DataError(
            f"index.expression is half, but a value of {largest:g} is larger than float16 can hold ({LARGEST:g}); "
            "set index.expression to dense or sparse"
        )
    return DenseExpression(np.concatenate([_filled(block).astype(np.float16) for block in blocks]))


def _sparse(blocks: Sequence[Block]) -> ExpressionStore:
    joined = sparse.vstack([sparse.csr_matrix(block) for block in blocks], format="csr")
    data, indices = joined.data.astype(np.float32), joined.indices.astype(np.int32)
    return SparseExpression(data, indices, joined.indptr.astype(np.int64), joined.shape[1])


def _filled(block: Block) -> Values:
    return np.asarray(block.toarray() if isinstance(block, sparse.csr_matrix) else block, dtype=np.float32)


MAKERS: Mapping[FormName, Callable[[Sequence[Block]], ExpressionStore]] = {
    "dense": _dense,
    "half": _half,
    "sparse": _sparse,
}
