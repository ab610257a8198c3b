"""Score the shipped recipes on subjects that nobody measured: every direction against its best floor.

    python benchmarks/quality/travel.py run als-mouse --root data/als_spinal_cord --weights FILE.safetensors
    python benchmarks/quality/travel.py table

`run` adds a line for each test section, fold and seed to benchmarks/results/travel.jsonl, and skips those already there;
`table` makes benchmarks/results/travel.md of them. Everything is fitted on training sections alone; nothing is chosen here.
"""

import argparse
import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

os.environ["TQDM_DISABLE"] = "1"
from bleep.config import Config
from bleep.data.panel import GenePanel
from bleep.evaluation.metrics import pearson
from bleep.files import write_text
from bleep.predictors.baselines import baselines_of
from bleep.predictors.calibration import CombinedPredictor
from bleep.predictors.conformal import measured_by_grade
from bleep.runs import Run
from bleep.workflows.calibrate import cross_fit, fit_calibration
from bleep.workflows.fit import refit
from bleep.workflows.query import build_reference
from bleep.workflows.tissue import load_split

REPOSITORY = Path(__file__).resolve().parents[2]
LINES = REPOSITORY / "benchmarks/results/travel.jsonl"
TABLE = REPOSITORY / "benchmarks/results/travel.md"
PROTOCOLS = ("als-mouse", "her2st-b", "her2st-b-to-c", "mob-mouse")
FLOORS = ("ridge", "ridge on colour", "image-kNN")
KEYS = ("protocol", "fold", "seed", "train")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    actions = parser.add_subparsers(dest="action", required=True)
    one = actions.add_parser("run")
    one.add_argument("protocol", choices=PROTOCOLS)
    one.add_argument("--root", required=True, help="data.root")
    one.add_argument("--weights", default="hub", help="image.weights")
    one.add_argument("--precision", default="float32", help="image.precision")
    one.add_argument("--cache", default="cache")
    one.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    one.add_argument("--folds", type=int, nargs="+", default=None, help="only these folds")
    one.add_argument("--subjects", type=int, default=None, help="train on the first so many subjects of the training side")
    one.add_argument("--with", dest="changes", nargs="+", default=[], metavar="KEY=VALUE", help="settings to change")
    one.add_argument("--lines", type=Path, default=LINES)
    actions.add_parser("table").add_argument("--lines", type=Path, default=LINES)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    if arguments.action == "table":
        write_text(TABLE, table(pd.DataFrame(read(arguments.lines))))
        return
    if arguments.action == "run" and arguments.changes and arguments.lines == LINES:
        parser.error("--with needs --lines FILE of its own: the record holds the recipes as they are")
    folds = Config.load(REPOSITORY / f"configs/{arguments.protocol}.yaml").data
    for seed in arguments.seeds:
        for fold in arguments.folds or range(1 if folds.test else folds.folds):
            here = {"protocol": arguments.protocol, "fold": fold, "seed": seed, "train": arguments.subjects or 0}
            if any(all(line[key] == here[key] for key in KEYS) for line in read(arguments.lines)):
                continue
            lines = measured(arguments, here)
            arguments.lines.parent.mkdir(parents=True, exist_ok=True)
            with arguments.lines.open("a") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)
            print(json.dumps(lines[-1]), flush=True)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def config_of(arguments: argparse.Namespace, here: dict[str, Any]) -> Config:
    place = {
        "data": {"root": arguments.root, "fold": here["fold"]},
        "image": {"weights": arguments.weights, "precision": arguments.precision},
        "seed": here["seed"],
        "cache": arguments.cache,
    }
    config = Config.load(REPOSITORY / f"configs/{arguments.protocol}.yaml", place, *map(change, arguments.changes))
    if arguments.subjects is None:
        return config
    divided = load_split(config)
    kept = sorted({section.patient for section in divided.train})[: arguments.subjects]
    names = [section.name for section in divided.train if section.patient in kept]
    test = sorted({section.patient for section in divided.test})
    names += [section.name for section in divided.test]
    return Config.load(config.dump(), {"data": {"sections": names, "test": test}})


