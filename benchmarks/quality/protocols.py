"""Run a protocol end to end by the user's own commands: every fold, some seeds; then one table.

    python benchmarks/quality/protocols.py her2st-c --root data/her2st --weights FILE.safetensors

Runs go to runs/quality/PROTOCOL, the record to benchmarks/results/PROTOCOL.{md,json}.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from bleep.settings import Config

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
                launch = [
                    _tool("accelerate"),
                    "launch",
                    "--num_processes",
                    "1",
                    str(REPOSITORY / "bleep/train.py"),
                    "--overwrite",
                ]
                _do([*launch, "--config", str(recipe), *map(str, over), *settings])
                if task != "regression":
                    _do([_tool("bleep"), "index", "build", "--run", str(out)])
                runs.append(str(out))
    _do([_tool("bleep"), "evaluate", "--run", *runs, "--out", str(place)])
    for suffix in (".md", ".json"):
        record = REPOSITORY / f"benchmarks/results/{arguments.protocol}{arguments.suffix}{suffix}"
        record.parent.mkdir(exist_ok=True)
        shutil.copy(place / f"evaluation{suffix}", record)


def _tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _do(command: list[str]) -> None:
    print("$", " ".join(command), flush=True)
    subprocess.run(command, check=True, env=os.environ | {"TQDM_DISABLE": "1"})


if __name__ == "__main__":
    main()
