"""What training on labelled patches of 50 px costs above the model itself, and what a second training of a frozen trunk saves.

    OMP_NUM_THREADS=1 python benchmarks/speed/patches.py --root data/idc --weights VIT.safetensors

The loop is measured as in train_step.py: our step on CancerNet, batches of 64, against forward, backward and optimizer of the
same model on batches made before. Then the recipe `idc` is trained twice on one fold of the patches, the first time with an
empty cache: wall-clock seconds of the training command's own work, from the recipe to the finished run.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"
import torch
from torch.nn.functional import one_hot
from train_step import Held, steps

from bleep.config import Config
from bleep.files import write_json, write_text
from bleep.models.factory import build_model, build_trunk
from bleep.training.tasks import ClassifyTask
from bleep.workflows.fit import fit

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPES = REPOSITORY / "configs"
BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of the patches")
    parser.add_argument("--weights", type=Path, required=True, help="weights of the ViT-S/14")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "benchmarks/results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    ratio, ours, bare = steps(task(), patches(4 * BATCH), BATCH)
    print(f"our step / bare step {ratio:.3f}: {ours:.1f} and {bare:.1f} ms", flush=True)
    first, second = trainings(arguments.root, arguments.weights)
    print(f"second training / first {second / first:.3f}: {second:.1f} and {first:.1f} s", flush=True)
    lines = [
        "# What training on labelled patches costs", "",
        f"`python benchmarks/speed/patches.py`, one thread of a CPU, torch {torch.__version__}. CancerNet on 50 px patches, "
        f"{BATCH} a step; then the recipe `idc` on a fold of 6,772 patches of 91 patients, twice, first without a cache.", "",
        "| ratio | asked: at most | found | this | that | |",
        "| --- | --- | --- | --- | --- | --- |",
        f"| our step / bare step, CancerNet learning | 1.08 | {ratio:.3f} | {ours:.2f} | {bare:.2f} | ms a step |",
        f"| second training / first, frozen trunk | 0.1 | {second / first:.3f} | {second:.1f} | {first:.1f} | s |", "",
    ]  # fmt: skip
    write_text(arguments.out / "patches.md", "\n".join(lines))
    write_json(arguments.out / "patches.json", {"step": [ratio, ours, bare], "training": [second / first, second, first]})


def task() -> ClassifyTask:
    config = Config.load(RECIPES / "patches.yaml", RECIPES / "seeds/idc-cancernet-adam.yaml")
    trunk, _ = build_trunk(config.image, config.tiles.pixels)
    return ClassifyTask(build_model(trunk, 2, config), config.loss, torch.tensor([0.7, 0.3]))


def patches(count: int) -> Held:
    pictures = torch.randint(0, 256, (count, 1, 3, 50, 50), dtype=torch.uint8)
    return Held(pictures, one_hot(torch.arange(count) % 2, 2).float())


def trainings(root: Path, weights: Path) -> tuple[float, float]:
    """Return the seconds of the first training and of the second, whose features are cached."""
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        for name in ("first", "second"):
            image = {"weights": str(weights), "also_weights": [str(weights)] * 2}
            over = {"data": {"root": str(root)}, "image": image, "out": f"{temporary}/{name}", "cache": f"{temporary}/cache"}
            began = time.perf_counter()
            fit(Config.load(RECIPES / "idc.yaml", over))
            found.append(time.perf_counter() - began)
    return found[0], found[1]


if __name__ == "__main__":
    main()
