#!/usr/bin/env bash
# In spatioloji-s the rarer types are always enriched at the borders of the tissue's types and the commonest is depleted, in random tissue too.
#
# One would expect: a type is enriched among boundary cells if its cells have neighbours of other types more often than by chance, so
# with types drawn at random none is, in 19 of 20 tests; and a type that lies in nests is depleted.
# What happens: a cell is at a boundary if 30 % of its neighbours are of other types than its own, and that is most cells of a rare type
# and few of a common one wherever they lie. The test draws as many cells at random instead of drawing the types. With types at random
# of 80, 15 and 5 % the common one has .5 or .6 of what is expected and the others 2.4 to 3.1 times, all with the least p there is, in
# each of five sections. A rare type in nests of 16, most of whose neighbours are of its own kind, has 2.8 times and is enriched too.
# Way out: shuffle the types and find boundary cells anew, by boundary_cells or by the links of the graph as the script does: at random
# none of 15 is significant, and the type in nests has .75 of what is expected, with the least p there is.
# Versions: spatioloji-s 2.0.1 of October 2026, which asks for Python 3.12 and runs under 3.11 as it is here; seen on 2026-11-30.
# Why it matters: it is asked which cells line the border of a tumour, and the answer is the list of types by their rarity.
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
from spatioloji_s.data.core import spatioloji
from spatioloji_s.spatial.polygon import boundary_cells, boundary_enrichment_test, build_contact_graph

print(*(f"{name} {version(name)}" for name in ("spatioloji-s", "geopandas", "numpy")))
SIDE, WIDTH, PERMUTATIONS, SECTIONS = 30, 10.0, 199, 5
TYPES, SHARES = np.array(["common", "less", "rare"]), [0.8, 0.15, 0.05]
SQUARE = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]) * WIDTH


def section(types):
    """Square cells side by side, each with eight neighbours."""
    names = [f"cell {number}" for number in range(types.size)]
    y, x = np.mgrid[:SIDE, :SIDE].reshape(2, -1) * WIDTH
    corners_x, corners_y = ((start[:, None] + SQUARE[:, axis]).ravel() for axis, start in enumerate((x, y)))
    outlines = pd.DataFrame({"cell": np.repeat(names, len(SQUARE))})
    for kind in ("global", "local"):
        outlines[f"x_{kind}_px"], outlines[f"y_{kind}_px"] = corners_x, corners_y
    made = spatioloji(
        np.ones((types.size, 1)),
        names,
        ["gene"],
        cell_metadata=pd.DataFrame({"type": types.ravel()}, index=names),
        spatial_coords={"x_local": x, "y_local": y, "x_global": x, "y_global": y},
        polygons=outlines,
    )
    return made, build_contact_graph(made)


def on_boundary(types, graph):
    """The number of cells of each type with 30 % or more of their neighbours of other types, from the links of the graph."""
    own = (types[:, None] == TYPES).astype(float)
    same = ((graph.adjacency @ own) * own).sum(axis=1) / graph.adjacency.sum(axis=1).A1
    return own[1 - same >= 0.3].sum(axis=0)


def by_shuffling(types, graph, random):
    """Twice the share of shuffled sections with at most, or at least, as many boundary cells of each type; and the share of the mean."""
    seen = on_boundary(types, graph)
    shuffled = np.array([on_boundary(random.permutation(types), graph) for _ in range(PERMUTATIONS)])
    tails = np.minimum((shuffled >= seen).sum(axis=0), (shuffled <= seen).sum(axis=0))
    return np.minimum(2 * (tails + 1) / (PERMUTATIONS + 1), 1), seen / shuffled.mean(axis=0)


def nests(random):
    """As above, but the rare type lies in three nests of 16."""
    types = random.choice(TYPES[:2], (SIDE, SIDE), p=[0.85, 0.15])
    for corner in (3, 12, 22):
        types[corner : corner + 4, corner : corner + 4] = "rare"
    return types


significant = 0
for seed in range(SECTIONS):
    random = np.random.default_rng(seed)
    for kind in ("at random", "with the rare type in nests") if seed == 0 else ("at random",):
        types = random.choice(TYPES, (SIDE, SIDE), p=SHARES) if kind == "at random" else nests(random)
        with contextlib.redirect_stdout(io.StringIO()):
            made, graph = section(types)
            table = boundary_enrichment_test(made, graph, "type", n_permutations=PERMUTATIONS).set_index("cell_type").loc[TYPES]
            flat = made.cell_meta["type"].to_numpy().astype(str)
            found = boundary_cells(made, graph, "type", store=False).to_numpy()
        assert np.array_equal(on_boundary(flat, graph), [(flat[found] == name).sum() for name in TYPES])
        right, fold = by_shuffling(flat, graph, random)
        seen = "; ".join(
            f"{name} {one.fold_change:.1f} times, p {one.p_value:.2f}, by shuffling {times:.2f} times, p {p:.2f}"
            for (name, one), times, p in zip(table.iterrows(), fold, right, strict=True)
        )
        print(f"section {seed} {kind}: guess {'no type enriched' if kind == 'at random' else 'the rare type depleted'}; seen {seen}")
        assert table.loc["rare", "fold_change"] > 1.4 and table.loc["rare", "significant"]
        if kind == "at random":
            assert table["significant"].all() and table.loc["common", "fold_change"] < 0.8 and table.loc["less", "fold_change"] > 2
            significant += (right < 0.05).sum()
        else:
            assert right[2] <= 0.02 and fold[2] < 0.85
print(f"by shuffling {significant} of {SECTIONS * len(TYPES)} are significant at random")
assert significant <= 3
print("as found")
PY
