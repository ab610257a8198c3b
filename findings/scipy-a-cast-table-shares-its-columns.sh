#!/usr/bin/env bash
# A sparse table of counts made anew in another type shares its column numbers with the old one: to ask the new one whether it is above 0
# shuffles the counts of the old.
#
# One would expect: csr_matrix(adata.X, dtype=float64) of single-precision counts is a copy, as no number of it can be shared, so nothing
# that is done with it, and no question least of all, reaches adata.X.
# What happens: values are copied, and column numbers are not. What puts the new table in order (its columns sorted, or its stored zeros
# taken out) moves the shared column numbers and its own values, and the old values stay where they were. eliminate_zeros and sort_indices
# do so by name; where columns are not sorted, as in tables put together from parts, so do table > 0, power(2), min(axis=1), argmax(axis=1)
# and count_nonzero. Half of the counts of adata.X are then those of other genes; totals of spots stay right there, so nothing looks odd. Of the
# same type all is shared, and stays right; csc_array and csr_array do the same, coo_array does not.
# Way out: adata.X.astype(float64), or copy=True.
# Versions: scipy 1.17.1 and anndata 0.12.19 with numpy 2.4.6; no report of it was found. Seen on 2026-12-01.
# Why it matters: it is how a function takes counts of any type in double precision without harm. Ours, a search for duplicated spots, shuffled
# the counts that were scored after it wherever a file had stored zeros.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile scipy==1.17.1 numpy==2.4.6 anndata==0.12.19 pandas==2.3.3
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from anndata import AnnData
from scipy import sparse

print(*(f"{name} {version(name)}" for name in ("scipy", "numpy", "anndata")))
rng = np.random.default_rng(0)
COUNTS = rng.poisson(0.7, (200, 300)).astype(np.float32)


def table(form=sparse.csr_matrix, *, in_order):
    """Counts whose columns are in order with some zeros stored, or in another order without zeros."""
    out = form(COUNTS)
    if in_order:
        out.data[::7] = 0
        return out
    for start, stop in zip(out.indptr[:-1], out.indptr[1:], strict=True):
        order = rng.permutation(stop - start)
        out.indices[start:stop], out.data[start:stop] = out.indices[start:stop][order], out.data[start:stop][order]
    return form((out.data, out.indices, out.indptr), shape=out.shape)


ASKED = {
    "eliminate_zeros()": (True, lambda cast: cast.eliminate_zeros()),
    "sort_indices()": (False, lambda cast: cast.sort_indices()),
    "cast > 0": (False, lambda cast: cast > 0),
    "power(2)": (False, lambda cast: cast.power(2)),
    "min(axis=1)": (False, lambda cast: cast.min(axis=1)),
    "argmax(axis=1)": (False, lambda cast: cast.argmax(axis=1)),
    "count_nonzero()": (False, lambda cast: cast.count_nonzero()),
}
WAYS = {
    "csr_matrix(X, dtype=float64)": lambda X: sparse.csr_matrix(X, dtype=np.float64),
    "csr_matrix(X, dtype=float32)": lambda X: sparse.csr_matrix(X, dtype=np.float32),
    "X.astype(float64)": lambda X: X.astype(np.float64),
    "csr_matrix(X, dtype=float64, copy=True)": lambda X: sparse.csr_matrix(X, dtype=np.float64, copy=True),
}
print("guess: no count of adata.X changes, whatever is asked of the cast table")
for way, cast in WAYS.items():
    moved = {}
    for name, (in_order, ask) in ASKED.items():
        adata = AnnData(table(in_order=in_order))
        before = adata.X.toarray()
        ask(cast(adata.X))
        after = adata.X.toarray()
        moved[name] = ((before != after) & (before > 0)).sum() / (before > 0).sum()
        if not in_order:
            assert np.array_equal(before.sum(axis=1), after.sum(axis=1))
    print(f"seen, {way}: share of counts that changed:", ", ".join(f"{name} {share:.0%}" for name, share in moved.items()))
    if way == "csr_matrix(X, dtype=float64)":
        assert all(share > 0.4 for share in moved.values())
    else:
        assert not any(moved.values())

for form, changes in ((sparse.csr_array, True), (sparse.csc_array, True), (sparse.coo_array, False)):
    one = form(COUNTS)
    one.data[::7] = 0
    before = one.toarray()
    form(one, dtype=np.float64).eliminate_zeros()
    assert (not np.array_equal(one.toarray(), before)) == changes, form
PY
