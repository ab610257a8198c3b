"""The image trunk: any timm model, cut at any depth, with its own normalisation inside."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from bleep.config import ImageConfig
from bleep.errors import ConfigError, WeightsError
from bleep.models.factory import build_trunk
from bleep.models.image import ImageTrunk

VIT = "vit_small_patch14_dinov2"


def config(trunk: str = "test_resnet", **over: object) -> ImageConfig:
    return ImageConfig.model_validate({"trunk": trunk, "weights": "random", **over})


def build(trunk: str = "test_resnet", pixels: int = 64, **over: object) -> ImageTrunk:
    torch.manual_seed(0)
    return build_trunk(config(trunk, **over), pixels)[0]


def images(count: int = 3, windows: int = 1, pixels: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randint(0, 256, (count, windows, 3, pixels, pixels), dtype=torch.uint8, generator=generator)


def vary_batch_norm(model: nn.Module) -> None:
    """Give running statistics that differ from those of a fresh layer, as training would have."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("trunk", ["test_vit", "test_resnet"])
def test_a_cut_trunk_gives_what_the_uncut_model_has_at_that_depth(trunk: str, layer: int) -> None:
    cut = build(trunk, layer=layer)
    torch.manual_seed(0)
    options = {"img_size": 64} if trunk == "test_vit" else {}
    whole = timm.create_model(trunk, num_classes=0, **options).eval()
    shown = images()
    pixels = (shown[:, 0].float() / 255 - cut.mean) / cut.std
    with torch.no_grad():
        maps = whole.forward_intermediates(pixels, norm=False, output_fmt="NCHW", intermediates_only=True)
        torch.testing.assert_close(cut(shown), maps[layer].mean(dim=(2, 3)), rtol=1e-4, atol=1e-5)
    parameters = sum(p.numel() for p in cut.parameters())
    assert parameters < sum(p.numel() for p in whole.parameters())


@pytest.mark.parametrize("trunk", ["test_vit", "test_resnet"])
def test_without_a_layer_the_pooled_output_is_read(trunk: str) -> None:
    made = build(trunk)
    shown = images()
    pixels = (shown[:, 0].float() / 255 - made.mean) / made.std
    with torch.no_grad():
        torch.testing.assert_close(made(shown), made.model(pixels), rtol=1e-4, atol=1e-5)
    assert made.width == made.model.num_features


def test_the_trunks_own_mean_and_spread_of_colours_are_used() -> None:
    made = build("test_vit")
    cfg = timm.get_pretrained_cfg("test_vit")
    assert made.mean.flatten().tolist() == pytest.approx(cfg.mean)
    assert made.std.flatten().tolist() == pytest.approx(cfg.std)


def test_two_windows_put_their_features_side_by_side() -> None:
    made = build()
    shown = images(windows=2)
    with torch.no_grad():
        both = made(shown)
        apart = [made(shown[:, number : number + 1]) for number in (0, 1)]
    torch.testing.assert_close(both, torch.cat(apart, dim=1), rtol=1e-4, atol=1e-6)
    assert both.shape == (3, 2 * made.width)


@pytest.mark.parametrize("train", ["frozen", "last", "full"])
def test_batch_norm_keeps_its_statistics_in_training(train: str) -> None:
    made = build(train=train)
    vary_batch_norm(made)
    before = {name: value.clone() for name, value in made.named_buffers()}
    made.train()
    made(images()).sum()
    assert made.training == (train != "frozen")
    for name, value in made.named_buffers():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    first = made(images())[:1]
    torch.testing.assert_close(made(images()[:1]), first, rtol=1e-4, atol=1e-5)


def test_a_frozen_trunk_has_nothing_that_learns() -> None:
    made = build(train="frozen")
    assert not made.learns
    assert not any(parameter.requires_grad for parameter in made.parameters())
    assert not made.train()(images()).requires_grad


