"""Trunks by name: timm's, torchvision's and histology foundation models."""

from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from bleep.config import ImageConfig
from bleep.errors import ConfigError, WeightsError
from bleep.models.backbones import FOUNDATION, OTHERS, page
from bleep.models.factory import build_trunk
from bleep.models.image import ImageTrunk

SMALL = {
    "resnet18": 512, "resnet34": 512, "densenet121": 1024, "mobilenetv2_100": 1280, "mobilenetv3_small_100": 1024,
    "mobilenetv3_large_100": 1280, "efficientnet_b0": 1280, "efficientnet_b1": 1280, "regnetx_004": 384, "regnety_004": 440,
    "mnasnet_100": 1280, "squeezenet1_0": 512, "squeezenet1_1": 512, "googlenet": 1024, "alexnet": 4096,
    "mnasnet0_5": 1280, "mnasnet0_75": 1280, "mnasnet1_0": 1280, "mnasnet1_3": 1280, "shufflenet_v2_x0_5": 1024,
    "shufflenet_v2_x1_0": 1024, "shufflenet_v2_x1_5": 1024, "shufflenet_v2_x2_0": 2048, "regnet_x_400mf": 400,
    "mobilenet_v2": 1280,
}  # fmt: skip
"""Built with random weights, and shown a tile; and how many features they give."""
LARGE = {
    "resnet50": 2048, "resnet101": 2048, "resnet152": 2048, "vgg11": 4096, "vgg11_bn": 4096, "vgg13": 4096, "vgg13_bn": 4096,
    "vgg16": 4096, "vgg16_bn": 4096, "vgg19": 4096, "vgg19_bn": 4096, "densenet161": 2208, "densenet169": 1664,
    "densenet201": 1920, "inception_v3": 2048, "efficientnet_b2": 1408, "efficientnet_b3": 1536, "efficientnet_b4": 1792,
    "efficientnet_b5": 2048, "efficientnet_b6": 2304, "efficientnet_b7": 2560, "regnetx_320": 2520, "regnety_320": 3712,
    "wide_resnet50_2": 2048, "wide_resnet101_2": 2048, "resnext50_32x4d": 2048, "resnext101_32x8d": 2048, "seresnet50": 2048,
    "vit_small_patch16_224.augreg_in21k_ft_in1k": 384, "vit_base_patch16_224": 768, "vit_large_patch14_clip_224": 1024,
    "vit_small_patch16_224.dino": 384, "swin_tiny_patch4_window7_224": 768, "inception_resnet_v2": 1536,
}  # fmt: skip
"""Built where tensors have shapes and no values."""
FOUNDATION_WIDTHS = {
    "MahmoodLab/UNI": 1024, "MahmoodLab/UNI2-h": 1536, "paige-ai/Virchow": 2560, "paige-ai/Virchow2": 2560,
    "bioptimus/H-optimus-0": 1536, "bioptimus/H-optimus-1": 1536, "prov-gigapath/prov-gigapath": 1536, "owkin/phikon": 768,
    "1aurent/swin_tiny_patch4_window7_224.CTransPath": 768,
}  # fmt: skip
PARAMETERS = {
    "MahmoodLab/UNI": 303,
    "paige-ai/Virchow2": 631,
    "bioptimus/H-optimus-0": 1135,
    "prov-gigapath/prov-gigapath": 1135,
}
"""Millions, as their pages or papers say."""


def build(trunk: str, pixels: int = 64, **over: object) -> ImageTrunk:
    torch.manual_seed(0)
    return build_trunk(ImageConfig.model_validate({"trunk": trunk, "weights": "random", **over}), pixels)[0]


