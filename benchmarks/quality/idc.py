"""Protocol idc-patients: invasive ductal carcinoma or not, patients apart, the shipped recipe beside the student team's nets.

    python benchmarks/quality/idc.py --root data/idc --weights VIT.safetensors
    python benchmarks/quality/idc.py --root data/idc --weights VIT.safetensors --rows breakhis --breakhis data/breakhis

Five folds by patient. Every fold and seed of a row is trained, then all are scored together by `bleep evaluate`, floors
beside them. A row `random` is CancerNet with patches split at random, as the team split them: it is marked as leaking. Runs
that are finished are not trained again. The record goes to benchmarks/results/idc.{md,json}, a row at a time.
"""

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

os.environ["TQDM_DISABLE"] = "1"
import numpy as np

from bleep import runs
from bleep.config import Config
from bleep.evaluation import labels as scoring
from bleep.evaluation.labels import LabelPrediction
from bleep.files import write_json, write_text
from bleep.predictors.classifier import ClassifierPredictor
from bleep.workflows.fit import fit
from bleep.workflows.labels import COLUMNS, LabelTable, evaluate_labels, save_labels

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDS = 5
PRETRAINED = "seeds/idc-breakhis-cancernet"
"""What the row `breakhis` starts from, trained on the whole of BreakHis."""


class Row(NamedTuple):
    """A row of the record."""

    recipes: tuple[str, ...]
    words: str
    over: Mapping[str, Any] = {}


