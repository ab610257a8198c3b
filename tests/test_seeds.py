"""The contest's systems as recipes: each is read, its trunk is built, and it takes a step."""

from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from bleep.config import Config
from bleep.data.panel import GenePanel
from bleep.data.slides import save_png
from bleep.models.factory import JOIN
from bleep.models.heads import BEFORE, regression_head
from bleep.predictors.calibration import predictors_of
from bleep.records import Batch
from bleep.runs import Run
from bleep.training.optimizers import build_optimizer
from bleep.training.tasks import RegressionTask, task_of
from bleep.workflows.fit import fit
from bleep.workflows.query import open_tiles
from bleep.workflows.tissue import load_split

SEEDS = Path(__file__).parents[1] / "configs/seeds"
TRUNKS = {
    "resnet50-logits": "resnet50",
    "resnet50-logits-longer": "resnet50",
    "resnet50-pooled": "resnet50",
    "googlenet": "torchvision/googlenet",
    "efficientnet-b1": "efficientnet_b1",
    "vit-s16-minmax": "vit_small_patch16_224",
    "efficientnet-b1-vit-s16": "efficientnet_b1 + vit_small_patch16_224",
    "four-losses": "efficientnet_b1",
    "se-resnet50": "seresnet50",
    "vit-b16-frozen": "vit_base_patch16_224",
    "efficientnet-b0": "efficientnet_b0",
    "efficientnet-b0-five": "efficientnet_b0",
    "inception-resnet-v2": "inception_resnet_v2",
    "inception-resnet-v2-silu": "inception_resnet_v2",
    "st-net": "densenet121",
}
"""What each recipe's trunk is resolved to, without the name of its weights."""
SIDE = 32
LEAST = {"inception_resnet_v2": 80}
"""Pixels that a trunk cannot do with fewer of."""
GENES = 12
SLOW = {
    name: pytest.mark.slow for name in TRUNKS if name.startswith(("vit-b16", "inception", "efficientnet-b1-vit", "resnet50"))
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten tiles in the contest's form; their values follow their brightness, and some are a little below 0."""
    root, draw = tmp_path_factory.mktemp("contest"), np.random.default_rng(0)
    (root / "train").mkdir()
    rows = []
    for number in range(10):
        tile = draw.integers(0, 120 + 10 * number, (SIDE, SIDE, 3), dtype=np.uint8)
        path = f"train/TRAIN_{number:04d}.png"
        save_png(tile, root / path)
        values = tile.mean() / 255 * np.arange(1, GENES + 1) / GENES + draw.normal(0, 0.05, GENES) - 0.1
        rows.append([f"TRAIN_{number:04d}", f"./{path}", *values.round(6)])
    genes = [f"G{number}" for number in range(GENES)]
    pd.DataFrame(rows, columns=["ID", "path", *genes]).to_csv(root / "train.csv", index=False)
    return root / "train.csv"


def small(name: str, table: Path) -> Config:
    """Return a recipe as it is, but for tiny tiles, steps of four and weights drawn at random."""
    recipe = SEEDS / f"{name}.yaml"
    trunk = yaml.safe_load(recipe.read_text())["image"]
    tiny = {
        "data": {"root": str(table)},
        "tiles": {"pixels": LEAST.get(trunk["trunk"], SIDE), "microns": [float(SIDE)]},
        "image": {"weights": "random", "also_weights": ["random"] * len(trunk.get("also", []))},
        "panel": {"size": GENES},
        "optim": {"batch": 4},
    }
    return Config.load(SEEDS.parent / "contest.yaml", recipe, tiny)


class Stepped(NamedTuple):
    run: Run
    moved: dict[str, bool]
    """Whether each weight of the task is another after the step."""
    loss: float


def step(config: Config) -> Stepped:
    """Take one training step, as the loop does."""
    divided = load_split(config)
    panel = GenePanel.fit(divided.train, config.panel)
    run = Run.new(config, panel, divided)
    task = task_of(run.model, config.loss, divided.train, panel)
    assert isinstance(task, RegressionTask)
    optimizer = build_optimizer(task, config.optim)
    before = {key: value.clone() for key, value in task.named_parameters()}
    tiles = torch.from_numpy(run.tiles(divided.train).images(range(4)))
    values = torch.from_numpy(np.concatenate([panel.apply(section) for section in divided.train])[:4])
    task.train()
    loss = task.loss(task(Batch(tiles, values, torch.arange(4))))
    loss.backward()
    optimizer.step()
    moved = {key: not torch.equal(value, before[key]) for key, value in task.named_parameters()}
    return Stepped(run, moved, float(loss.detach()))


def test_every_recipe_is_listed_here() -> None:
    # The recipes for labelled patches have tests of their own, in test_label_recipes.py.
    assert {path.stem for path in SEEDS.glob("*.yaml") if not path.stem.startswith("idc-")} == set(TRUNKS)


@pytest.mark.filterwarnings("ignore:.*data.val is random.*")
@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW.get(name, ())) for name in TRUNKS])
def test_a_recipe_takes_a_step(name: str, table: Path) -> None:
    config = small(name, table)
    run, moved, loss = step(config)
    assert JOIN.join(part.split(".")[0] for part in run.facts.trunk.split(JOIN)) == TRUNKS[name]
    assert 0 < loss < float("inf")
    assert moved["model.head.weight" if config.head.before == "none" else "model.head.2.weight"]
    trunk = [found for key, found in moved.items() if ".trunk." in key]
    # Fresh residual branches let no gradient through to their inside; but the stem, which comes first, learns.
    assert (trunk[0], any(trunk)) == (config.image.train == "full",) * 2


