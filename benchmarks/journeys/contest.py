"""A contest team's first evening: train two runs, tune, join them, submit, score, on practice tissue in the contest's form.

    python benchmarks/journeys/contest.py --root DATA/her2st --weights tf_efficientnet_lite0.safetensors

The practice tables are made from her2st-c by benchmarks/quality/contest_form.py. Every other step is a command as it is typed.
The record goes to benchmarks/results/journey-contest.{md,json}.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from steps import HERE, Journey

SEARCH = "optim.lr: {low: 3.0e-5, high: 3.0e-3, log: true}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="sections in the her2st form")
    parser.add_argument("--weights", type=Path, required=True, help="weights of tf_efficientnet_lite0")
    parser.add_argument("--epochs", default="10")
    parser.add_argument("--trials", default="4")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        form = [sys.executable, str(HERE / "benchmarks/quality/contest_form.py"), str(work / "practice"), "--corrected"]
        settings = ["--config", str(HERE / "configs/her2st-c.yaml"), "--data.root", str(arguments.root.resolve())]
        subprocess.run([*form, *settings], cwd=HERE, check=True, capture_output=True)
        journey = Journey(work)
        enter(journey, arguments.weights.resolve(), arguments.epochs, arguments.trials)
        (score,) = json.loads((work / "scores" / "contest.json").read_text(encoding="utf-8"))["scores"].values()
    journey.record(
        "contest",
        "A contest team's first evening, on practice tissue",
        {
            "tissue": "her2st-c in the contest's form, targets corrected for batches; one section tests",
            "score of the submission": f"{score['score']:.4f}",
            "from the first training to a score": f"{journey.seconds('train the first', 'score'):.0f} s",
        },
    )


def enter(journey: Journey, weights: Path, epochs: str, trials: str) -> None:
    """Go from the contest's tables to a score."""
    common = ["--config", "contest", "--data.root", "practice/train.csv", "--image.trunk", "tf_efficientnet_lite0"]
    common += ["--image.layer", "3", "--image.weights", weights, "--optim.epochs", epochs]
    journey.bleep("train the first", "train", *common, "--out", "runs/one")
    journey.bleep("train the second", "train", *common, "--head.hidden", "0", "--out", "runs/two")
    (journey.work / "rate.yaml").write_text(SEARCH, encoding="utf-8")
    journey.bleep("tune", "tune", *common, "--space", "rate.yaml", "--trials", trials, "--out", "runs/tune")
    journey.bleep("join", "ensemble", "runs/one", "runs/two", "--out", "runs/joined")
    journey.bleep("submit", "query", "--run", "runs/joined", "--images", "practice/test.csv", "--out", "submission.csv")
    tables = ["--truth", "practice/truth.csv", "--train", "practice/train.csv", "--out", "scores"]
    journey.bleep("score", "evaluate", "--protocol", "dacon", "--submission", "submission.csv", *tables)


if __name__ == "__main__":
    main()
