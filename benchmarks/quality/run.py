"""Remake a row of the results page: train and calibrate every fold and seed of a protocol, score by it, keep the record.

    python benchmarks/quality/run.py --protocol her2st-c --root data/her2st --weights FILE.safetensors
    python benchmarks/quality/run.py --protocol hist2st-785 --root data/her2st --weights FILE.safetensors --seeds 1

Runs go to runs/quality/PROTOCOL, the record to benchmarks/results/PROTOCOL.{md,json}. A record is what `bleep evaluate`
writes: scores by section with their spread, floors, the protocol's hash, the leak report, and what others published.
"""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"
from bleep.cli import app, training
from bleep.cli.evaluate import PROTOCOLS
from bleep.config import Config
from bleep.files import write_json, write_text
from bleep.predictors.calibration import FACTS, FOLDER

REPOSITORY = Path(__file__).resolve().parents[2]
UNDER = {"hist2st-785": "her2st-c", "triplex-250": "her2st-c", "hest": "her2st-c"}
"""The recipe that a protocol of others is laid over."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--protocol", required=True, choices=[name for name in PROTOCOLS if recipes(name)])
    parser.add_argument("--root", required=True, help="data.root")
    parser.add_argument("--weights", default="hub", help="image.weights")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--suffix", default="", help="added to the record's name")
    parser.add_argument("--keep", action="store_true", help="use runs that are finished as they are")
    parser.add_argument("--all-scores", action="store_true")
    parser.add_argument("more", nargs="*", help="further settings, after --")
    arguments = parser.parse_args()
    found = recipes(arguments.protocol)
    config = Config.load(*found)
    place = Path("runs/quality") / (arguments.protocol + arguments.suffix)
    more = [*arguments.more, *_list(config, arguments.root, arguments.more)]
    runs = []
    for fold in range(1 if config.data.test else config.data.folds):
        for seed in range(arguments.seeds):
            out = place / f"fold{fold}-seed{seed}"
            settings = ["--data.root", arguments.root, "--image.weights", arguments.weights, *more]
            settings += ["--data.fold", str(fold), "--seed", str(seed), "--out", str(out)]
            runs.append(str(out))
            if arguments.keep and (out / FOLDER / FACTS).exists():
                continue
            _do(training.command, ["--overwrite", "--config", *map(str, found), *settings])
            if config.loss.task != "regression":
                _do(app.main, ["index", "build", "--run", str(out)])
            _do(app.main, ["calibrate", "--run", str(out)])
    asked = ["--all-scores"] if arguments.all_scores else []
    _do(app.main, ["evaluate", "--protocol", arguments.protocol, *asked, "--run", *runs, "--out", str(place)])
    _keep(place, arguments)


def recipes(protocol: str) -> list[Path]:
    """Return the recipes of a protocol, the later laid over the earlier; none where it cannot be run from here."""
    own = REPOSITORY / f"configs/{protocol}.yaml"
    over = REPOSITORY / f"configs/protocols/{protocol}.yaml"
    if own.exists():
        return [own]
    return [REPOSITORY / f"configs/{UNDER[protocol]}.yaml", over] if over.exists() else []


def _list(config: Config, root: str, more: list[str]) -> list[str]:
    """Look for a list of genes beside the data, unless it was given."""
    if config.panel.list is None or "--panel.list" in more:
        return []
    return ["--panel.list", str(Path(root) / config.panel.list.name)]


def _keep(place: Path, arguments: argparse.Namespace) -> None:
    """Keep the record, with the command that remakes it; of paths, which differ between machines, the names."""
    words = [Path(word).name if "/" in word else word for word in sys.argv[1:] if word != "--keep"]
    command = shlex.join(["python", "benchmarks/quality/run.py", *words])
    record = REPOSITORY / f"benchmarks/results/{arguments.protocol}{arguments.suffix}"
    plain = json.loads((place / "evaluation.json").read_text())
    write_json(record.with_name(f"{record.name}.json"), {"command": command} | plain)
    text = (place / "evaluation.md").read_text()
    write_text(record.with_name(f"{record.name}.md"), f"{text.rstrip()}\n\nRemade by `{command}`.\n")


def _do(command: Callable[[list[str]], int], words: list[str]) -> None:
    """Run a command as `bleep/train.py` and `bleep` do, in this process: loading torch anew each time would take longer."""
    print("$", "train.py" if command is training.command else "bleep", *words, flush=True)
    if command(words):
        raise SystemExit(f"ended with a fault: {' '.join(words)}")


if __name__ == "__main__":
    main()
