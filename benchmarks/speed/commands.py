"""Whole commands against an earlier version of bleep: `evaluate` with page and figures of two runs, and a bare `query`.

    git worktree add ../before aef62bf
    python benchmarks/speed/commands.py --before ../before --root DATA/her2st --weights tf_efficientnet_lite0.safetensors

Two runs (contrastive and regression) are trained once on patient C's sections by the earlier version, and their features
are in the cache before anything is timed. Then each command runs `--times` times under either version in turn, on copies of the
same runs; the ratio is of medians. The record goes to benchmarks/results/commands.{md,json}.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bleep.files import write_json, write_text

HERE = Path(__file__).resolve().parents[2]
RESULTS = HERE / "benchmarks" / "results"
ABOUT = """Two runs on patient C's sections (EfficientNet-lite0, one window), features cached, whole processes.
The version before draws the shared space by UMAP and t-SNE, this one by t-SNE alone: compiling UMAP took a quarter of an
evaluation, and is now asked for by `--umap`. A query with cached features builds no trunk, so it imports neither timm nor
torchvision."""
ASKED = {"evaluate --report --figures": 0.5, "query": 0.7}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True, help="checkout of the earlier version")
    parser.add_argument("--root", type=Path, required=True, help="sections in the her2st form")
    parser.add_argument("--weights", type=Path, required=True, help="weights of tf_efficientnet_lite0")
    parser.add_argument("--times", type=int, default=3, help="runs of each command under each version")
    arguments = parser.parse_args()
    versions = {"before": arguments.before.resolve(), "now": HERE}
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        prepare(work, versions["before"], arguments.root.resolve(), arguments.weights.resolve())
        section = str(arguments.root.resolve() / "C2")
        commands = {
            "evaluate --report --figures": lambda out: [
                *("evaluate", "--run", "contrastive", "regression", "--out", out),
                *("--report", f"{out}/page.html", "--figures", f"{out}/f"),
            ],
            "query": lambda out: ["query", "--images", section, "--run", "contrastive", "--out", f"{out}/p.h5ad"],
        }
        seconds = {name: {version: [] for version in versions} for name in commands}
        for name, command in commands.items():
            for number in range(arguments.times + 1):
                for version, tree in versions.items():
                    out = work / f"{version}-{number}"
                    out.mkdir()
                    took = timed(work, tree, command(out.name))
                    shutil.rmtree(out)
                    if number:  # The first of each warms the page cache and compiles.
                        seconds[name][version].append(took)
    report(seconds)


def prepare(work: Path, tree: Path, root: Path, weights: Path) -> None:
    """Train both runs, index, and fill the cache."""
    for task in ("contrastive", "regression"):
        flags = [
            "--config", str(tree / "configs/her2st-c.yaml"), "--data.root", str(root), "--image.trunk", "tf_efficientnet_lite0",
            "--image.layer", "none", "--image.weights", str(weights), "--loss.task", task, "--optim.epochs", "10",
            "--tiles.microns", "154.56", "--out", task,
        ]  # fmt: skip
        subprocess.run([sys.executable, str(tree / "bleep/train.py"), *flags], cwd=work, env=of(tree), check=True)
    timed(work, tree, ["index", "build", "--run", "contrastive"])
    timed(work, tree, ["evaluate", "--run", "contrastive", "regression"])


def of(tree: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(tree), "HF_HUB_OFFLINE": "1"}


def timed(work: Path, tree: Path, command: list[str]) -> float:
    """Run a command of one version, and return its seconds."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "bleep", *command], cwd=work, env=of(tree), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} under {tree}: {done.stderr[-2000:]}")
    return time.perf_counter() - start


def report(seconds: dict[str, dict[str, list[float]]]) -> None:
    """Print and keep medians and ratios."""
    lines = [
        "# Whole commands, against the version before runs were opened once",
        "",
        "`python benchmarks/speed/commands.py`",
        "",
    ]
    lines += ["| command | before, s | now, s | ratio | asked |", "| --- | ---: | ---: | ---: | ---: |"]
    record = {}
    for name, both in seconds.items():
        before, now = (statistics.median(both[version]) for version in ("before", "now"))
        record[name] = {"before": both["before"], "now": both["now"], "ratio": now / before, "asked": ASKED[name]}
        lines.append(f"| `{name}` | {before:.1f} | {now:.1f} | {now / before:.2f} | {ASKED[name]:g} |")
    lines += ["", ABOUT]
    write_json(RESULTS / "commands.json", record)
    write_text(RESULTS / "commands.md", "\n".join([*lines, ""]))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
