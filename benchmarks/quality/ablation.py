"""What each choice brings: one row a configuration, on a protocol's own folds, some seeds, mean and spread.

    python benchmarks/quality/ablation.py her2st-c --root data/her2st --weights FILE.safetensors

Every row is laid over the protocol's recipe. The record goes to benchmarks/results/ablation-PROTOCOL.md. These are test
folds: the table explains choices that were made on validation sections, and nothing may be chosen by it.
"""

import argparse
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ["TQDM_DISABLE"] = "1"
from bleep import pipeline
from bleep.files import write_text
from bleep.runs import REFERENCE
from bleep.settings import Config

REPOSITORY = Path(__file__).resolve().parents[2]
ABOUT = (
    "`python benchmarks/quality/ablation.py {}`, {} seeds, every fold, frozen features of the protocol; PCC over the panel and "
    "over HEG50, mean and spread over test sections. Rows that begin with `and` add to the row with gene dropout. Test folds: "
    "nothing was chosen by this table."
)
ALONE = {"loss": {"task": "contrastive"}, "head": {"dropout": 0.1}, "optim": {"epochs": 30}}
"""Retrieval by itself, as most rows have it."""
NONE = {"optim": {"gene_dropout": 0.0}}
ROWS: Mapping[str, tuple[Mapping[str, Any] | Path, ...]] = {
    "published settings (bleep-2023), on these features": (ALONE, REPOSITORY / "configs/presets/bleep-2023.yaml"),
    "unit length, learning temperature, hard targets": (ALONE, NONE, {"loss": {"targets": "hard"}}),
    "the same, targets from projections": (ALONE, NONE, {"loss": {"targets": "projected"}}),
    "the same, targets from the inputs": (ALONE, NONE),
    "with gene dropout 0.5": (ALONE,),
    "and features standardised per section": (ALONE, {"image": {"standardize": "section"}}),
    "and batch 64": (ALONE, {"optim": {"batch": 64}}),
    "and a batch of all spots": (ALONE, {"optim": {"batch": 100_000}}),
    "and SigLIP with hard targets": (ALONE, {"loss": {"form": "siglip", "targets": "hard", "temperature": 0.1}}),
    "two tasks (the recipe)": (),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("protocol", help="name of a recipe in configs/")
    parser.add_argument("--root", required=True, help="data.root")
    parser.add_argument("--weights", default="hub", help="image.weights")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    recipe = REPOSITORY / f"configs/{arguments.protocol}.yaml"
    place = {"data": {"root": arguments.root}, "image": {"weights": arguments.weights}}
    lines = [f"# What each choice brings on {arguments.protocol}", "", ABOUT.format(arguments.protocol, arguments.seeds), ""]
    lines += ["| setting | predictor | PCC | HEG50 |", "| --- | --- | ---: | ---: |"]
    for name, over in ROWS.items():
        table = one_row(recipe, over, place, arguments.seeds)
        for predictor in (word for word in ("retrieval", "regression", "combined") if word in table.index):
            row = table.loc[predictor]
            cells = " | ".join(f"{row[key]:.3f} ± {row[f'{key}_sd']:.3f}" for key in ("pcc", "pcc_heg50"))
            lines.append(f"| {name} | {predictor} | {cells} |")
            print(lines[-1], flush=True)
        write_text(REPOSITORY / f"benchmarks/results/ablation-{arguments.protocol}.md", "\n".join([*lines, ""]))


def one_row(recipe: Path, over: tuple[Mapping[str, Any] | Path, ...], place: Mapping[str, Any], seeds: int) -> Any:
    """Train every fold and seed of a row, and return the rows of its table; the trunk stays the protocol's, frozen."""
    data, kept = Config.load(recipe).data, Config.load(recipe).image
    features = {"image": {"trunk": kept.trunk, "layer": kept.layer, "train": "frozen"}, "optim": {"chunk": None}}
    with tempfile.TemporaryDirectory() as temporary:
        folders = []
        for fold in range(1 if data.test else data.folds):
            for seed in range(seeds):
                out = Path(temporary) / f"fold{fold}-seed{seed}"
                last = {"data": {"fold": fold}, "seed": seed, "out": str(out)}
                run = pipeline.fit(Config.load(recipe, *over, features, place, last))
                pipeline.build_reference(run).save(out / REFERENCE)
                folders.append(out)
        return pipeline.evaluate(folders).rows


if __name__ == "__main__":
    main()