def change(word: str) -> dict[str, Any]:
    """Return `image.stain=stretch` as a tree of settings."""
    names, value = word.split("=", 1)
    tree: Any = yaml.safe_load(value)
    for name in reversed(names.split(".")):
        tree = {name: tree}
    return dict(tree)


def measured(arguments: argparse.Namespace, here: dict[str, Any]) -> list[dict[str, Any]]:
    config = config_of(arguments, here)
    divided = load_split(config)
    panel = GenePanel.fit(divided.train, config.panel)
    with tempfile.TemporaryDirectory() as temporary:
        run = refit(Run.new(config, panel, divided), divided, panel, Path(temporary) / "run")
        reference = build_reference(run)
        calibration = fit_calibration(run, divided, cross_fit(run, divided, Path(temporary) / "rehearsal"))
    combined = CombinedPredictor(run, reference, calibration)
    predictors = {"combined": combined, **baselines_of(run, run.tiles(divided.train)), **combined.members}
    lines = []
    for tiles in run.tiles(divided.test).alone():
        (section,) = tiles.sections
        truth = panel.values(section, config.panel.absent)
        line: dict[str, Any] = {**here, "section": section.name, "subject": section.patient}
        line |= {"rehearsed": calibration.report["scores"]["combined"], "trust": calibration.report["trust"]}
        for name, predictor in predictors.items():
            prediction = predictor.predict(tiles)
            scores = pearson(prediction.expression, truth)
            line[name] = float(np.nanmean(scores))
            if prediction.confidence is not None:
                means = measured_by_grade(prediction.confidence["confidence"], pd.Series(scores, index=panel.genes))
                line |= {f"genes graded {grade}": float(mean) for grade, mean in means.items()}
            if prediction.lower is not None and prediction.upper is not None:
                there = np.isfinite(truth)
                line["coverage"] = float(((truth >= prediction.lower) & (truth <= prediction.upper))[there].mean())
        lines.append(line)
    return lines


def table(lines: pd.DataFrame) -> str:
    """Return one row a direction: the mean over a test subject's sections, then over seeds; and the means over directions."""
    graded = [name for name in lines if name.startswith("genes graded")]
    beside = (*KEYS, *graded, "section", "subject", "rehearsed", "trust", "coverage", "mean")
    names = [name for name in lines if name not in beside]
    numbers = [*names, "rehearsed", "coverage", *graded]
    keys = ["protocol", "train", "subject"]
    by_seed = lines.groupby([*keys, "seed"], sort=False)[numbers].mean()
    rows = by_seed.groupby(keys, sort=False).mean()
    best = rows[list(FLOORS)].max(axis=1)
    head = ["direction", "subjects in training", *names, "best floor", "combined - best floor"]
    head += ["rehearsed", "coverage of 90 %", *graded]
    out = [
        "# On subjects that were not trained on",
        "",
        "`python benchmarks/quality/travel.py run PROTOCOL --root DATA --weights FILE`, then `... table`; mean PCC, seeds "
        f"{', '.join(map(str, sorted(set(lines['seed']))))}; test subjects in rows. `rehearsed` is what `bleep calibrate` "
        "found on left-out training tissue.",
        "",
        "| " + " | ".join(head) + " |",
        "| --- |" + " ---: |" * (len(head) - 1),
    ]
    for (protocol, train, subject), row in rows.iterrows():
        floor = best[protocol, train, subject]
        cells = [f"{protocol}: {subject}", str(train or "all"), *(f"{row[name]:.3f}" for name in names), f"{floor:.3f}"]
        cells += [f"{row['combined'] - floor:+.3f}", f"{row['rehearsed']:.3f}", f"{row['coverage']:.2f}"]
        cells += [f"{row[name]:.3f}" for name in graded]
        out.append("| " + " | ".join(cells) + " |")
    whole = rows[rows.index.get_level_values("train") == 0]
    if len(whole):
        floor = best[whole.index].mean()
        out += [
            "",
            f"Mean over directions: combined {whole['combined'].mean():.3f}, best floors {floor:.3f}, "
            f"ratio {whole['combined'].mean() / floor:.3f}; "
            f"worst direction {(whole['combined'] - best[whole.index]).min():+.3f}.",
        ]
    return "\n".join([*out, ""])


if __name__ == "__main__":
    main()
