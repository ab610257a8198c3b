#!/usr/bin/env bash
# In spatioloji-s the p-values of signals between cell types follow the number of neighbours: types at random signal, none to its own cells.
#
# One would expect: the analytical test, which is the default, gives the p-values that shuffling the types gives. With types drawn at
# random one in twenty signals from cell to cell is below .05, and as many of those of a cell to itself, which the description says are
# compared so that both kinds can be set side by side; and a type that alone has both ligand and receptor signals to itself.
# What happens: edges are taken for independent, though all edges of a cell have its ligand. With 2, 34 and 120 neighbours 8, 19 and 34 %
# of noise are significant between cells, and 3, 10 and 26 % after correction; the default radius gives 740 in a tumour, by the package's
# own words. A cell's signal to itself is one edge, and is set against a share of the sum over all edges between cells: with 2 neighbours
# 40 % of noise is significant and with 34 or more nothing is. The type with nine times the ligand and receptor of all others has a z of
# 65, -10 or -44 and a p of 0 or 1, by the radius of the graph alone.
# Way out: test_significance(method="permutation"), which finds that type with any radius and 1 to 5 % of noise, and none after correction.
# Versions: spatioloji-s 2.0.1 of October 2026, which asks for Python 3.12 and runs under 3.11 as it is here; seen on 2026-11-30.
# Why it matters: it is the test that run_ccc does. A larger radius makes more of everything significant between cells, and loops of a type
# with itself, as of tumour cells, vanish.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.4.6 pandas==3.1.1 scipy==1.17.1 scikit-learn==1.9.1 numba==0.68.1 geopandas==1.2.0 shapely==2.2.0 \
  scikit-image==0.26.0 matplotlib==3.11.2 seaborn==0.13.2 opencv-python-headless==5.0.0.93
# without tools for reading pictures and tables, and for Python 3.11 too
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps --ignore-requires-python spatioloji_s==2.0.1
cd "$folder"
export MPLCONFIGDIR=$folder MPLBACKEND=Agg NUMBA_CACHE_DIR=$folder OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
import contextlib
import io
from importlib.metadata import version

import numpy as np
import pandas as pd
from spatioloji_s.ccc.database import LRPair
from spatioloji_s.ccc.scoring import aggregate_scores, score_edges, test_significance
from spatioloji_s.data.core import spatioloji
from spatioloji_s.spatial.point import build_radius_graph

print(*(f"{name} {version(name)}" for name in ("spatioloji-s", "numpy", "pandas", "scipy")))
CELLS, PAIRS, SIDE = 800, 6, 1000.0


def section(seed):
    """Cells and types at random; of one pair of genes type D has nine times as much of both, of the others all types have the same."""
    random = np.random.default_rng(seed)
    names = [f"cell {number}" for number in range(CELLS)]
    types = random.choice(list("ABCD"), CELLS, p=[0.4, 0.3, 0.2, 0.1])
    counts = random.poisson(1, (CELLS, 2 * PAIRS + 2))
    counts[types == "D", :2] = random.poisson(9, ((types == "D").sum(), 2))
    x, y = random.uniform(0, SIDE, (2, CELLS))
    genes = [f"{kind}{number}" for number in range(PAIRS + 1) for kind in ("ligand", "receptor")]
    made = spatioloji(
        counts.astype(float),
        names,
        genes,
        cell_metadata=pd.DataFrame({"cell_type": types}, index=names),
        spatial_coords={"x_local": x, "y_local": y, "x_global": x, "y_global": y},
    )
    return made, [LRPair(f"pair {number}", f"ligand{number}", f"receptor{number}", "made", "secreted") for number in range(PAIRS + 1)]


between, own, right, loops = {}, {}, [], {}
for radius in (30, 120, 240):
    seen = []
    for seed in (0, 1, 2):
        with contextlib.redirect_stdout(io.StringIO()):
            made, pairs = section(seed)
            graph = build_radius_graph(made, radius)
            edges = score_edges(made, pairs, graph_diffusible=graph)
            summary, _ = aggregate_scores(edges, made)
            table = test_significance(summary, edges, made)
            shuffled = test_significance(summary, edges, made, method="permutation", n_permutations=199)
        keys = ["lr_name", "sender_type", "receiver_type", "interaction_mode"]
        assert table[keys].equals(shuffled[keys])
        table["shuffled"], table["shuffled_fdr"] = shuffled["pvalue"], shuffled["fdr"]
        seen.append(table)
    seen, neighbours = pd.concat(seen), graph.adjacency.sum() / CELLS
    noise = seen[seen["lr_name"] != "pair 0"]
    cell, itself = (noise[noise["interaction_mode"] == mode] for mode in ("paracrine", "autocrine"))
    loop = seen.query("lr_name == 'pair 0' and sender_type == 'D' and interaction_mode == 'autocrine'")
    between[radius], own[radius], loops[radius] = (cell["pvalue"] < 0.05).mean(), (itself["pvalue"] < 0.05).mean(), loop
    right += [(cell["shuffled"] < 0.05).mean(), (itself["shuffled"] < 0.05).mean()]
    print(
        f"{neighbours:.0f} neighbours, noise: guess 5 % below .05; seen {between[radius]:.0%} between cells ({(cell['fdr'] < 0.05).mean():.0%}"
        f" after correction) and {own[radius]:.0%} to themselves, by permutation {right[-2]:.0%} ({(cell['shuffled_fdr'] < 0.05).mean():.0%})"
        f" and {right[-1]:.0%}; the one type with both to itself: z {', '.join(f'{one:.0f}' for one in loop['z_score'])}, p"
        f" {', '.join(f'{one:.2g}' for one in loop['pvalue'])}, by permutation {', '.join(f'{one:.2g}' for one in loop['shuffled'])}"
    )
    assert len(loop) == 3 and (loop["shuffled"] <= 0.005).all()
assert max(right) < 0.1
assert own[30] > 0.3 and own[120] == own[240] == 0 and between[240] > 0.18 and between[240] > between[120] > between[30]
assert (loops[30]["pvalue"] < 1e-6).all() and (loops[120]["pvalue"] > 0.9).all() and (loops[240]["pvalue"] > 0.9).all()
print("as found")
PY
