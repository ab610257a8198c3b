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

import pandas as pd

os.environ["TQDM_DISABLE"] = "1"
from bleep.config import Config
from bleep.evaluation import report
from bleep.files import write_text
from bleep.predictors import MeanOfPredictors, Predictor
from bleep.predictors.baselines import baselines_of
from bleep.predictors.calibration import predictors_of
from bleep.records import Leak, Scorecard
from bleep.workflows.fit import fit
from bleep.workflows.query import build_reference
from bleep.workflows.scoring import Scorer
from bleep.workflows.tissue import load_split

REPOSITORY = Path(__file__).resolve().parents[2]
ABOUT = (
    "`python benchmarks/quality/ablation.py {}`, {} seeds, every fold, frozen features of the protocol; PCC over the panel and "
    "over HEG50, mean and spread over test sections (one test section: no spread). Rows that begin with `and` add to the row "
    "with gene dropout. Test folds: nothing was chosen by this table."
)
Over = tuple[Mapping[str, Any] | Path, ...]
ALONE = {"loss": {"task": "contrastive"}, "head": {"dropout": 0.1}, "optim": {"epochs": 30}}
"""Retrieval by itself, as most rows have it."""
NONE = {"optim": {"gene_dropout": 0.0}}
RECIPE = "two tasks (the recipe)"


def rows(recipe: Config) -> dict[str, Over]:
    """Return what is laid over a recipe for each row, by the row's name."""
    other = "train" if recipe.image.standardize == "section" else "section"
    whose = {"train": "over training", "section": "per section"}[other]
    found: dict[str, Over] = {
        "published settings (bleep-2023), on these features": (ALONE, REPOSITORY / "configs/presets/bleep-2023.yaml"),
        "unit length, learning temperature, hard targets": (ALONE, NONE, {"loss": {"targets": "hard"}}),
        "the same, targets from projections": (ALONE, NONE, {"loss": {"targets": "projected"}}),
        "the same, targets from the inputs": (ALONE, NONE),
        "with gene dropout 0.5": (ALONE,),
        f"and features standardised {whose}": (ALONE, {"image": {"standardize": other}}),
        "and batch 64": (ALONE, {"optim": {"batch": 64}}),
        "and a batch of all spots": (ALONE, {"optim": {"batch": 100_000}}),
        "and SigLIP with hard targets": (ALONE, {"loss": {"form": "siglip", "targets": "hard", "temperature": 0.1}}),
        "and the trunk read at its last layer": (ALONE, {"image": {"layer": None}}),
    }
    for count, word in ((1, "one window"), (2, "two windows")):
        if count < len(recipe.tiles.microns):
            found[f"and {word}"] = (ALONE, {"tiles": {"microns": recipe.tiles.microns[:count]}})
    return found | {RECIPE: ()}


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
    for name, over in rows(Config.load(recipe)).items():
        table = one_row(recipe, over, place, arguments.seeds, floors=name == RECIPE)
        for predictor, row in table.iterrows():
            cells = " | ".join(_cell(row[key], row[f"{key}_sd"]) for key in ("pcc", "pcc_heg50"))
            lines.append(f"| {name} | {predictor} | {cells} |")
            print(lines[-1], flush=True)
        write_text(REPOSITORY / f"benchmarks/results/ablation-{arguments.protocol}.md", "\n".join([*lines, ""]))


def one_row(recipe: Path, over: Over, place: Mapping[str, Any], seeds: int, *, floors: bool) -> pd.DataFrame:
    """Train every fold and seed of a row, and return the rows of its table; the trunk stays the protocol's, frozen.

    With floors, they and the mean over the seeds' predictions stand beside the run's own predictors.
    """
    kept = Config.load(recipe)
    features = {"image": {"trunk": kept.image.trunk, "train": "frozen"}, "optim": {"chunk": None}}
    if not any(isinstance(part, Mapping) and "layer" in part.get("image", {}) for part in over):
        features["image"]["layer"] = kept.image.layer
    cards: list[Scorecard] = []
    with tempfile.TemporaryDirectory() as temporary:
        for fold in range(1 if kept.data.test else kept.data.folds):
            members: dict[str, list[Predictor]] = {}
            for seed in range(seeds):
                out = Path(temporary) / f"fold{fold}-seed{seed}"
                last = {"data": {"fold": fold}, "seed": seed, "out": str(out)}
                run = fit(Config.load(recipe, *over, features, place, last))
                found = predictors_of(run, reference_of(run))
                for name, predictor in found.items():
                    members.setdefault(name, []).append(predictor)
                divided = load_split(run.config)
                if floors and seed == 0:
                    found |= baselines_of(run, run.tiles(divided.train))
                cards += Scorer().score(found, run.tiles(divided.test), run, ())
            if floors:
                averaged = {f"{name}, seeds averaged": MeanOfPredictors(each) for name, each in members.items()}
                cards += Scorer().score(averaged, run.tiles(divided.test), run, ())
    return report.compare(cards, kept.data.protocol, Leak("unknown", ""), {}).rows


def reference_of(run: Any) -> Any:
    """Return the index of a contrastive run."""
    return None if run.config.loss.task == "regression" else build_reference(run)


def _cell(value: float, spread: float) -> str:
    return f"{value:.3f}" if pd.isna(spread) else f"{value:.3f} ± {spread:.3f}"


if __name__ == "__main__":
    main()