def shown(count: int = 2, pixels: int = 64) -> torch.Tensor:
    return torch.randint(0, 256, (count, 1, 3, pixels, pixels), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", SMALL)
def test_a_small_trunk_is_built_by_its_name_and_sees_a_tile(name: str) -> None:
    made = build(name)
    with torch.no_grad():
        features = made(shown(1))
    assert features.shape == (1, SMALL[name])
    assert made.width == SMALL[name]
    assert bool(features.isfinite().all())
    assert features.std() > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_a_large_trunk_is_built_by_its_name(name: str) -> None:
    pixels = 299 if name.startswith("inception") else 224
    try:
        with torch.device("meta"):
            made = build(name, pixels)
    except ConfigError as error:
        # The least torch cannot draw some weights without memory for them.
        if "no fake impl" not in str(error):
            raise
        made = build(name, pixels)
    assert made.width == LARGE[name]


@pytest.mark.parametrize("name", FOUNDATION_WIDTHS)
def test_a_foundation_model_is_built_by_the_name_of_its_page(name: str) -> None:
    with torch.device("meta"):
        made, resolved = build_trunk(ImageConfig(trunk=f"hf-hub:{name}", weights="random"), 224)
    assert made.width == FOUNDATION_WIDTHS[name]
    assert resolved == f"hf-hub:{name}"
    millions = sum(p.numel() for p in made.parameters()) / 1e6
    assert millions == pytest.approx(PARAMETERS.get(name, millions), rel=0.01)


def test_a_foundation_model_needs_no_prefix_and_no_capitals() -> None:
    assert page("hf_hub:mahmoodlab/uni") == page("MahmoodLab/UNI") == "MahmoodLab/UNI"


def test_every_foundation_model_of_the_table_is_tested() -> None:
    assert set(FOUNDATION_WIDTHS) == set(FOUNDATION)


def test_a_foundation_models_own_colours_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    small = FOUNDATION["1aurent/swin_tiny_patch4_window7_224.CTransPath"]
    found = type(small)("vit_tiny_patch16_224", "none", False, colours=((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)))
    monkeypatch.setitem(FOUNDATION, "MahmoodLab/UNI", found)
    made = build("MahmoodLab/UNI", 32)
    assert made.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert made.std.flatten().tolist() == pytest.approx([0.4, 0.5, 0.6])


def test_the_class_token_stands_beside_the_mean_of_the_patches_without_registers(monkeypatch: pytest.MonkeyPatch) -> None:
    virchow = FOUNDATION["paige-ai/Virchow2"]
    options = {"init_values": 1e-5, "global_pool": "", "reg_tokens": 4, "mlp_ratio": 5.3375}
    tiny = type(virchow)("vit_tiny_patch16_224", "none", True, options, swiglu=True, tokens="class and patches")
    monkeypatch.setitem(FOUNDATION, "paige-ai/Virchow2", tiny)
    made = build("paige-ai/Virchow2", 32)
    images = shown(2, 32)
    pixels = (images[:, 0].float() / 255 - made.mean) / made.std
    with torch.no_grad():
        tokens = made.model.forward_features(pixels)
        assert tokens.shape == (2, 1 + 4 + 4, 192)
        torch.testing.assert_close(made(images), torch.cat([tokens[:, 0], tokens[:, 5:].mean(1)], 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["MahmoodLab/UNI", "paige-ai/Virchow2"])
def test_gated_weights_that_cannot_be_had_say_what_to_do(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert FOUNDATION[name].gated
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with torch.device("meta"), pytest.raises(WeightsError, match=r"accept the licence at https://huggingface\.co/") as caught:
        build(name, 224, weights="hub")
    assert "hf auth login" in str(caught.value)
    assert "image.weights" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", OTHERS)
def test_a_model_that_timm_cannot_build_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(ConfigError, match=r"not by timm|not timm"):
        build(f"hf-hub:{name}")


def test_torchvision_gives_its_own_output_without_its_last_layer() -> None:
    made = build("shufflenet_v2_x0_5")
    whole = torchvision.models.shufflenet_v2_x0_5()
    whole.load_state_dict(made.model.state_dict(), strict=False)
    seen: list[torch.Tensor] = []
    whole.fc.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        whole.eval()((shown()[:, 0].float() / 255 - made.mean) / made.std)
        torch.testing.assert_close(made(shown()), seen[0], rtol=1e-4, atol=1e-5)


def test_googlenets_colours_are_brought_to_one_half_once() -> None:
    made = build("googlenet")
    assert made.mean.flatten().tolist() == [0.5] * 3
    assert not made.model.transform_input


@pytest.mark.parametrize(("name", "layer", "width"), [("alexnet", 1, 192), ("alexnet", 4, 256), ("googlenet", 5, 512)])
def test_a_torchvision_trunk_is_read_at_any_depth(name: str, layer: int, width: int) -> None:
    whole, cut = build(name), build(name, layer=layer)
    assert cut.width == width
    assert sum(p.numel() for p in cut.parameters()) < sum(p.numel() for p in whole.parameters())
    with torch.no_grad():
        assert cut(shown()).std() > 0


def test_what_a_torchvision_trunk_has_at_its_last_map_is_that_of_the_whole() -> None:
    cut, whole = build("alexnet", layer=4), build("alexnet")
    with torch.no_grad():
        pixels = (shown()[:, 0].float() / 255 - whole.mean) / whole.std
        torch.testing.assert_close(cut(shown()), whole.model.features(pixels).mean(dim=(2, 3)), rtol=1e-4, atol=1e-5)


def test_a_layer_that_torchvision_has_not_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no layer 5 to read"):
        build("alexnet", layer=5)


def test_a_torchvision_trunk_learns_from_its_end_at_growing_rates() -> None:
    made = build("shufflenet_v2_x0_5", train="last", unfreeze=2, layer_decay=0.5)
    learning = {name.split(".")[0] for name, p in made.model.named_parameters() if p.requires_grad}
    assert learning == {"stage4", "conv5"}
    rates = {name.split(".")[1]: pace.rate for name, pace in made.parameter_schedules().items()}
    assert rates == {"conv5": 1.0, "stage4": 0.5}


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "squeezenet1_1"])
def test_torchvision_weights_of_a_local_file_are_loaded_whole(name: str, suffix: str, tmp_path: Path) -> None:
    torch.manual_seed(5)
    source = torchvision.models.get_model(name)
    path = tmp_path / f"w{suffix}"
    state = {key: value.contiguous() for key, value in source.state_dict().items()}
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    made = build(name, weights=str(path))
    kept = made.model.state_dict()
    assert kept
    assert all(torch.equal(value, state[key]) for key, value in kept.items())
    del state[next(iter(state))]
    save_file(state, tmp_path / "cut.safetensors")
    with pytest.raises(WeightsError, match="does not fit the trunk"):
        build(name, weights=str(tmp_path / "cut.safetensors"))


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "shufflenet_v2_x0_5"])
def test_logits_are_what_the_classifier_gives(name: str) -> None:
    made = build(name, output="logits")
    assert made.width == 1000
    assert made.reads == "None logits"


