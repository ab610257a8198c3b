"""Shared regions: what a window reads of them, and that where their borders fell makes no difference."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from bleep.config import Config, DataConfig, ImageConfig
from bleep.data.readers import read_sections
from bleep.data.section import Section
from bleep.data.slides import ArraySlide, MosaicSlide
from bleep.data.tiles import Tiles, TileSpec
from bleep.errors import ConfigError, DataError, MismatchError
from bleep.evaluation.metrics import pearson
from bleep.features import FeatureReader
from bleep.features.regions import Layout, _resized, of_windows
from bleep.models.factory import _has_units, build_trunk, build_trunks
from bleep.models.image import ImageTrunk
from bleep.runs import Run
from bleep.workflows.fit import fit

SPEC = TileSpec(64, (64.0, 32.0))
Recipe = Callable[..., dict[str, Any]]


def build(trunk: str = "test_resnet", layer: int = 1, **over: Any) -> ImageTrunk:
    torch.manual_seed(0)
    settings = {"trunk": trunk, "weights": "random", "layer": layer, "sharing": "tokens", **over}
    return build_trunk(ImageConfig.model_validate(settings), 64)[0]


def same(images: torch.Tensor) -> torch.Tensor:
    return images


def moved(section: Section, pixels: int) -> Section:
    """Return the same tissue further from the corner of its picture, so that regions begin elsewhere on it."""
    width, height = section.slide.size
    picture = section.slide.region(0, 0, max(width, height), "white")[:height, :width]
    wider = np.pad(picture, ((pixels, 0), (pixels, 0), (0, 0)), constant_values=255)
    return replace(section, slide=ArraySlide(wider), xy=section.xy + pixels)


def test_a_window_is_the_mean_of_the_positions_inside_it_by_area(toys: tuple[Section, ...]) -> None:
    trunk, section, spec = build(layer=0), toys[0], TileSpec(64, (64.0,))
    picture = section.slide.region(0, 0, 256, "white")
    with torch.no_grad():
        grid = trunk.grid(torch.from_numpy(picture.transpose(2, 0, 1).copy())[None, None])[0].numpy()
    step = 256 // grid.shape[1]
    fine = grid.repeat(step, axis=1).repeat(step, axis=2)
    found = of_windows(trunk, Tiles((section,), spec), 8, same)
    inside = [row for row, xy in enumerate(np.rint(section.xy).astype(int)) if xy.min() >= 48 and xy.max() <= 208]
    assert len(inside) > 10
    for row in inside:
        x, y = np.rint(section.xy[row]).astype(int)
        expected = fine[:, y - 32 : y + 32, x - 32 : x + 32].mean(axis=(1, 2))
        np.testing.assert_allclose(found[row], expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_features_do_not_depend_on_which_others_are_asked_for(toys: tuple[Section, ...], name: str) -> None:
    trunk, tiles = build(name), Tiles(toys[:1], SPEC)
    all_of_them = of_windows(trunk, tiles, 64, same)
    rows = np.arange(0, len(tiles), 7)
    some = of_windows(trunk, tiles.subset(rows), 4, same)
    assert all_of_them.shape == (len(tiles), 2 * trunk.width)
    np.testing.assert_allclose(some, all_of_them[rows], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("halo", [1 / 16, 1 / 8])
def test_where_borders_fall_changes_a_feature_by_less_than_a_tenth_of_its_spread(
    toys: tuple[Section, ...], halo: float
) -> None:
    trunk = build(halo=halo)
    first, other = (of_windows(trunk, Tiles((s,), SPEC), 8, same) for s in (toys[0], moved(toys[0], 40)))
    off = np.sqrt(((first - other) ** 2).mean(axis=0)) / np.maximum(first.std(axis=0), 1e-6)
    assert not np.array_equal(first, other)
    assert np.median(off) < 0.1


@pytest.mark.data
@pytest.mark.parametrize("region", [1, 2])
def test_a_transformer_on_tissue_does_not_tell_where_in_its_region_a_window_lies(region: int, shared: Path) -> None:
    """With learnt positions as they are, windows whose borders fell otherwise correlate by .75 to .81."""
    weights = shared / "weights/vit_small_patch14_saliency.fp16.safetensors"
    settings = {"trunk": "vit_small_patch14_dinov2", "weights": str(weights), "layer": 5, "sharing": "tokens"}
    # bf16 without units for it takes many times as long.
    precision = "bf16" if _has_units("cpu") else "float32"
    trunk, _ = build_trunk(ImageConfig.model_validate(settings | {"precision": precision, "region": region}), 224)
    (section,) = read_sections(
        DataConfig.model_validate({"source": "her2st", "root": str(shared / "data/her2st"), "sections": ["C2"], "mpp": 0.69})
    )
    some = section.subset(np.arange(0, len(section), 6))
    spec = TileSpec(224, (154.56,))
    first, other = (of_windows(trunk, Tiles((one,), spec), 32, same) for one in (some, moved(some, 97)))
    found = pearson(first, other)
    assert np.median(found) > 0.88


@pytest.mark.parametrize(("halo", "margin"), [(1 / 16, 32), (1 / 8, 64), (0.07, 48), (0.001, 16), (0.25, 128)])
def test_a_halo_is_of_whole_tokens_and_never_less_than_one(halo: float, margin: int) -> None:
    torch.manual_seed(0)
    settings = {"trunk": "test_vit", "weights": "random", "layer": 1, "sharing": "tokens", "halo": halo, "region": 2}
    trunk, _ = build_trunk(ImageConfig.model_validate(settings), 256)
    layout = Layout.of(_resized(trunk, 512), 256)
    assert (layout.side, layout.step, layout.margin) == (512, 16, margin)


REGIONS = [
    ("test_vit", 128, None, 1),
    ("test_vit", 64, None, 2),
    ("test_resnet", 128, None, 2),
    ("test_vit", 128, 2, 2),
    ("test_resnet", 128, 1, 1),
]


@pytest.mark.parametrize(("name", "pixels", "asked", "side"), REGIONS)
def test_a_region_is_as_large_as_asked_for_else_as_suits_the_trunk(
    name: str, pixels: int, asked: int | None, side: int
) -> None:
    settings = {"trunk": name, "weights": "random", "layer": 1, "sharing": "tokens", "region": asked}
    trunk, _ = build_trunk(ImageConfig.model_validate(settings), pixels)
    layout = Layout.of(_resized(trunk, side * pixels), pixels)
    assert (trunk.region, layout.side) == (side, side * pixels)
    assert ("region 1" in trunk.reads) == (side == 1)


def test_a_transformer_of_several_stages_has_regions_of_twice_a_windows_side() -> None:
    settings = {"trunk": "swin_tiny_patch4_window7_224", "weights": "random", "layer": 1, "sharing": "tokens"}
    assert build_trunk(ImageConfig.model_validate(settings), 224)[0].region == 2


def test_features_of_other_regions_are_not_taken_from_the_cache(toys: tuple[Section, ...], tmp_path: Path) -> None:
    one, two = (FeatureReader(build(region=side), tmp_path).read(Tiles(toys[:1], SPEC)) for side in (1, 2))
    assert not np.allclose(one, two, rtol=1e-3)
    assert np.abs(one - two).mean() < 0.1 * two.std()


def test_features_under_another_halo_are_not_taken_from_the_cache(toys: tuple[Section, ...], tmp_path: Path) -> None:
    narrow, wide = (FeatureReader(build(halo=halo), tmp_path).read(Tiles(toys[:1], SPEC)) for halo in (0.0625, 0.125))
    assert not np.allclose(narrow, wide, rtol=1e-3)
    alone = FeatureReader(build(halo=0.125), None).read(Tiles(toys[:1], SPEC))
    np.testing.assert_allclose(wide, alone, rtol=1e-3, atol=1e-4)


def test_blocks_and_the_cache_give_what_the_whole_section_does(toys: tuple[Section, ...], tmp_path: Path) -> None:
    trunk, tiles = build(), Tiles(toys[:2], SPEC)
    whole = FeatureReader(trunk, None).read(tiles)
    cached = FeatureReader(trunk, tmp_path)
    blocks = np.concatenate([cached.read(block) for block in tiles.blocks(20)])
    np.testing.assert_allclose(blocks, whole, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(cached.read(tiles), blocks)
    alone = FeatureReader(build(sharing="none"), tmp_path).read(tiles)
    assert not np.allclose(alone, whole, rtol=1e-3)


def test_fused_trunks_stand_side_by_side(toys: tuple[Section, ...]) -> None:
    torch.manual_seed(0)
    both = {"also": ("test_vit",), "also_weights": ("random",), "also_layers": (1,)}
    settings = {"trunk": "test_resnet", "weights": "random", "layer": 1, "sharing": "tokens", **both}
    trunk, _ = build_trunks(ImageConfig.model_validate(settings), 64, 2)
    assert of_windows(trunk, Tiles(toys[:1], SPEC), 8, same).shape == (len(toys[0]), 2 * trunk.width)


def test_ready_cut_tiles_share_nothing(toys: tuple[Section, ...], files: Path) -> None:
    from bleep.config import DataConfig
    from bleep.data.readers import read_sections

    data = DataConfig.model_validate({"source": "folder", "root": files / "folder" / "train.csv", "mpp": 1.0})
    section = read_sections(data, files)[0]
    assert isinstance(section.slide, MosaicSlide)
    with pytest.raises(DataError, match="ready-cut tiles"):
        of_windows(build(), Tiles((section,), TileSpec(32, (16.0,))), 8, same)


def test_a_grid_that_is_not_even_is_refused() -> None:
    with pytest.raises(ConfigError, match="no even grid"):
        Layout.of(build(), 33)


def test_a_trunk_without_a_grid_is_refused() -> None:
    torch.manual_seed(0)
    pooled, _ = build_trunk(ImageConfig(trunk="test_resnet", weights="random"), 64)
    with pytest.raises(ConfigError, match="gives no grid"):
        Layout.of(pooled, 64)


@pytest.mark.parametrize("over", [{"layer": None}, {"train": "full"}])
def test_what_cannot_be_shared_is_refused(over: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"image.sharing is tokens"):
        Config.load({"image": {"sharing": "tokens", "layer": 1, **over}})
    with pytest.raises(ConfigError, match=r"query\.views"):
        Config.load({"image": {"sharing": "tokens", "layer": 1}, "query": {"views": 4}})


@pytest.mark.parametrize(("microns", "chosen"), [(90.0, "tokens"), (40.0, "none")])
def test_auto_shares_where_windows_overlap_more_than_fourfold(
    recipe: Recipe, tmp_path: Path, microns: float, chosen: str
) -> None:
    over = {"image": {"sharing": "auto", "layer": 1}, "tiles": {"microns": [microns]}, "optim": {"epochs": 1}}
    config = Config.load(recipe(tmp_path / "run", over))
    assert fit(config).config.image.sharing == chosen
    assert Run.load(tmp_path / "run").model.trunk.shares == (chosen == "tokens")
    assert fit(config, resume=True).config.image.sharing == chosen


def test_a_run_whose_regions_kept_their_places_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    over = {"image": {"trunk": "test_vit", "sharing": "tokens", "layer": 1}, "optim": {"epochs": 1}}
    fit(Config.load(recipe(tmp_path / "run", over)))
    facts = json.loads((tmp_path / "run/run.json").read_text())
    assert "without places" in facts.pop("reads")
    assert Run.load(tmp_path / "run").model.trunk.shares
    (tmp_path / "run/run.json").write_text(json.dumps(facts))
    with pytest.raises(MismatchError, match="kept their positions"):
        Run.load(tmp_path / "run")


def test_a_run_keeps_its_halo_and_one_of_before_it_could_be_chosen_the_usual_one(recipe: Recipe, tmp_path: Path) -> None:
    over = {"image": {"trunk": "test_vit", "sharing": "tokens", "layer": 1, "halo": 0.0625}, "optim": {"epochs": 1}}
    fit(Config.load(recipe(tmp_path / "run", over)))
    assert Run.load(tmp_path / "run").model.trunk.reads.endswith("halo 0.0625")
    written = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    del written["image"]["halo"], written["image"]["region"]
    (tmp_path / "run/config.yaml").write_text(yaml.safe_dump(written))
    older = Run.load(tmp_path / "run")
    assert (older.config.image.halo, older.config.image.region) == (0.125, 2)
    assert older.model.trunk.reads.endswith("tokens without places")
