"""Features of a frozen trunk: computed once, then answered from the cache."""

import hashlib
import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from scipy import sparse
from torch import nn

from bleep.config import Config, ImageConfig
from bleep.data.section import Section
from bleep.data.slides import ArraySlide
from bleep.data.tiles import Tiles, TileSpec
from bleep.features import FEW, FeatureReader, surroundings, trunk_digest
from bleep.models.factory import build_trunk
from bleep.models.heads import Standardizer, floored
from bleep.models.image import ImageTrunk

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
        trunk = build_trunk(config.image, 32)[0]
        reader = FeatureReader.of(trunk, Standardizer(trunk.width), config)
        assert (reader.cache is not None) == kept


def read(trunk: ImageTrunk, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return trunk(torch.from_numpy(np.ascontiguousarray(images))).numpy()


def inside(section: Section) -> Section:
    """Return the spots whose tiles lie on the slide."""
    return section.subset(np.flatnonzero(((section.xy > 40) & (section.xy < 216)).all(axis=1)))


@pytest.mark.parametrize("views", [2, 4, 8])
def test_features_over_views_are_the_mean_over_turned_and_mirrored_tiles(
    views: int, trunk: ImageTrunk, toys: tuple[Section, ...], tmp_path: Path
) -> None:
    tiles = Tiles(toys[:1], SPEC)
    images = tiles.images(range(len(tiles)))
    across, down = images[..., ::-1], images[..., ::-1, :]
    shown = [images, across, down, across[..., ::-1, :]]
    shown += [each.swapaxes(-1, -2) for each in shown]
    expected = np.mean([read(trunk, each) for each in shown[:views]], axis=0)
    found = FeatureReader(trunk, tmp_path, views=views).read(tiles)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(found - read(trunk, images)).max() > 1e-3
    np.testing.assert_array_equal(FeatureReader(trunk, tmp_path, views=views).read(tiles), found)


def test_a_tile_that_looks_the_same_from_every_side_has_the_same_features_over_any_views(
    trunk: ImageTrunk, toys: tuple[Section, ...]
) -> None:
    plain = replace(inside(toys[0]), slide=ArraySlide(np.full((256, 256, 3), 130, dtype=np.uint8)))
    tiles = Tiles((plain,), SPEC)
    one = FeatureReader(trunk, None).read(tiles)
    for views in (2, 4, 8):
        np.testing.assert_allclose(FeatureReader(trunk, None, views=views).read(tiles), one, rtol=1e-5, atol=1e-6)


def test_over_8_views_a_turned_slide_has_the_features_of_the_slide(trunk: ImageTrunk, toys: tuple[Section, ...]) -> None:
    assert isinstance(toys[0].slide, ArraySlide)
    straight = inside(toys[0])
    swapped = ArraySlide(toys[0].slide.pixels.transpose(1, 0, 2).copy())
    turned = replace(straight, slide=swapped, xy=straight.xy[:, ::-1].copy())
    there, here = (FeatureReader(trunk, None, views=8).read(Tiles((section,), SPEC)) for section in (turned, straight))
    # Making tiles smaller goes along one side first, so that a turned tile may differ by a grey level.
    assert np.abs(there - here).max() < 1e-3
    one = [FeatureReader(trunk, None).read(Tiles((section,), SPEC)) for section in (turned, straight)]
    assert np.abs(one[0] - one[1]).max() > 1e-2


def test_each_number_of_views_has_its_own_file_and_one_view_that_of_before(
    trunk: ImageTrunk, passed: Counter, toys: tuple[Section, ...], tmp_path: Path
) -> None:
    tiles = Tiles(toys[:1], SPEC)
    for views in (1, 2, 4, 8):
        FeatureReader(trunk, tmp_path, views=views).read(tiles)
        assert passed.since() == views * len(tiles)
    section = toys[0]
    parts = [trunk_digest(trunk), section.slide.digest(), section.mpp, SPEC.pixels, SPEC.microns, SPEC.padding]
    before = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    names = {path.stem for path in tmp_path.iterdir()}
    assert before in names
    assert len(names) == 4


def test_training_tiles_have_one_view_and_tiles_to_predict_those_of_the_settings(trunk: ImageTrunk) -> None:
    config = Config.load({"query": {"views": 4}})
    usual = Standardizer(trunk.width)
    assert FeatureReader.of(trunk, usual, config).views == 1
    assert FeatureReader.to_predict(trunk, usual, config).views == 4


def test_a_section_of_few_tiles_is_standardised_by_the_training_tiles_and_it_is_said(
    trunk: ImageTrunk, toys: tuple[Section, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    usual = Standardizer(trunk.width, applied=False)
    reader = FeatureReader(trunk, tmp_path, per_section=True, usual=usual)
    raw = reader.raw().read(Tiles(toys[:2], SPEC))
    usual.fit(torch.from_numpy(raw))
    few = replace(toys[2].subset(np.arange(FEW - 1)), name="few tiles")
    found = reader.read(Tiles((few,), SPEC))
    spread = floored(raw.std(axis=0))
    expected = (reader.raw().read(Tiles((few,), SPEC)) - raw.mean(axis=0)) / spread
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert "few tiles: has 49 tiles, fewer than the 50" in caplog.text
    assert "the training tiles'" in caplog.text
    np.testing.assert_array_equal(reader.read(Tiles((few.subset(np.array([7])),), SPEC)), found[[7]])


def test_a_section_of_few_tiles_has_surroundings_too(trunk: ImageTrunk, toys: tuple[Section, ...], tmp_path: Path) -> None:
    reader = FeatureReader(
        trunk, tmp_path, per_section=True, usual=Standardizer(2 * trunk.width, applied=False), context=(1e6,)
    )
    assert reader.usual is not None
    reader.usual.fit(torch.from_numpy(reader.raw().read(Tiles(toys[:2], SPEC))))
    few = Tiles((toys[2].subset(np.arange(20)),), SPEC)
    found = reader.read(few)
    mean, spread = reader.usual.mean[: trunk.width].numpy(), reader.usual.spread[: trunk.width].numpy()
    own = (replace(reader, context=()).raw().read(few) - mean) / spread
    # So wide that a tile's surroundings are all of its section alike.
    np.testing.assert_allclose(found, np.concatenate([own, np.tile(own.mean(axis=0), (20, 1))], axis=1), rtol=1e-4, atol=1e-4)


def test_a_run_that_does_not_hold_the_training_tiles_numbers_says_so(
    trunk: ImageTrunk, toys: tuple[Section, ...], caplog: pytest.LogCaptureFixture
) -> None:
    reader = FeatureReader(trunk, None, per_section=True, usual=Standardizer(trunk.width, applied=False))
    few = replace(toys[2].subset(np.arange(20)), name="older")
    found = reader.read(Tiles((few,), SPEC))
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-3)
    assert "section older: has 20 tiles" in caplog.text
    assert "train again" in caplog.text


def test_a_section_of_enough_tiles_is_standardised_by_its_own(trunk: ImageTrunk, toys: tuple[Section, ...]) -> None:
    usual = Standardizer(trunk.width, applied=False)
    usual.fit(torch.randn(60, trunk.width) + 4)
    enough = Tiles((toys[0].subset(np.arange(FEW)),), SPEC)
    alone = FeatureReader(trunk, None, per_section=True).read(enough)
    np.testing.assert_array_equal(FeatureReader(trunk, None, per_section=True, usual=usual).read(enough), alone)


@pytest.mark.slow
def test_workers_cut_the_same_tiles(trunk: ImageTrunk, toys: tuple[Section, ...]) -> None:
    tiles = Tiles(toys[:1], SPEC)
    alone, helped = (FeatureReader(trunk, None, workers=workers).read(tiles) for workers in (0, 2))
    np.testing.assert_array_equal(alone, helped)


def test_the_surroundings_in_a_large_section_are_averaged_in_little_memory(toys: tuple[Section, ...]) -> None:
    """Every bin is weighed for every bin: as many at a time as in a small section would be gigabytes."""
    rng = np.random.default_rng(0)
    spots = 200_000
    nothing = AnnData(sparse.csr_matrix((spots, 0), dtype=np.float32), obs=pd.DataFrame(index=np.arange(spots).astype(str)))
    whole = replace(toys[0], counts=nothing, xy=rng.uniform(0, 256, (spots, 2)))
    every = rng.standard_normal((spots, 1)).astype(np.float32)
    tracemalloc.start()
    found = surroundings.around(whole.xy[:200], whole, every, 20.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    weights = np.exp(-((whole.xy[150] - whole.xy) ** 2).sum(axis=1) / 800)
    np.testing.assert_allclose(found[150], weights @ every / weights.sum(), rtol=1e-3, atol=1e-5)
    assert peak < 700_000_000


@pytest.mark.parametrize("sigma", [2.0, 9.0, 100.0])
def test_surroundings_in_a_large_section_are_those_of_all_its_spots(
    sigma: float, toys: tuple[Section, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All pairs of 200,000 spots took an hour; of those within reach the mean is the same but for rounding."""
    rng = np.random.default_rng(1)
    # Some lie where no others are, and some at the borders of cells.
    xy = np.concatenate([rng.uniform(0, 150, (1500, 2)), rng.uniform(230, 256, (10, 2)), np.full((3, 2), 8 * sigma % 256)])
    nothing = AnnData(sparse.csr_matrix((len(xy), 0), dtype=np.float32), obs=pd.DataFrame(index=np.arange(len(xy)).astype(str)))
    whole = replace(toys[0], counts=nothing, xy=xy)
    every = rng.standard_normal((len(xy), 3)).astype(np.float32)
    expected = surroundings.around(whole.xy, whole, every, sigma)
    weighed, plain = [], surroundings._weighed
    monkeypatch.setattr(surroundings, "MANY", 1000)

    def noted(here: np.ndarray, there: np.ndarray, *rest: Any) -> np.ndarray:
        weighed.append((len(here), len(there)))
        return plain(here, there, *rest)

    monkeypatch.setattr(surroundings, "_weighed", noted)
    some = rng.permutation(len(xy))[:700]
    np.testing.assert_allclose(surroundings.around(whole.xy[some], whole, every, sigma), expected[some], rtol=1e-5, atol=1e-6)
    assert sum(here for here, _ in weighed) == 700
    if sigma == 2.0:
        assert sum(here * there for here, there in weighed) < 0.2 * 700 * len(xy)
