"""Layers of the olfactory bulb, told to the spots of another mouse by their neighbours, beside the floors of labels.

    python benchmarks/quality/spot_labels.py --root data/mob --weights VIT.safetensors

No public table says in which layer the spots of these sections lie, so the layers are clusters of measured expression:
k-means of five, on 20 principal components of the logarithms of the 1000 genes that vary most, less each section's mean. They
are written as a table of labels (`data.annotations`), as a pathologist's are, and the recipe `mob-mouse` is trained, indexed
and scored both ways round. Clusters are found on all four sections together, since they are the truth here and nothing is
predicted by them. Records: benchmarks/results/spot_labels*.md.
"""

import argparse
import os
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"
import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from bleep import runs
from bleep.config import Config, DataConfig
from bleep.data.readers import read_sections
from bleep.files import write_text
from bleep.workflows.fit import fit
from bleep.workflows.labels import evaluate_spot_labels, label_markdown, save_labels
from bleep.workflows.query import build_reference

REPOSITORY = Path(__file__).resolve().parents[2]
LAYERS, COMPONENTS, GENES = 5, 20, 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of the four sections")
    parser.add_argument("--weights", type=Path, required=True, help="weights of the ViT-S/14")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--labels", type=float, default=0.0, help="loss.labels: learn the layers beside the expression too")
    parser.add_argument("--out", type=Path, default=Path("runs/spot-labels"), help="folder of the runs")
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    table = arguments.out / "layers.csv"
    layers(arguments.root).to_csv(table, index=False)
    folders = []
    for seed in range(arguments.seeds):
        for fold in range(2):
            out = arguments.out / f"fold{fold}-seed{seed}-labels{arguments.labels:g}"
            folders.append(out)
            if not (out / runs.REFERENCE).exists():
                over = {
                    "data": {"root": str(arguments.root), "fold": fold, "annotations": str(table), "label": "layer"},
                    "image": {"weights": str(arguments.weights)},
                    "loss": {"labels": arguments.labels},
                    "seed": seed,
                    "out": str(out),
                    "cache": str(arguments.cache),
                }
                run = fit(Config.load(REPOSITORY / "configs/mob-mouse.yaml", over), overwrite=out.exists())
                build_reference(run).save(out / runs.REFERENCE)
                print("trained", out.name, flush=True)
    found = evaluate_spot_labels(folders)
    assert found is not None
    print(found.rows.round(3).to_string())
    save_labels(found, arguments.out, "labels")
    name, told = ("spot_labels", "") if not arguments.labels else ("spot_labels-learnt", f" --labels {arguments.labels:g}")
    made = f"Made by `python benchmarks/quality/spot_labels.py --seeds {arguments.seeds}{told}`."
    words = __doc__.split("\n\n")[2]
    write_text(REPOSITORY / f"benchmarks/results/{name}.md", f"{label_markdown(found)}\n{made} {words}\n")


def layers(root: Path) -> pd.DataFrame:
    """Return the table of labels."""
    sections = read_sections(DataConfig(source="st2k", root=root, species="mouse"))
    shared = sorted(set.intersection(*(set(section.genes) for section in sections)))
    logs = []
    for section in sections:
        counts = section.counts.to_df()
        logs.append(np.log1p(1e4 * counts[shared].div(counts.sum(axis=1), axis=0)))
    most = pd.concat(logs).var().nlargest(GENES).index
    centred = pd.concat([table[most] - table[most].mean() for table in logs])
    found = KMeans(LAYERS, n_init=10, random_state=0).fit_predict(PCA(COMPONENTS, random_state=0).fit_transform(centred))
    spots = [(section.name, spot) for section in sections for spot in section.counts.obs_names]
    return pd.DataFrame(spots, columns=["section", "spot"]).assign(layer=[f"layer {one + 1}" for one in found])


if __name__ == "__main__":
    main()