def test_logits_of_a_trunk_without_classifier_are_refused() -> None:
    with pytest.raises(ConfigError, match="has no classifier"), torch.device("meta"):
        build("vit_small_patch14_dinov2", 56, output="logits")


def test_logits_of_weights_in_a_file_keep_their_classifier(tmp_path: Path) -> None:
    source = build("test_resnet", output="logits")
    save_file({k: v.contiguous() for k, v in source.model.state_dict().items()}, tmp_path / "w.safetensors")
    torch.manual_seed(99)
    made, _ = build_trunk(ImageConfig(trunk="test_resnet", weights=str(tmp_path / "w.safetensors"), output="logits"), 64)
    torch.testing.assert_close(made(shown()), source(shown()), rtol=0, atol=0)


def test_tiles_too_small_for_a_trunk_are_refused() -> None:
    with pytest.raises(ConfigError, match="cannot take tiles of 16 pixels"):
        build("alexnet", 16)


def test_torchvision_can_be_asked_for_by_its_own_name() -> None:
    made, name = build_trunk(ImageConfig(trunk="torchvision/resnet18", weights="random"), 64)
    assert name == "torchvision/resnet18"
    assert made.width == 512


def test_pixels_side_by_side_change_rounding_alone() -> None:
    first, second = (build("test_resnet", channels_last=flag) for flag in (True, False))
    assert first.model.conv1[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert not second.model.conv1[0].weight.is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        torch.testing.assert_close(first(shown()), second(shown()), rtol=1e-4, atol=1e-5)


def test_bfloat16_is_near_and_not_the_same_and_float32_comes_out() -> None:
    exact, fast = build("test_resnet"), build("test_resnet", precision="bf16")
    with torch.no_grad():
        one, other = exact(shown()), fast(shown())
    assert other.dtype == torch.float32
    assert not torch.equal(one, other)
    torch.testing.assert_close(one, other, rtol=0.1, atol=0.05)
    assert fast.reads == "None bf16"


def test_half_precision_is_refused_on_a_cpu() -> None:
    made = build("test_resnet", precision="fp16")
    with pytest.raises(ConfigError, match="needs a GPU"):
        made(shown())