@pytest.mark.parametrize("trunk", ["test_vit", "test_resnet"])
def test_a_full_trunk_learns_in_every_weight(trunk: str) -> None:
    made = build(trunk, train="full")
    made.train()(images()).pow(2).sum().backward()
    assert made.learns
    assert all(parameter.grad is not None for parameter in made.parameters())


@pytest.mark.parametrize("layer", [None, 1])
def test_the_last_block_of_a_vit_learns_and_nothing_below_it(layer: int | None) -> None:
    made = build("test_vit", train="last", layer=layer)
    learning = {name for name, parameter in made.model.named_parameters() if parameter.requires_grad}
    last = len(made.model.blocks) - 1
    assert any(name.startswith(f"blocks.{last}.") for name in learning)
    assert all(name.startswith((f"blocks.{last}.", "norm.", "fc_norm.")) for name in learning)
    assert {name for name, _ in made.model.named_parameters() if name.startswith(f"blocks.{last}.")} <= learning


@pytest.mark.parametrize("trunk", ["convnext_atto", "densenet121", "eva02_tiny_patch14_224"])
def test_norms_at_the_end_of_a_trunk_are_no_block_of_their_own(trunk: str) -> None:
    made = build(trunk, 224 if "eva" in trunk else 64, train="last")
    learning = {name: parameter.ndim for name, parameter in made.model.named_parameters() if parameter.requires_grad}
    assert max(learning.values()) >= 2
    assert any("norm" in name for name in learning)
    assert len(learning) < 0.5 * len(list(made.model.parameters()))


@pytest.mark.parametrize("over", [{"train": "last"}, {"train": "gradual"}, {"train": "full", "layer_decay": 0.5}])
def test_a_trunk_whose_blocks_have_no_names_is_frozen_or_trained_in_full(over: dict[str, object]) -> None:
    assert not build("poolformer_s12", train="frozen").learns
    with pytest.raises(ConfigError, match="timm does not name those of poolformer_s12"):
        build("poolformer_s12", **over)


def test_more_blocks_learn_when_asked_for() -> None:
    one, two = (
        {name for name, p in build("test_resnet", train="last", unfreeze=count).named_parameters() if p.requires_grad}
        for count in (1, 2)
    )
    everything = {name for name, _ in build("test_resnet").named_parameters()}
    assert one < two < everything


def test_the_features_of_a_tile_do_not_depend_on_its_batch() -> None:
    made = build()
    with torch.no_grad():
        torch.testing.assert_close(made(images(8))[:2], made(images(8)[:2]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_local_weights_are_loaded(suffix: str, tmp_path: Path) -> None:
    torch.manual_seed(9)
    source = timm.create_model("test_resnet", num_classes=0).eval()
    vary_batch_norm(source)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(source.state_dict(), path)
    else:
        save_file(source.state_dict(), path)
    made = build(weights=str(path))
    for name, value in source.state_dict().items():
        torch.testing.assert_close(made.model.state_dict()[name], value, rtol=0, atol=0)


def test_weights_of_a_classifier_lose_their_head_alone(tmp_path: Path) -> None:
    source = timm.create_model("test_resnet", num_classes=10)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    assert build(weights=str(tmp_path / "w.safetensors")).width == source.num_features


@pytest.mark.parametrize("change", ["missing", "unexpected", "shape"])
def test_weights_that_do_not_fit_in_every_name_and_shape_are_refused(change: str, tmp_path: Path) -> None:
    state = timm.create_model("test_resnet", num_classes=0).state_dict()
    key = "layer1.0.conv1.weight"
    if change == "missing":
        del state[key]
    elif change == "unexpected":
        state["something.weight"] = torch.zeros(3)
    else:
        state[key] = torch.zeros(2, 2)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="does not fit the trunk test_resnet") as caught:
        build(weights=str(tmp_path / "w.safetensors"))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_damaged_weights_are_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(b"\x10\x00\x00\x00 nothing of weights")
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        build(weights=str(path))


def test_weights_of_another_trunk_are_refused(tmp_path: Path) -> None:
    save_file(timm.create_model("test_vit", num_classes=0).state_dict(), tmp_path / "vit.safetensors")
    with pytest.raises(WeightsError, match="does not fit the trunk test_resnet"):
        build(weights=str(tmp_path / "vit.safetensors"))


def test_weights_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        build(weights=str(tmp_path / "none.safetensors"))


def test_a_hub_that_cannot_be_reached_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="could not be fetched from the model hub") as caught:
        build(weights="hub")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["resnet_of_nobody", "", "*", "hf-hub:"])
