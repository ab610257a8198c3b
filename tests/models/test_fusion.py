"""Several trunks as one: features side by side, each window through the same or its own."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from bleep.config import Config, ImageConfig
from bleep.errors import ConfigError, WeightsError
from bleep.features import trunk_digest
from bleep.models.factory import build_trunk, build_trunks, without_weights
from bleep.models.image import FusedTrunk, ImageTrunk
from bleep.models.stored import Trunk
from bleep.runs import Run
from bleep.workflows.fit import fit

TWO = {"also": ["test_vit"], "also_weights": ["random"]}


def config(**over: object) -> ImageConfig:
    return ImageConfig.model_validate({"trunk": "test_resnet", "weights": "random", **over})


def build(windows: int = 1, **over: object) -> Trunk:
    torch.manual_seed(0)
    return build_trunks(config(**over), 32, windows)[0]


def shown(windows: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (3, windows, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_one_trunk_alone_is_the_plain_trunk() -> None:
    torch.manual_seed(0)
    plain, _ = build_trunk(config(), 32)
    made = build()
    assert isinstance(made, ImageTrunk)
    torch.testing.assert_close(made(shown()), plain(shown()), rtol=0, atol=0)
    assert trunk_digest(made) == trunk_digest(plain)


def test_a_fusion_of_one_gives_what_the_plain_trunk_gives() -> None:
    plain, _ = build_trunk(config(), 32)
    made = FusedTrunk([[plain]])
    torch.testing.assert_close(made(shown()), plain(shown()), rtol=0, atol=0)
    assert made.width == plain.width


def test_features_of_two_trunks_stand_side_by_side() -> None:
    made = build(2, **TWO)
    assert isinstance(made, FusedTrunk)
    first, second = made.members[0]
    assert made.width == first.width + second.width
    seen = made(shown())
    assert seen.shape == (3, 2 * made.width)
    torch.testing.assert_close(seen, torch.cat([first(shown()), second(shown())], 1), rtol=0, atol=0)


def test_each_trunk_is_read_at_its_own_depth() -> None:
    made = build(layer=1, also=["test_vit"], also_weights=["random"], also_layers=[0])
    first, second = made.members[0]
    assert (first.layer, second.layer) == (1, 0)


def test_windows_go_through_trunks_of_their_own() -> None:
    made = build(2, per_window="separate", train="full", **TWO)
    assert isinstance(made, FusedTrunk)
    assert [len(row) for row in made.members] == [2, 2]
    parts = [member(shown()[:, at : at + 1]) for at, row in enumerate(made.members) for member in row]
    torch.testing.assert_close(made(shown()), torch.cat(parts, 1), rtol=1e-4, atol=1e-5)
    assert made(shown()).shape == (3, 2 * made.width)


def test_frozen_trunks_for_each_window_are_refused() -> None:
    with pytest.raises(ConfigError, match="frozen trunks stay alike"):
        Config.load({"image": {"per_window": "separate"}})


@pytest.mark.parametrize("name", ["also_weights", "also_layers"])
def test_settings_of_more_trunks_than_there_are_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"image.{name} has 2 entries, but image.also names 1 trunks"):
        Config.load({"image": {"also": ["test_vit"], name: ["random", "random"] if name == "also_weights" else [1, 2]}})


def test_logits_are_of_no_depth_of_another_trunk_either() -> None:
    """The first trunk's depth was refused beside logits; another's was read, and called logits."""
    logits = {"also": ["test_vit"], "output": "logits"}
    with pytest.raises(ConfigError, match=r"image\.output is logits, of every trunk, but image\.also_layers names a depth"):
        Config.load({"image": logits | {"also_layers": [1]}})
    assert Config.load({"image": logits | {"also_layers": [None]}}).image.output == "logits"


def test_what_is_wrong_with_another_trunk_is_said_by_the_setting_that_names_it() -> None:
    with pytest.raises(ConfigError, match=r"^image\.also: timm knows no model 'features'"):
        build(also=["features"], also_weights=["random"])
    with pytest.raises(ConfigError, match=r"^image\.also textures has no layers"):
        build(also=["textures"], also_weights=["random"], also_layers=[1])


def test_each_trunk_gets_its_own_weights(tmp_path: Path) -> None:
    torch.manual_seed(7)
    source, _ = build_trunk(config(trunk="test_vit"), 32)
    save_file({name: value.contiguous() for name, value in source.model.state_dict().items()}, tmp_path / "vit.safetensors")
    made = build(also=["test_vit"], also_weights=[str(tmp_path / "vit.safetensors")])
    torch.testing.assert_close(made.members[0][1](shown()), source(shown()), rtol=0, atol=0)
    with pytest.raises(WeightsError, match="does not fit the trunk test_resnet"):
        build(also=["test_resnet"], also_weights=[str(tmp_path / "vit.safetensors")])


def test_the_cache_of_features_knows_every_trunk() -> None:
    digests = {
        trunk_digest(build(**over))
        for over in ({}, TWO, {**TWO, "also_layers": [0]}, {**TWO, "also": ["test_resnet"]}, {**TWO, "layer": 1})
    }
    assert len(digests) == 5


def test_only_what_learns_has_a_pace_and_every_member_has_one() -> None:
    made = build(train="last", **TWO)
    for member in made.members[0]:
        learning = {f"model.{name}" for name, p in member.model.named_parameters() if p.requires_grad}
        assert set(member.parameter_schedules()) == learning
        assert learning


def test_names_of_fused_trunks_build_them_again_without_weights() -> None:
    settings = config(**TWO, also_layers=[1])
    made, names = build_trunks(settings, 32, 1)
    again, same = build_trunks(without_weights(settings.model_copy(update={"also_weights": ("hub",)}), names), 32, 1)
    assert same == names
    assert {k: v.shape for k, v in made.state_dict().items()} == {k: v.shape for k, v in again.state_dict().items()}


@pytest.mark.parametrize("over", [{}, {"train": "last", "per_window": "separate"}])
def test_a_run_of_fused_trunks_comes_back_as_it_was(over: dict[str, Any], recipe: Any, tmp_path: Path) -> None:
    tiles = {"tiles": {"pixels": 32, "microns": [64.0, 32.0]}, "optim": {"epochs": 1}}
    run = fit(Config.load(recipe(tmp_path / "out", {"image": {**TWO, **over}}, tiles)))
    loaded = Run.load(tmp_path / "out")
    assert loaded.weights_digest() == run.weights_digest()
    assert isinstance(loaded.model.trunk, FusedTrunk)
    torch.testing.assert_close(loaded.model.trunk(shown()), run.model.cpu().trunk(shown()), rtol=0, atol=0)
