"""The recipes for labelled patches: each is read, its trunk is built small, and it takes a step that changes its weights."""

from pathlib import Path

import pytest
import torch

from bleep.config import Config
from bleep.models.factory import build_trunk
from bleep.models.heads import classifier_head
from bleep.models.losses import label_loss
from bleep.training.optimizers import build_optimizer
from bleep.training.search_space import read_space

CONFIGS = Path(__file__).parents[1] / "configs"
RECIPES = sorted(path.stem for path in (CONFIGS / "seeds").glob("idc-*.yaml"))
SLOW = ("idc-xception", "idc-breakhis-xception", "idc-inception-v3", "idc-resnet50")


def test_every_row_of_the_deck_has_a_recipe() -> None:
    assert len(RECIPES) == 37
    for name in RECIPES:
        text = (CONFIGS / "seeds" / f"{name}.yaml").read_text()
        assert text.startswith("# ")
        assert "deck" in text.splitlines()[0] or "start of" in text.splitlines()[0]


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in RECIPES])
def test_a_recipe_takes_a_step(name: str) -> None:
    config = Config.load(CONFIGS / "patches.yaml", CONFIGS / "seeds" / f"{name}.yaml", {"image": {"weights": "random"}})
    torch.manual_seed(0)
    pixels = config.tiles.pixels
    trunk, _ = build_trunk(config.image, pixels)
    head = classifier_head(trunk.width, 2, config.head.hidden, config.head.dropout, config.head.before, config.head.layers)
    model = torch.nn.ModuleDict({"trunk": trunk, "head": head})
    model.train()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    images = torch.randint(0, 255, (4, 1, 3, pixels, pixels), dtype=torch.uint8)
    label = torch.tensor([[1.0, 0.0], [0.0, 1.0]] * 2)
    optimizer = build_optimizer(model, config.optim)
    loss = label_loss(model["head"](model["trunk"](images)), label, torch.ones(2))
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    moved = [not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)]
    learning = [parameter.requires_grad for parameter in model.parameters()]
    assert any(moved)
    assert not any(m for m, learns in zip(moved, learning, strict=True) if not learns)


@pytest.mark.parametrize("name", ["idc", "idc-freeze"])
def test_a_search_space_for_labels_is_read(name: str) -> None:
    space = read_space(CONFIGS / "search" / f"{name}.yaml", Config.load(CONFIGS / "patches.yaml"))
    assert {"optim.batch", "optim.lr"} & set(space)
