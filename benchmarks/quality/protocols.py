"""Run a protocol end to end by the user's own commands: every fold, some seeds; then one table.

    python benchmarks/quality/protocols.py her2st-c --root data/her2st --weights FILE.safetensors

Runs go to runs/quality/PROTOCOL, the record to benchmarks/results/PROTOCOL.{md,json}.
"""

import argparse
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from bleep.cli import app, train
from bleep.settings import Config

os.environ["TQDM_DISABLE"] = "1"
REPOSITORY = Path(__file__).resolve().parents[2]
TASKS = {"contrastive": [], "regression": [REPOSITORY / "configs/tasks/regression.yaml"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("protocol", help="name of a recipe in configs/")
    parser.add_argument("--root", required=True, help="data.root")
    parser.add_argument("--weights", default="hub", help="image.weights")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--suffix", default="", help="added to the record's name")
    parser.add_argument("more", nargs="*", help="further settings, after --")
    arguments = parser.parse_args()
    recipe = REPOSITORY / f"configs/{arguments.protocol}.yaml"
    data = Config.load(recipe).data
    place = Path("runs/quality") / (arguments.protocol + arguments.suffix)
    runs = []
    tasks = {"both": []} if Config.load(recipe).loss.task == "both" else TASKS
    for fold in range(1 if data.test else data.folds):
        for seed in range(arguments.seeds):
            for task, over in tasks.items():
                out = place / f"{task}-fold{fold}-seed{seed}"
                settings = ["--data.root", arguments.root, "--image.weights", arguments.weights, *arguments.more]
                settings += ["--data.fold", str(fold), "--seed", str(seed), "--out", str(out)]
                _do(train.command, ["--overwrite", "--config", str(recipe), *map(str, over), *settings])
                if task != "regression":
                    _do(app.main, ["index", "build", "--run", str(out)])
                runs.append(str(out))
    _do(app.main, ["evaluate", "--run", *runs, "--out", str(place)])
    for suffix in (".md", ".json"):
        record = REPOSITORY / f"benchmarks/results/{arguments.protocol}{arguments.suffix}{suffix}"
        record.parent.mkdir(exist_ok=True)
        shutil.copy(place / f"evaluation{suffix}", record)


def _do(command: Callable[[list[str]], int], words: list[str]) -> None:
    """Run a command as `bleep/train.py` and `bleep` do, in this process: loading torch anew each time would take longer."""
    print("$", "train.py" if command is train.command else "bleep", *words, flush=True)
    if command(words):
        raise SystemExit(f"ended with a fault: {' '.join(words)}")


if __name__ == "__main__":
    main()
