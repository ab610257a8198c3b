#!/usr/bin/env bash
# An undirected vicinity graph of spatiomic gives most pairs of types the weight of another pair.
#
# One would expect: vicinity_graph makes a graph of the table in which vicinity_composition counted how often types touch. With
# directed=False an edge weighs what both directions of its pair weigh together, as the comment in its source says too.
# What happens: weights are summed for both directions of each pair, in the order of the rows, then the pairs are sorted and
# their doubles taken away, the weights not. Where all types touch, only the edges of the first are right; the others get what
# comes next in the longer list. Of ten pairs of five types six are wrong: B and vessel, which touch in 3 pixels, weigh 76 times
# what they should, and vessels, which lie in the stroma, are all but free of it. Other numbers for the same types, other edges.
# Directed graphs are right, and so is which edges there are.
# Versions: spatiomic 0.9.3, the last for Python 3.11, with networkx 3.6.1; seen on 2026-11-29. 0.11.0 of October 2026 has the
# same lines in its source, and was not run.
# Why it matters: communities, shortest paths and the pictures of who borders on whom are made from an undirected graph by most
# functions of networkx, and nothing looks odd: every edge is there, with a weight of the right size for some edge.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.4.6 pandas==2.3.3 scipy==1.16.3 scikit-learn==1.9.1 networkx==3.6.1 esda==2.9.0 libpysal==4.14.1 anndata==0.12.7 \
  joblib==1.6.0 lazy-loader==0.6 tqdm==4.70.1
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps spatiomic==0.9.3
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import networkx as nx
import numpy as np
from spatiomic.spatial import vicinity_composition, vicinity_graph

print(*(f"{name} {version(name)}" for name in ("spatiomic", "networkx")))
names = np.array(["tumour", "stroma", "T", "B", "vessel"])
random = np.random.default_rng(0)
y, x = np.mgrid[:200, :200]
types = np.where((x - 90) ** 2 + (y - 100) ** 2 < 60**2, 0, 1)
types[random.random(types.shape) < 0.02] = 4
follicle = (x - 150) ** 2 + (y - 60) ** 2 < 25**2
types = np.where(follicle, np.where(random.random(types.shape) < 0.5, 2, 3), types)


def by_hand(picture):
    """How often a pixel of one type lies beside or across from a pixel of another."""
    counts = np.zeros((5, 5))
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        first = picture[: 200 - down, max(0, -right) : 200 - max(0, right)]
        second = picture[down:, max(0, right) : 200 + min(0, right)]
        np.add.at(counts, (first, second), 1)
    counts += counts.T
    np.fill_diagonal(counts, 0)
    return counts


def weights(graph):
    matrix = np.zeros((5, 5))
    for one, other, weight in graph.edges(data="weight"):
        matrix[one, other] = weight
    return matrix


def both(graph):
    return np.triu(weights(graph) + weights(graph).T, 1)


pairs = np.triu_indices(5, 1)
wrong = {}
for title, order in (("as they are", [0, 1, 2, 3, 4]), ("numbered backwards", [4, 3, 2, 1, 0])):
    picture = np.array(order)[types]
    called = names[order]
    table = vicinity_composition(picture)
    counts = by_hand(picture)
    assert (table.to_numpy() == counts).all()
    for normalize in (False, True):
        share = counts / counts.sum(1, keepdims=True) if normalize else counts
        right = np.triu(share + share.T, 1)
        directed = vicinity_graph(table.copy(), normalize=normalize)
        assert np.allclose(weights(directed), share) and np.allclose(both(directed), right)
        undirected = vicinity_graph(table.copy(), normalize=normalize, directed=False)
        assert undirected.number_of_edges() == 10
        seen = both(undirected)
        wrong[title, normalize] = [(called[a], called[b]) for a, b in zip(*pairs) if not np.isclose(seen[a, b], right[a, b])]
        print(f"types {title}, normalize={normalize}: edges of wrong weight guess 0 of 10, seen {len(wrong[title, normalize])}")
        if title == "as they are" and normalize:
            for a, b in zip(*pairs):
                print(f"  {called[a]} and {called[b]}: by hand {right[a, b]:.3f}, seen {seen[a, b]:.3f}")
            assert seen[3, 4] > 50 * right[3, 4] and seen[1, 4] < right[1, 4] / 10, (seen, right)
            vessel = [float(by[1, 4] / (by[0, 4] + by[1, 4] + by[2, 4] + by[3, 4])) for by in (right, seen)]
            print(f"  the stroma's part in all that the vessel weighs: by hand {vessel[0]:.2f}, seen {vessel[1]:.2f}")
            assert vessel[0] > 0.5 and vessel[1] < 0.1, vessel
assert all(len(edges) == 6 for edges in wrong.values()), wrong
assert set(map(frozenset, wrong["as they are", True])) != set(map(frozenset, wrong["numbered backwards", True])), wrong
# the same pairs through networkx alone, which sums both directions of a directed graph rightly
directed = vicinity_graph(vicinity_composition(types), normalize=False)
plain = nx.Graph()
for one, other, weight in directed.edges(data="weight"):
    plain.add_edge(one, other, weight=weight + (plain.edges[one, other]["weight"] if plain.has_edge(one, other) else 0))
assert np.allclose(both(plain), np.triu(2 * by_hand(types), 1))
print("as found")
PY
