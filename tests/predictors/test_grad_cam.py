"""Class activation maps: what they are made of, for each way a trunk is read; and where they cannot be had."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bleep.config import Config
from bleep.data.readers import read_sections
from bleep.errors import ConfigError
from bleep.features.regions import members
from bleep.predictors.saliency import check_maps, grad_cam
from bleep.runs import Run
from bleep.workflows.fit import fit
from tests.test_labels import draw_patches, settings


@pytest.fixture(scope="module")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_patches(tmp_path_factory.mktemp("patches"), each=6)


def trained(patches: Path, out: Path, **image: Any) -> Run:
    over = {"image": image, "tiles": {"pixels": 64}, "optim": {"epochs": 1, "batch": 16, "lr": 0.01}}
    return fit(Config.load(settings(patches, out).dump(), over))


def test_a_linear_head_weighs_each_position_by_its_own_weights(patches: Path, tmp_path: Path) -> None:
    run = trained(patches, tmp_path / "run", trunk="test_resnet", layer=3)
    tiles = run.tiles(read_sections(run.config.data))
    found = grad_cam(run, tiles, 7, 1)
    (trunk,) = members(run.model.trunk)
    with torch.no_grad():
        grid = trunk.grid(torch.from_numpy(np.array(tiles.read(7)))[None])[0]
    (linear,) = [module for module in run.model.modules() if isinstance(module, torch.nn.Linear) and module.out_features == 2]
    weights = linear.weight[1].detach() / run.model.standardize.spread
    expected = torch.einsum("c,cyx->yx", weights, grid).clamp_min(0)
    assert float(expected.max()) > 0
    np.testing.assert_allclose(found.maps[0], expected.numpy(), rtol=1e-4, atol=1e-5)
    assert (found.id, found.column) == (tiles.ids[7], "1")


def test_the_last_map_before_pooling_is_that_of_the_last_layer(patches: Path, tmp_path: Path) -> None:
    pooled = trained(patches, tmp_path / "pooled", trunk="test_resnet")
    read = trained(patches, tmp_path / "layer", trunk="test_resnet", layer=4)
    tiles = pooled.tiles(read_sections(pooled.config.data))
    np.testing.assert_allclose(grad_cam(pooled, tiles, 3, 0).maps[0], grad_cam(read, tiles, 3, 0).maps[0], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("trunk", ["test_vit", "small/cancernet"])
def test_every_kind_of_trunk_has_a_map_of_positions(trunk: str, patches: Path, tmp_path: Path) -> None:
    run = trained(patches, tmp_path / "run", trunk=trunk)
    tiles = run.tiles(read_sections(run.config.data))
    maps = [grad_cam(run, tiles, row, column).maps[0] for row in (0, 9) for column in (0, 1)]
    assert all(each.shape[0] == each.shape[1] > 1 for each in maps)
    assert all((each >= 0).all() for each in maps)
    assert max(float(each.max()) for each in maps) > 0


def test_textures_beside_a_trunk_add_nothing_and_alone_have_no_map(patches: Path, tmp_path: Path) -> None:
    both = trained(patches, tmp_path / "both", trunk="test_vit", also=["textures"])
    tiles = both.tiles(read_sections(both.config.data))
    found = grad_cam(both, tiles, 3, 0).maps[0]
    assert found.shape[0] == found.shape[1] > 1
    alone = trained(patches, tmp_path / "alone", trunk="textures")
    with pytest.raises(ConfigError, match="reads positions of tiles"):
        check_maps(alone)


@pytest.mark.parametrize("image", [{"standardize": "section"}, {"stain": "reinhard"}])
def test_features_that_depend_on_other_tiles_are_refused(image: dict[str, Any], patches: Path, tmp_path: Path) -> None:
    run = trained(patches, tmp_path / "run", trunk="test_resnet")
    tiles = run.tiles(read_sections(run.config.data))
    other = replace(run, config=Config.load(run.config.dump(), {"image": image}))
    with pytest.raises(ConfigError, match="depend on the tile alone"):
        grad_cam(other, tiles, 0, 0)
