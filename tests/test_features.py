"""Features of a frozen trunk: computed once, then answered from the cache."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bleep.encoders.image import ImageTrunk, build_trunk
from bleep.features import FeatureReader, trunk_digest
from bleep.settings import Config, ImageConfig
from bleep.tissue.section import Section
from bleep.tissue.slides import ArraySlide
from bleep.tissue.tiles import Tiles, TileSpec

SPEC = TileSpec(32, (64.0,))


class Counter:
    """Counts the tiles that pass through a trunk."""

    def __init__(self, trunk: nn.Module) -> None:
        self.seen = 0
        self.hook = trunk.register_forward_hook(self._count)

    def _count(self, module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        self.seen += len(inputs[0])

    def since(self) -> int:
        seen, self.seen = self.seen, 0
        return seen


@pytest.fixture(scope="module")
def trunk() -> ImageTrunk:
    torch.manual_seed(0)
    return build_trunk(ImageConfig(trunk="test_resnet", weights="random"), 32)[0]


@pytest.fixture
def passed(trunk: ImageTrunk) -> Iterator[Counter]:
    counter = Counter(trunk)
    yield counter
    counter.hook.remove()


def test_the_cache_gives_what_computing_gives(trunk: ImageTrunk, toys: tuple[Section, ...], tmp_path: Path) -> None:
    tiles = Tiles(toys[:2], SPEC)
    computed = FeatureReader(trunk, None).read(tiles)
    cached = FeatureReader(trunk, tmp_path / "new" / "cache")
    np.testing.assert_array_equal(cached.read(tiles), computed)
    np.testing.assert_array_equal(cached.read(tiles), computed)
    assert computed.shape == (len(tiles), trunk.width)
    assert np.ptp(computed, axis=0).max() > 0


def test_the_size_of_a_batch_does_not_matter(trunk: ImageTrunk, toys: tuple[Section, ...]) -> None:
    tiles = Tiles(toys[:1], SPEC)
    one, many = (FeatureReader(trunk, None, batch=batch).read(tiles) for batch in (3, 64))
    np.testing.assert_allclose(one, many, rtol=1e-4, atol=1e-5)


def test_a_subset_is_answered_without_touching_the_trunk(
    trunk: ImageTrunk, passed: Counter, toys: tuple[Section, ...], tmp_path: Path
) -> None:
    reader = FeatureReader(trunk, tmp_path)
    whole = reader.read(Tiles(toys[:1], SPEC))
    assert passed.since() == len(toys[0])
    rows = np.array([9, 2, 30])
    some = reader.read(Tiles((toys[0].subset(rows),), SPEC))
    assert passed.since() == 0
    np.testing.assert_array_equal(some, whole[rows])


def test_new_spots_are_added_to_the_known_ones(
    trunk: ImageTrunk, passed: Counter, toys: tuple[Section, ...], tmp_path: Path
) -> None:
    reader = FeatureReader(trunk, tmp_path)
    reader.read(Tiles((toys[0].subset(np.arange(5, 15)),), SPEC))
    passed.since()
    whole = reader.read(Tiles(toys[:1], SPEC))
    assert passed.since() == len(toys[0]) - 10
    np.testing.assert_allclose(whole, FeatureReader(trunk, None).read(Tiles(toys[:1], SPEC)), rtol=1e-4, atol=1e-5)
    passed.since()
    reader.read(Tiles(toys[:1], SPEC))
    assert passed.since() == 0
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "spec",
    [TileSpec(48, (64.0,)), TileSpec(32, (48.0,)), TileSpec(32, (64.0, 48.0)), TileSpec(32, (64.0,), "edge")],
    ids=["pixels", "microns", "windows", "padding"],
)
def test_another_way_to_cut_tiles_is_computed_anew(
    spec: TileSpec, trunk: ImageTrunk, passed: Counter, toys: tuple[Section, ...], tmp_path: Path
) -> None:
    reader = FeatureReader(trunk, tmp_path)
    for each in (SPEC, spec):
        reader.read(Tiles(toys[:1], each))
        assert passed.since() == len(toys[0])
    assert len(list(tmp_path.iterdir())) == 2


def test_another_picture_or_scale_is_computed_anew(
    trunk: ImageTrunk, passed: Counter, toys: tuple[Section, ...], tmp_path: Path
) -> None:
    reader = FeatureReader(trunk, tmp_path)
    reader.read(Tiles(toys[:1], SPEC))
    assert isinstance(toys[0].slide, ArraySlide)
    pixels = toys[0].slide.pixels.copy()
    pixels[0, 0, 0] ^= 1
    for section in (replace(toys[0], slide=ArraySlide(pixels)), replace(toys[0], mpp=1.5)):
        passed.since()
        reader.read(Tiles((section,), SPEC))
        assert passed.since() == len(section)
    renamed = replace(toys[0], name="else", patient="else")
    reader.read(Tiles((renamed,), SPEC))
    assert passed.since() == 0


def test_other_weights_or_another_layer_are_computed_anew(toys: tuple[Section, ...], tmp_path: Path) -> None:
    def read(seed: int, layer: int | None) -> tuple[str, np.ndarray]:
        torch.manual_seed(seed)
        made = build_trunk(ImageConfig(trunk="test_resnet", weights="random", layer=layer), 32)[0]
        return trunk_digest(made), FeatureReader(made, tmp_path).read(Tiles(toys[:1], SPEC))

    first, other, lower = read(0, None), read(1, None), read(0, 2)
    assert len({first[0], other[0], lower[0]}) == 3
    assert len(list(tmp_path.iterdir())) == 3
    assert read(0, None)[0] == first[0]
    assert not np.allclose(first[1], other[1])


def test_a_damaged_file_of_the_cache_is_computed_again(
    trunk: ImageTrunk, toys: tuple[Section, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reader, tiles = FeatureReader(trunk, tmp_path), Tiles(toys[:1], SPEC)
    whole = reader.read(tiles)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:200])
    np.testing.assert_array_equal(reader.read(tiles), whole)
    assert "is damaged" in caplog.text


def test_features_standardised_per_section_have_mean_0_and_spread_1_in_each(
    trunk: ImageTrunk, toys: tuple[Section, ...], tmp_path: Path
) -> None:
    read = FeatureReader(trunk, tmp_path, per_section=True).read(Tiles(toys[:2], SPEC))
    for part in (read[: len(toys[0])], read[len(toys[0]) :]):
        np.testing.assert_allclose(part.mean(axis=0), 0, atol=1e-3)
        varied = part.std(axis=0) > 0.5
        assert varied.mean() > 0.5
        np.testing.assert_allclose(part[:, varied].std(axis=0), 1, atol=1e-2)


def test_only_a_frozen_trunks_features_are_kept(tmp_path: Path) -> None:
    for train, kept in (("frozen", True), ("full", False)):
        config = Config.load({"image": {"trunk": "test_resnet", "weights": "random", "train": train}, "cache": str(tmp_path)})
        reader = FeatureReader.of(build_trunk(config.image, 32)[0], config)
        assert (reader.cache is not None) == kept


@pytest.mark.slow
def test_workers_cut_the_same_tiles(trunk: ImageTrunk, toys: tuple[Section, ...]) -> None:
    tiles = Tiles(toys[:1], SPEC)
    alone, helped = (FeatureReader(trunk, None, workers=workers).read(tiles) for workers in (0, 2))
    np.testing.assert_array_equal(alone, helped)
