"""Compare settings on validation sections inside the training folds; the test sections are never scored.

    python benchmarks/quality/choose.py configs/her2st-c.yaml --data.root data/her2st -- \
        '{}' '{loss: {targets: hard}}' '{query: {k: 25}}'

Prints, for each setting, the mean validation PCC over folds and seeds at the last epoch.
"""

import argparse
import json
import logging
import sys
import tempfile
from pathlib import Path

import numpy as np
import yaml

from bleep.cli import add_settings, overrides
from bleep.config import Config
from bleep.workflows.fit import fit

log = logging.getLogger(__name__)


def main() -> None:
    at = sys.argv.index("--")
    parser = argparse.ArgumentParser()
    parser.add_argument("recipes", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--validate", choices=("group", "block"), default="group")
    add_settings(parser)
    arguments = parser.parse_args(sys.argv[1:at])
    logging.disable(logging.WARNING)
    for text in sys.argv[at + 1 :]:
        change = yaml.safe_load(text)
        scores = []
        folds = Config.load(*arguments.recipes, overrides(arguments)).data.folds
        for fold in range(folds):
            for seed in range(arguments.seeds):
                with tempfile.TemporaryDirectory() as out:
                    place = {
                        "data": {"fold": fold, "val": arguments.validate},
                        "optim": {"patience": 10_000},
                        "seed": seed,
                        "out": out,
                    }
                    fit(Config.load(*arguments.recipes, overrides(arguments), change, place))
                    lines = [json.loads(line) for line in (Path(out) / "log.jsonl").read_text().splitlines()]
                    scores.append([line["val_score"] for line in lines])
        curve = np.mean(scores, axis=0)
        print(f"{curve[-1]:.4f}  best {curve.max():.4f} at epoch {curve.argmax()} of {len(curve)}  {text}", flush=True)


if __name__ == "__main__":
    main()