NET = ("patches", "seeds/idc-cancernet-search-adadelta")
ROWS = {
    "default": Row(("idc",), "the shipped recipe: frozen ViT, depths 3, 5 and 8, context"),
    "cancernet": Row(NET, "CancerNet as the team's random search left it (Adadelta)"),
    "breakhis": Row(("patches", "seeds/idc-cancernet-breakhis"), "CancerNet, pretrained on BreakHis at 200 x"),
    "scratch": Row(
        ("patches", "seeds/idc-cancernet-breakhis"),
        "the same net and settings as `breakhis`, from nothing and no layer fixed",
        {"image": {"weights": "random", "freeze": 0}},
    ),
    "vgg5": Row(("patches", "seeds/idc-vgg5-12"), "five blocks in the manner of VGG, 12 epochs"),
    "random": Row(NET, "CancerNet, patches split at random: LEAKS, a patient is on both sides", {"data": {"split": "random"}}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of the patches")
    parser.add_argument("--weights", type=Path, required=True, help="weights of the ViT-S/14")
    parser.add_argument("--breakhis", type=Path, help="folder of BreakHis, for the row breakhis")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=["default"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="fewer epochs than the recipes of the nets have")
    parser.add_argument("--out", type=Path, default=Path("runs/idc"), help="folder of the runs")
    parser.add_argument("--result", type=Path, default=REPOSITORY / "benchmarks/results/idc", help="record, without suffix")
    arguments = parser.parse_args()
    kept = arguments.result.with_suffix(".json")
    record: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    for name in arguments.rows:
        table = score(name, arguments)
        save_labels(table, arguments.out / name)
        record[name] = _plain(name, table, arguments)
        write_json(kept, record)
        write_text(arguments.result.with_suffix(".md"), markdown(record))
        print(table.rows[list(COLUMNS)].round(3), flush=True)


def score(name: str, arguments: argparse.Namespace) -> LabelTable:
    """Train every fold and seed of a row and score them together."""
    folders = []
    for seed in range(arguments.seeds):
        for fold in range(FOLDS):
            out = arguments.out / name / f"fold{fold}-seed{seed}"
            folders.append(out)
            if not (out / runs.MODEL).exists():
                fit(settings(name, arguments, fold, seed, out), overwrite=out.exists())
                print("trained", out.name, flush=True)
    return evaluate_labels(folders)


def settings(name: str, arguments: argparse.Namespace, fold: int, seed: int, out: Path) -> Config:
    """Return the settings of one run."""
    row = ROWS[name]
    own: dict[str, Any] = {
        "data": {"root": str(arguments.root), "mpp": 4.0, "split": "patient", "folds": FOLDS, "fold": fold, "test": []},
        "seed": seed,
        "out": str(out),
    }
    if row.recipes[0] == "patches":
        own["optim"] = {"epochs": arguments.epochs} if arguments.epochs else {}
        if name == "breakhis":
            own["image"] = {"weights": str(pretrained(arguments))}
    else:
        own["image"] = {"weights": str(arguments.weights), "also_weights": [str(arguments.weights)] * 2}
    return Config.load(*row.recipes, own, row.over)


def pretrained(arguments: argparse.Namespace) -> Path:
    """Train the net on BreakHis, once."""
    out: Path = arguments.out / "breakhis-cancernet"
    if not (out / runs.MODEL).exists():
        if arguments.breakhis is None:
            raise SystemExit("the row breakhis needs --breakhis FOLDER")
        over = {"data": {"root": str(arguments.breakhis)}, "out": str(out)}
        fit(Config.load("patches", PRETRAINED, over), overwrite=out.exists())
    return out


def _plain(name: str, table: LabelTable, arguments: argparse.Namespace) -> dict[str, Any]:
    command = f"python benchmarks/quality/idc.py --root idc --weights {arguments.weights.name} --rows {name}"
    command += f" --seeds {arguments.seeds}" + (f" --epochs {arguments.epochs}" if arguments.epochs else "")
    rows = {str(key): {score: round(float(value), 4) for score, value in row.items()} for key, row in table.rows.iterrows()}
    about = {"words": ROWS[name].words, "command": command, "leak": table.leak.status, "facts": table.facts}
    return about | {
        "predictors": rows,
        "by_run": [_alone(one) for one in table.told if one.predictor == ClassifierPredictor.name],
    }


def _alone(one: LabelPrediction) -> dict[str, float]:
    """Return the scores of a classifier on the test tiles of one fold and seed."""
    found = scoring.scores(one.probability, one.truth, one.told)
    return {"seed": one.seed, "fold": one.fold} | {name: round(value, 4) for name, value in found.items()}


def markdown(record: Mapping[str, Any]) -> str:
    """Return the record as a page: one table for each row, floors beside it."""
    lines = ["# Protocol idc-patients", "", "Five folds by patient, joined; mean over seeds ± their standard deviation.", ""]
    for name, one in record.items():
        lines += [f"## {name}", "", f"{one['words']}. Leak: {one['leak']}. {one['facts']['split']}.", ""]
        lines += ["| predictor | " + " | ".join(COLUMNS) + " |", "| --- |" + " ---: |" * len(COLUMNS)]
        lines += [
            f"| {who} | " + " | ".join(_cell(row, key) for key in COLUMNS) + " |" for who, row in one["predictors"].items()
        ]
        lines += ["", f"Remade by `{one['command']}`.", ""]
    return "\n".join([*lines, *_transfer(record), *_not_run(record)])


def _transfer(record: Mapping[str, Any]) -> list[str]:
    """Return what starting from BreakHis gains over starting from nothing, run by run; nothing where either was not run."""
    runs = [
        {(one["seed"], one["fold"]): one for one in record.get(name, {}).get("by_run", [])} for name in ("breakhis", "scratch")
    ]
    both = sorted(runs[0].keys() & runs[1].keys())
    if not both:
        return []
    lines = ["## From BreakHis to IDC", "", f"`breakhis` less `scratch`, fold by fold, {len(both)} runs of each:", ""]
    for key in ("auc", "balanced_accuracy", "f1"):
        gains = np.array([runs[0][one][key] - runs[1][one][key] for one in both])
        spread = f", standard deviation {gains.std(ddof=1):.3f}" if len(gains) > 1 else ""
        lines.append(f"- {key}: {gains.mean():+.3f} (from {gains.min():+.3f} to {gains.max():+.3f}{spread})")
    return [*lines, ""]


def _not_run(record: Mapping[str, Any]) -> list[str]:
    """Return the rows of the team's table that are not in the record, and how to run them on a GPU."""
    run = {Path(recipe).name for name in record for recipe in ROWS[name].recipes}
    left = [path.stem for path in sorted((REPOSITORY / "configs/seeds").glob("idc-*.yaml")) if path.stem not in run]
    return [
        "## Rows not run",
        "",
        "An epoch of CancerNet takes about 27 s of one core, so five folds of 20 epochs and three seeds are two hours and "
        "more for each of these, and many for the larger nets, which begin with weights of a hub. Each has its recipe "
        "and a test of one step. On a GPU, with FOLD of 0 to 4 and SEED of 0 to 2, then `bleep evaluate --run` over all:",
        "",
        "```bash",
        "accelerate launch bleep/train.py --config configs/patches.yaml configs/seeds/NAME.yaml --data.root idc \\",
        "    --data.fold FOLD --seed SEED --out runs/NAME-fFOLD-sSEED",
        "```",
        "",
        "NAME: " + ", ".join(f"`{name}`" for name in left) + ".",
        "",
    ]


def _cell(row: Mapping[str, float], key: str) -> str:
    spread = row.get(f"{key}_sd", float("nan"))
    return f"{row[key]:.3f}" if spread != spread else f"{row[key]:.3f} ± {spread:.3f}"


if __name__ == "__main__":
    main()
