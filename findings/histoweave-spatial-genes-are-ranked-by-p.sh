#!/usr/bin/env bash
# In HistoWeave's benchmark Moran's I finds no spatial gene, since genes are ranked by their adjusted p-value, the largest first.
#
# One would expect: `evaluate_method_output` scores how well a method ranks the genes that have a pattern in the package's own scenarios. Moran's I, Geary's C
# and the ratio of variances of the same package have about the same precision, .75 to .79 where tissue has compartments.
# What happens: the score of a gene is taken from the last numeric column that the method wrote. The package's `morans_i` writes the statistic, its z, p and
# adjusted p in this order, so the adjusted p is taken for a score, and the least significant genes come first. Moran's I has an area of .10 instead of .77
# and a precision of 0 among the first 48 genes; in all four scenarios it is below chance (.19) and the worst of the three.
# Way out: drop the columns of p before the evaluation (checked below).
# Versions: histoweave-spatial 0.1.1, the newest in November 2026; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: a benchmark that is to choose methods ranks one last because it also gives p-values.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.3.5 scipy==1.16.3 pandas==2.3.3 scikit-learn==1.7.2 anndata==0.12.6 jinja2==3.1.6 packaging==25.0 zarr==3.1.6 dask==2026.1.1 spatialdata==0.7.3
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps histoweave-spatial==0.1.1
cd "$folder"
export MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from histoweave.benchmark.phenomenology_metrics import evaluate_method_output
from histoweave.datasets.phenomenology import ConditionSpec, PhenomenonSpec, ScenarioManifest, make_phenomenology_scenario
from histoweave.plugins import MethodCategory, create_method
from sklearn.metrics import average_precision_score

print(*(f"{name} {version(name)}" for name in ("histoweave-spatial", "scikit-learn")))


def scores(result, reference, pattern):
    return {one.name: one.value for one in evaluate_method_output("svg", result, reference, pattern)}


for pattern in ("compartment", "gradient", "hotspot", "boundary"):
    reference = make_phenomenology_scenario(ScenarioManifest(PhenomenonSpec(pattern), ConditionSpec("clean"), 0, 0))
    truth = reference.var["spatial_truth"].to_numpy(bool)
    data = create_method(MethodCategory.NORMALIZATION, "log1p_cp10k").run(reference.copy())
    for name in ("gearys_c", "spatial_variance_ratio", "morans_i"):
        result = create_method(MethodCategory.SPATIALLY_VARIABLE_GENES, name).run(data)
        columns = [one for one in result.var.columns if one not in reference.var.columns]
        statistic = result.var[columns[0]].to_numpy()
        area, first = average_precision_score(truth, statistic), truth[np.argsort(-statistic)[: truth.sum()]].mean()
        seen = scores(result, reference, pattern)
        print(
            f"{pattern}, {name}: area under precision and recall: guess {area:.2f}, seen {seen['gene_pr_auc']:.2f}; "
            f"share of true ones among the first {truth.sum()} genes: guess {first:.2f}, seen {seen['precision_at_k']:.2f} (chance {truth.mean():.2f})"
        )
        if name == "morans_i":
            assert columns == ["morans_i", "morans_i_z", "morans_i_pval", "morans_i_padj"]
            assert seen["gene_pr_auc"] < truth.mean() < area - 0.05 and seen["precision_at_k"] < truth.mean()
            for column in columns[1:]:
                del result.var[column]
            assert np.isclose(scores(result, reference, pattern)["gene_pr_auc"], area)
        else:
            assert np.isclose(seen["gene_pr_auc"], area)
print("as found")
PY
