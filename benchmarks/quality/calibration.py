"""Calibrate the shipped recipes by rehearsal, then score combined predictor and intervals on the tissue they held out.

    python benchmarks/quality/calibration.py run her2st-c --root data/her2st --weights FILE.safetensors
    python benchmarks/quality/calibration.py table

`run` adds a line for each fold and seed to benchmarks/results/calibration.jsonl, and skips those already there; `table` makes
benchmarks/results/calibration.md of them. Everything is fitted on training sections alone; nothing is chosen here.
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

os.environ["TQDM_DISABLE"] = "1"
from bleep.config import ABSTAIN, Config
from bleep.data.panel import GenePanel
from bleep.evaluation.metrics import pearson
from bleep.files import write_text
from bleep.predictors import MeanOfPredictors
from bleep.predictors.baselines import ImageKnnPredictor, RegressionPredictor, RidgePredictor
from bleep.predictors.calibration import CombinedPredictor
from bleep.predictors.retrieval import RetrievalPredictor
from bleep.runs import Run
from bleep.workflows.calibrate import cross_fit, fit_calibration
from bleep.workflows.fit import refit
from bleep.workflows.query import build_reference
from bleep.workflows.tissue import load_split

REPOSITORY = Path(__file__).resolve().parents[2]
LINES = REPOSITORY / "benchmarks/results/calibration.jsonl"
TABLE = REPOSITORY / "benchmarks/results/calibration.md"
PROTOCOLS = ("her2st-c", "her2st-b", "mob-mouse", "muscle-blocks")
ORDER = ("retrieval", "regression", "ridge", "image-kNN", "plain mean", "combined")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    actions = parser.add_subparsers(dest="action", required=True)
    one = actions.add_parser("run")
    one.add_argument("protocol", choices=PROTOCOLS)
    one.add_argument("--root", required=True, help="data.root")
    one.add_argument("--weights", default="hub", help="image.weights")
    one.add_argument("--cache", default="cache")
    one.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    one.add_argument("--lines", type=Path, default=LINES)
    actions.add_parser("table").add_argument("--lines", type=Path, default=LINES)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    if arguments.action == "table":
        write_text(TABLE, table(pd.DataFrame(read(arguments.lines))))
        return
    folds = Config.load(REPOSITORY / f"configs/{arguments.protocol}.yaml").data
    for seed in arguments.seeds:
        for fold in range(1 if folds.test else folds.folds):
            here = {"protocol": arguments.protocol, "fold": fold, "seed": seed}
            if any(all(line[key] == value for key, value in here.items()) for line in read(arguments.lines)):
                continue
            lines = measured(arguments, here)
            arguments.lines.parent.mkdir(parents=True, exist_ok=True)
            with arguments.lines.open("a") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)
            print(json.dumps(lines[-1]), flush=True)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def measured(arguments: argparse.Namespace, here: dict[str, Any]) -> list[dict[str, Any]]:
    place = {
        "data": {"root": arguments.root, "fold": here["fold"]},
        "image": {"weights": arguments.weights},
        "seed": here["seed"],
        "cache": arguments.cache,
    }
    config = Config.load(REPOSITORY / f"configs/{arguments.protocol}.yaml", place)
    divided = load_split(config)
    panel = GenePanel.fit(divided.train, config.panel)
    with tempfile.TemporaryDirectory() as temporary:
        run = refit(Run.new(config, panel, divided), divided, panel, Path(temporary) / "run")
        reference = build_reference(run)
        calibration = fit_calibration(run, divided, cross_fit(run, divided, Path(temporary) / "rehearsal"))
    train = run.tiles(divided.train)
    parts = (RetrievalPredictor(run, reference), RegressionPredictor(run))
    predictors = {
        "retrieval": parts[0],
        "regression": parts[1],
        "ridge": RidgePredictor.fit(run, train),
        "image-kNN": ImageKnnPredictor.fit(run, train),
        "plain mean": MeanOfPredictors(parts),
        "combined": CombinedPredictor(run, reference, calibration),
    }
    lines = []
    heg = panel.top(50, "mean")
    for tiles in run.tiles(divided.test).alone():
        truth = panel.values(tiles.sections[0])
        line: dict[str, Any] = {**here, "section": tiles.sections[0].name, "weights": calibration.report["weights"]}
        line |= {"axes": calibration.report["axes"], "pull": calibration.report["pull"]}
        line["rehearsed"] = calibration.report["scores"] | {"coverage": calibration.report["coverage"]["mean"]}
        for name, predictor in predictors.items():
            prediction = predictor.predict(tiles)
            r = pearson(prediction.expression, truth)
            line[name] = float(np.nanmean(r))
            line[f"{name} HEG50"] = float(np.nanmean(r[heg]))
            line[f"{name} MSE"] = float(((prediction.expression - truth) ** 2).mean())
            if prediction.lower is not None and prediction.upper is not None:
                inside = (truth >= prediction.lower) & (truth <= prediction.upper)
                line["coverage"] = float(inside.mean())
                width = (prediction.upper - prediction.lower).mean(axis=0)
                line["width"] = float((width / np.maximum(np.sqrt(panel.variance), 1e-6)).mean())
                line["abstained"] = float((prediction.spots["familiarity"] < ABSTAIN).mean())
        lines.append(line)
    return lines


def table(lines: pd.DataFrame) -> str:
    scores = [f"{name}{suffix}" for name in ORDER for suffix in ("", " HEG50", " MSE")]
    sections = lines.groupby(["protocol", "section"])[[*scores, "coverage", "width", "abstained"]].mean()
    spread = lines.groupby(["protocol", "section"])["coverage"].mean().groupby("protocol").agg(["min", "max"])
    means = sections.groupby("protocol").mean().loc[[name for name in PROTOCOLS if name in set(lines["protocol"])]]
    head = ["protocol", *ORDER, "combined over the better of retrieval and regression"]
    out = [
        "# Calibrated runs on tissue they held out",
        "",
        "`python benchmarks/quality/calibration.py run PROTOCOL --root DATA --weights FILE`, then `... table`; "
        f"seeds {', '.join(map(str, sorted(set(lines['seed']))))}; PCC / HEG50.",
        "",
    ]
    out += _rows(
        head,
        [
            [name, *_pairs(row), f"{100 * (row['combined'] / max(row['retrieval'], row['regression']) - 1):+.1f} %"]
            for name, row in means.iterrows()
        ],
    )
    out += [
        "",
        "Squared error:",
        "",
        *_rows(["protocol", *ORDER], [[name, *(f"{row[f'{n} MSE']:.3f}" for n in ORDER)] for name, row in means.iterrows()]),
    ]
    intervals = [
        [
            name,
            f"{row['coverage']:.3f}",
            f"{spread.loc[name, 'min']:.3f} to {spread.loc[name, 'max']:.3f}",
            f"{row['width']:.2f}",
            f"{row['abstained']:.3f}",
        ]
        for name, row in means.iterrows()
    ]
    out += ["", "Intervals asked to hold 90 %:", ""]
    out += _rows(
        ["protocol", "share held", "over sections", "width in standard deviations", f"tiles of familiarity below {ABSTAIN}"],
        intervals,
    )
    return "\n".join([*out, ""])


def _pairs(row: pd.Series) -> list[str]:
    return [f"{row[name]:.3f} / {row[f'{name} HEG50']:.3f}" for name in ORDER]


def _rows(head: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(map(str, row)) + " |" for row in [head, ["---"] * len(head), *rows]]


if __name__ == "__main__":
    main()
