#!/usr/bin/env bash
# One parallel numba function, as UMAP and scanpy call, undoes OMP_NUM_THREADS for torch in the same process.
#
# One would expect: a process started with OMP_NUM_THREADS=1 computes with one thread all its life, whatever is imported.
# What happens: numba's OpenMP layer, when it is first used, sets the number of threads of the OpenMP library to numba's own,
# which is the number of cores. torch brings that same library, so torch.get_num_threads() goes from 1 to the number of cores
# without a word. With torch imported but no numba call, and with NUMBA_NUM_THREADS=1 too, it stays 1.
# Versions: torch 2.14.1, numba 0.68.1; seen on 2026-11-28.
# Why it matters: jobs that share a machine, a process for each core as SLURM and test runners start them, are limited by
# that variable. After one UMAP each process has as many threads as cores, and small convolutions took 6 to 20 times as long
# as before.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile torch==2.14.1 numba==0.68.1 numpy==2.4.6
cd "$folder"
export NUMBA_CACHE_DIR=$folder
cat > look.py <<'PY'
import os

import numba
import numpy as np
import torch


@numba.njit(parallel=True)
def total(values):
    out = 0.0
    for at in numba.prange(len(values)):
        out += values[at]
    return out


before = torch.get_num_threads()
if "call" in os.environ["LOOK"]:
    total(np.ones(1000))
print(before, torch.get_num_threads(), os.cpu_count(), numba.threading_layer() if "call" in os.environ["LOOK"] else "-")
PY
echo "torch 2.14.1, numba 0.68.1, $(nproc) cores (at least 2 are needed)"
test "$(nproc)" -ge 2
export OMP_NUM_THREADS=1
imported=$(LOOK=import "$folder/venv/bin/python" -I look.py)
called=$(LOOK=call "$folder/venv/bin/python" -I look.py)
limited=$(LOOK=call NUMBA_NUM_THREADS=1 "$folder/venv/bin/python" -I look.py)
echo "threads of torch before and after, cores, numba's layer:"
echo "numba imported alone: $imported"
echo "one parallel numba call: guess 1 1, seen $called"
echo "the same, NUMBA_NUM_THREADS=1: $limited"
[[ $imported == "1 1 "* && $limited == "1 1 "* ]]
read -r before after cores layer <<< "$called"
[[ $before == 1 && $after == "$cores" && $layer == omp ]]
echo "as found"