def test_a_trunk_unknown_to_timm_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="timm knows no model"):
        build(name)


def test_a_near_name_is_offered() -> None:
    with pytest.raises(ConfigError, match="resnet"):
        build("resnet_of_nobody")


@pytest.mark.parametrize("trunk", ["test_vit", "test_resnet"])
def test_a_layer_that_is_not_there_is_refused(trunk: str) -> None:
    with pytest.raises(ConfigError, match="has no layer 40 to read"):
        build(trunk, layer=40)


def test_tiles_that_do_not_fit_the_patches_are_refused() -> None:
    with pytest.raises(ConfigError, match="cannot take tiles of 50 pixels"):
        build("test_vit", pixels=50)


def test_the_name_is_resolved_as_timm_resolves_it() -> None:
    assert build_trunk(config("test_resnet"), 64)[1].startswith("test_resnet")
    assert build_trunk(config(build_trunk(config("test_resnet"), 64)[1]), 64)[1] == build_trunk(config(), 64)[1]


@pytest.mark.data
@pytest.mark.slow
def test_the_shared_weights_load_in_every_name(shared: Path) -> None:
    for trunk, file in (
        ("tf_efficientnet_lite0", "tf_efficientnet_lite0.safetensors"),
        (VIT, "vit_small_patch14_saliency.fp16.safetensors"),
    ):
        path = shared / "weights" / file
        made = build(trunk, pixels=56, weights=str(path))
        stored, loaded = load_file(path), made.model.state_dict()
        same = [name for name in stored if name in loaded and stored[name].shape == loaded[name].shape]
        assert len(same) > 0.9 * len(loaded)
        for name in same:
            torch.testing.assert_close(loaded[name], stored[name].to(loaded[name].dtype), rtol=0, atol=0)


@pytest.mark.data
@pytest.mark.slow
def test_shared_weights_with_a_name_cut_out_or_of_another_trunk_are_refused(shared: Path, tmp_path: Path) -> None:
    path = shared / "weights" / "vit_small_patch14_saliency.fp16.safetensors"
    state = load_file(path)
    del state["blocks.3.attn.qkv.weight"]
    save_file(state, tmp_path / "cut.safetensors")
    with pytest.raises(WeightsError, match=r"blocks\.3\.attn\.qkv\.weight"):
        build(VIT, pixels=56, weights=str(tmp_path / "cut.safetensors"))
    with pytest.raises(WeightsError, match="does not fit"):
        build("tf_efficientnet_lite0", pixels=64, weights=str(path))


@pytest.mark.parametrize("name", ["small/cancernet", "small/cancernet-no-dropout"])
def test_a_trunk_that_learns_sees_all_tiles_at_once_without_gradients_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of a batch are passed twice, the first time without gradients: both must draw and count alike."""
    torch.manual_seed(0)
    trunk, _ = build_trunk(ImageConfig(trunk=name, weights="random", train="full"), 50)
    trunk.train()
    monkeypatch.setattr("bleep.models.image.PIECE", 2 * 50**2)
    tiles = torch.randint(0, 256, (7, 1, 3, 50, 50), dtype=torch.uint8)
    torch.manual_seed(1)
    with torch.no_grad():
        first = trunk(tiles)
    torch.manual_seed(1)
    torch.testing.assert_close(trunk(tiles).detach(), first)
