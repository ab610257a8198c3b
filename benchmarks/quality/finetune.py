"""Does fine-tuning a small trunk on real tiles beat its frozen features? Same heads, same steps, one fold, with the curves.

    OMP_NUM_THREADS=1 python benchmarks/quality/finetune.py --root data/her2st --weights FILE.safetensors

Protocol her2st-c, fold 0, EfficientNet-lite0 on tiles of 96 pixels. One training section is held out to validate on. The
depth (under a frozen trunk) and each arm's trunk rate are chosen there, with seed 0. Then each arm is trained with every
seed, the epoch of the best validation score is kept, and the test section is scored once. Runs that are there are not
trained again. The record goes to benchmarks/results/finetune.{md,json}, the curves to docs/_static/finetune.{png,svg}.
"""

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

os.environ["TQDM_DISABLE"] = "1"
from bleep.config import Config
from bleep.files import whole, write_json, write_text
from bleep.predictors.baselines import baselines_of
from bleep.predictors.calibration import predictors_of
from bleep.workflows.fit import fit
from bleep.workflows.query import build_reference
from bleep.workflows.scoring import Scorer
from bleep.workflows.tissue import load_split

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPE = REPOSITORY / "configs/her2st-c.yaml"
DEPTHS = (2, 3, 4, None)
RATES = (1e-4, 1e-3, 1e-2)
ARMS = {
    "frozen features": {"train": "frozen"},
    "last 2 blocks": {"train": "last", "unfreeze": 2},
    "whole trunk": {"train": "full"},
}
SCORES = ("retrieval", "regression", "mean of both", "ridge")
Tree = Mapping[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", required=True, help="data.root")
    parser.add_argument("--weights", default="hub", help="image.weights")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("runs/finetune"))
    arguments = parser.parse_args()
    base = {
        "data": {"root": arguments.root, "val": "group", "fold": 0},
        "tiles": {"pixels": 96, "microns": [154.56]},
        "image": {"trunk": "tf_efficientnet_lite0", "weights": arguments.weights},
        "optim": {"epochs": arguments.epochs, "batch": 64, "patience": 1000},
    }
    depths = {depth: best(fitted(base, arguments.out, f"depth-{depth}", {"layer": depth})) for depth in DEPTHS}
    depth = max(depths, key=lambda each: depths[each])
    print("validation by depth", depths, flush=True)
    chosen: dict[str, dict[str, Any]] = {}
    for name, image in ARMS.items():
        kind = image["train"]
        rates = (None,) if kind == "frozen" else RATES
        tried = {rate: best(arm(base, arguments.out, depth, image, rate, 0)) for rate in rates}
        rate = max(tried, key=lambda each: tried[each])
        folders = [arm(base, arguments.out, depth, image, rate, seed) for seed in range(arguments.seeds)]
        chosen[name] = {
            "rate": rate,
            "validation by rate": {str(each): score for each, score in tried.items() if each is not None},
            "curves": [curve(folder) for folder in folders],
            "seconds": float(np.median([seconds(folder) for folder in folders])),
            "test": [tested(folder) for folder in folders],
        }
        print(name, {key: value for key, value in chosen[name].items() if key != "curves"}, flush=True)
        record(chosen, depths, arguments.seeds)
    draw(chosen)


def arm(base: Tree, out: Path, depth: int | None, image: Tree, rate: float | None, seed: int) -> Path:
    """Train one arm with one rate and seed, unless it is there, and return its folder."""
    name = f"{image['train']}-{rate}-seed{seed}"
    return fitted(base, out, name, {"layer": depth, **image}, {} if rate is None else {"optim": {"trunk_lr": rate}}, seed)


def fitted(base: Tree, out: Path, name: str, image: Tree, over: Tree | None = None, seed: int = 0) -> Path:
    config = Config.load(RECIPE, base, {"image": image}, over or {}, {"seed": seed, "out": str(out / name)})
    fit(config, resume=True)
    return out / name


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def curve(folder: Path) -> list[float]:
    """Return the validation score after each epoch."""
    return [line["val_score"] for line in lines(folder)]


def best(folder: Path) -> float:
    return max(curve(folder))


