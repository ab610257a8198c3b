#!/usr/bin/env bash
# In smoothie, genes that only one section measured follow each other at .98, whatever their patterns.
#
# One would expect: concatenate_smoothed_matrices puts sections under each other so that genes are correlated over all of them;
# a pair that a section did not measure is judged by the sections that did, as the package's align_gene_correlation_matrices
# leaves such places empty.
# What happens: a gene that a section did not list is 0 there. Two genes of noise that only the first section measured are then
# both about 2 in one half of the rows and 0 in the other: they correlate at .98, and at -.98 with genes that only the second
# section measured. In their own section the same genes are at 0 with each other, and so are genes that both measured.
# Versions: smoothie-st 1.0.2, the newest in the package index; seen on 2026-11-30. Data of counts of one mean and no pattern.
# Why it matters: the matrix is what the network of genes and its modules are made of. Two Xenium panels that share a part, or
# sections filtered apart, give two large modules of the genes that they do not share, above any cutoff.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  smoothie-st==1.0.2 numpy==2.4.6 pandas==2.3.3 scipy==1.17.1 anndata==0.12.19 scanpy==1.11.5 igraph==1.0.0 matplotlib==3.11.2 \
  seaborn==0.13.2
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
import contextlib
import io
from importlib.metadata import version

import numpy as np
import smoothie
from anndata import AnnData

print(*(f"{name} {version(name)}" for name in ("smoothie-st", "anndata", "numpy")))
random = np.random.default_rng(0)
side, count = 60, 20
steps = np.arange(side) * 10.5
place = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
shared, first, second = ([f"{kind}{number}" for number in range(count)] for kind in ("shared", "first", "second"))


def smoothed(genes):
    data = AnnData(random.poisson(2.0, (side * side, len(genes))).astype("float32"))
    data.var_names, data.obsm["spatial"] = genes, place.copy()
    return smoothie.run_parallelized_smoothing(data, False, 20.0, 10, num_processes=1, num_data_splits=1)


def median(table, names, one, other):
    rows, columns = ([at for at, name in enumerate(names) if name.startswith(kind)] for kind in (one, other))
    pairs = table[np.ix_(rows, columns)]
    return float(np.median(pairs[np.triu_indices(count, 1)] if one == other else pairs))


with contextlib.redirect_stdout(io.StringIO()):
    sections = [smoothed(shared + first), smoothed(shared + second)]
    rows, names = smoothie.concatenate_smoothed_matrices(sections)
    together, _ = smoothie.compute_correlation_matrix(rows)
    alone, _ = smoothie.compute_correlation_matrix(sections[0].X)
assert rows.shape == (2 * side * side, 3 * count), rows.shape
seen = {
    "two genes of the first section alone, in it": median(alone, list(sections[0].var_names), "first", "first"),
    "the same genes, both sections under each other": median(together, names, "first", "first"),
    "a gene of the first with one of the second": median(together, names, "first", "second"),
    "two genes that both sections measured": median(together, names, "shared", "shared"),
}
print("correlation of noise, median over pairs; expected: about 0")
for what, value in seen.items():
    print(f"  {what}: {value:+.2f}")
inside, same, across, both = seen.values()
assert abs(inside) < 0.05 and abs(both) < 0.05, seen
assert same > 0.9 and across < -0.9, seen
print("changed: no; genes that one section lacks are correlated by the section they are in")
PY