def test_the_published_preset_is_laid_over_the_contest_too() -> None:
    config = Config.load(SEEDS.parent / "contest.yaml", SEEDS.parent / "presets/bleep-2023.yaml")
    assert (config.loss.task, config.loss.targets, config.data.protocol) == ("contrastive", "projected", "dacon")


def test_the_benchmark_has_every_recipe_in_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.syspath_prepend(SEEDS.parents[1] / "benchmarks/quality")
    benchmark = import_module("seeds")
    named = [Path(recipe).name for row in benchmark.ROWS.values() for recipe in row.recipes]
    assert sorted(named) == sorted([*TRUNKS, "bleep-2023"])
    for row in benchmark.ROWS.values():
        assert benchmark.alike(row, {"cnn": "cnn.safetensors", "vit": "vit.safetensors"}).image.train == "frozen"


def test_recipes_say_what_their_systems_are_known_by() -> None:
    found = {name: Config.load(SEEDS.parent / "contest.yaml", SEEDS / f"{name}.yaml") for name in TRUNKS}
    assert {name for name, config in found.items() if config.image.output == "logits"} == {
        "resnet50-logits",
        "resnet50-logits-longer",
    }
    assert {name for name, config in found.items() if config.panel.scale == "minmax"} == {
        "vit-s16-minmax",
        "efficientnet-b1-vit-s16",
    }
    assert {name for name, config in found.items() if config.head.before == "silu"} == {
        "efficientnet-b0-five",
        "inception-resnet-v2-silu",
    }
    assert found["four-losses"].loss.terms == {"mse": 1.0, "pearson": 1.0, "heg_mse": 5.0, "hvg_mse": 2.0}
    assert all(config.loss.terms == {"mse": 1.0} for name, config in found.items() if name != "four-losses")
    assert found["inception-resnet-v2-silu"].optim.keep == (10, 15, 20, 30)
    net = found["st-net"]
    assert (net.panel.choice, net.panel.size, net.optim.name, net.query.views) == ("mean", 250, "sgd", 8)
    for config in found.values():
        assert (config.data.split, config.data.val, config.data.val_share) == ("none", "random", 0.2)
        assert config.optim.patience >= config.optim.epochs
        assert config.image.weights == "hub"


@pytest.mark.filterwarnings("ignore:.*data.val is random.*")
def test_a_recipe_is_trained_kept_and_predicts(table: Path, tmp_path: Path) -> None:
    config = small("inception-resnet-v2-silu", table).dump()
    tiny = {"image": {"trunk": "test_resnet"}, "optim": {"epochs": 2, "keep": [1, 2]}, "out": str(tmp_path / "run")}
    run = fit(Config.load(config, tiny, {"cache": str(tmp_path / "cache")}))
    kept = Run.load(tmp_path / "run/epochs/1")
    tiles = open_tiles(table, run)
    predictor = predictors_of(kept, None)["regression"]
    predicted = predictor.predict(tiles).expression
    assert predicted.shape == (10, GENES)
    assert np.isfinite(predicted).all()
    assert (kept.config.head.before, kept.config.optim.epochs) == ("silu", 1)


@pytest.mark.parametrize(
    ("hidden", "before", "layers"),
    [
        (0, "none", []),
        (0, "silu", ["SiLU", "Dropout", "Linear"]),
        (5, "none", ["Linear", "SiLU", "Dropout", "Linear"]),
        (5, "silu", ["SiLU", "Dropout", "Linear", "SiLU", "Dropout", "Linear"]),
    ],
)
def test_a_head_is_what_its_settings_say(hidden: int, before: str, layers: list[str]) -> None:
    assert before in BEFORE
    head = regression_head(4, 3, hidden, 0.3, before).eval()  # type: ignore[arg-type]
    assert [type(part).__name__ for part in head.children()] == layers
    linear = [module for module in head.modules() if isinstance(module, torch.nn.Linear)]
    assert [(each.in_features, each.out_features) for each in linear] == ([(4, 5), (5, 3)] if hidden else [(4, 3)])
    features = torch.randn(6, 4)
    seen = features * features.sigmoid() if before == "silu" else features
    for number, each in enumerate(linear):
        seen = seen * seen.sigmoid() if number else seen
        seen = seen @ each.weight.T + each.bias
    torch.testing.assert_close(head(features), seen)
    dropped = {part.p for part in head.modules() if isinstance(part, torch.nn.Dropout)}
    assert dropped <= {0.3}


def test_what_stands_before_a_head_draws_no_weights() -> None:
    heads = []
    for before in BEFORE:
        torch.manual_seed(3)
        heads.append([parameter.detach() for parameter in regression_head(4, 3, 5, 0.3, before).parameters()])
    for first, *others in zip(*heads, strict=True):
        for other in others:
            torch.testing.assert_close(first, other, rtol=0, atol=0)


def test_logits_are_a_thousand_and_pooled_features_are_not(table: Path) -> None:
    run = step(small("resnet50-logits", table)).run
    assert run.model.trunk.width == 1000
    assert run.model.trunk(torch.zeros(1, 1, 3, SIDE, SIDE, dtype=torch.uint8)).shape == (1, 1000)