def seconds(folder: Path) -> float:
    """Return how long a training spot takes in a step, in milliseconds."""
    return float(1e3 / np.median([line["spots_per_s"] for line in lines(folder)]))


def tested(folder: Path) -> dict[str, float]:
    """Return the test section's mean correlation by predictor, for the epoch that validation kept."""
    kept = folder / "tested.json"
    if not kept.exists():
        run = pipeline_run(folder)
        divided = load_split(run.config)
        predictors = predictors_of(run, build_reference(run))
        predictors |= {"ridge": baselines_of(run, run.tiles(divided.train))["ridge"]}
        cards = Scorer().score(predictors, run.tiles(divided.test), run, ())
        write_json(kept, {card.predictor: card.summary["pcc"] for card in cards})
    return json.loads(kept.read_text())


def pipeline_run(folder: Path) -> Any:
    from bleep.runs import Run

    return Run.load(folder)


def record(chosen: Mapping[str, Any], depths: Mapping[Any, float], seeds: int) -> None:
    """Write what is known so far."""
    words = ", ".join(f"{'last layer, pooled' if d is None else f'stage {d}'} {s:.3f}" for d, s in depths.items())
    text = ["# Fine-tuning against frozen features", "",
            "`python benchmarks/quality/finetune.py`: her2st-c, fold 0, EfficientNet-lite0 (ImageNet), tiles of 96 pixels "
            f"showing 155 um, the recipe's heads for both tasks, steps of 64 spots, {seeds} seeds. Mean correlation of genes. "
            "Validation: one training section, which chose depth, rate and epoch. Test: another section, same patient.", "",
            f"Depth by validation under a frozen trunk, seed 0: {words}.", "",
            "| trunk | rate | best validation | last epoch | " + " | ".join(f"test, {s}" for s in SCORES) + " | ms a spot |",
            "| --- | ---: | ---: | ---: | " + "---: | " * len(SCORES) + "---: |"]  # fmt: skip
    for name, found in chosen.items():
        curves = np.array(found["curves"])
        cells = [spread(curves.max(axis=1)), spread(curves[:, -1])]
        cells += [spread(np.array([one[score] for one in found["test"]])) for score in SCORES]
        rate = "none" if found["rate"] is None else f"{found['rate']:g}"
        text.append(f"| {name} | {rate} | {' | '.join(cells)} | {found['seconds']:.1f} |")
    tried = [
        f"- {name}, validation by trunk rate, seed 0: " + ", ".join(f"{r} {s:.3f}" for r, s in f["validation by rate"].items())
        for name, f in chosen.items()
        if f["validation by rate"]
    ]
    text += [
        "",
        *tried,
        "",
        "Mean ± spread over seeds. `ms a spot` is a training step; frozen features are computed before.",
        "",
    ]
    write_text(REPOSITORY / "benchmarks/results/finetune.md", "\n".join(text))
    write_json(
        REPOSITORY / "benchmarks/results/finetune.json", {"depths": {str(k): v for k, v in depths.items()}, "arms": chosen}
    )


def spread(values: np.ndarray) -> str:
    return f"{values.mean():.3f} ± {values.std(ddof=1):.3f}" if len(values) > 1 else f"{values.mean():.3f}"


def draw(chosen: Mapping[str, Any]) -> None:
    """Draw the validation score by epoch: each seed thin, their mean thick."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for (name, found), colour in zip(chosen.items(), ("#555555", "#0072b2", "#d55e00"), strict=False):
        curves = np.array(found["curves"])
        epochs = np.arange(1, curves.shape[1] + 1)
        axes.plot(epochs, curves.T, color=colour, alpha=0.25, linewidth=0.8)
        axes.plot(epochs, curves.mean(axis=0), color=colour, linewidth=2, label=name)
    axes.set(xlabel="epoch", ylabel="correlation, validation section")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    for suffix in ("png", "svg"):
        with whole(REPOSITORY / f"docs/_static/finetune.{suffix}") as temporary:
            figure.savefig(temporary, format=suffix, dpi=150, metadata={"Date": None} if suffix == "svg" else None)


if __name__ == "__main__":
    main()
