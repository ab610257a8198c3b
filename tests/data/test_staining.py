"""Stains of a section brought to those of the training tiles."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bleep
from bleep.config import Config
from bleep.data.section import Section
from bleep.data.slides import ArraySlide, MosaicSlide, save_png
from bleep.data.stain import HED, LAB, LMS, MEASURES, StainMatch, brought, jittered, map_of, measured, source_of, target_of
from bleep.data.tiles import Tiles, TileSpec, cut
from bleep.features import FeatureReader, trunk_digest
from bleep.features.cache import FeatureCache
from bleep.models.image import NUMBERS
from bleep.records import Batch
from bleep.runs import Run
from bleep.workflows.calibrate import calibrate
from bleep.workflows.experiment import Experiment
from bleep.workflows.fit import fit

SPEC = TileSpec(32, (64.0,))
KINDS = sorted(MEASURES)


def dyed(section: Section, weights: np.ndarray) -> Section:
    """Return the section under another staining: its optical densities mixed anew."""
    width, height = section.slide.size
    picture = section.slide.region(0, 0, max(width, height), "white")[:height, :width]
    density = -np.log10((picture.astype(float) + 1) / 256) @ weights
    other = np.clip(np.round(256 * 10**-density - 1), 0, 255).astype(np.uint8)
    return replace(section, slide=ArraySlide(other))


@pytest.fixture(scope="module")
def pair(toys: tuple[Section, ...]) -> tuple[Tiles, Tiles]:
    """A section, and the same one stained differently."""
    mixed = np.array([[1.0, 0.1, 0.05], [0.05, 0.75, 0.0], [0.0, 0.1, 1.2]])
    return Tiles(toys[:1], SPEC), Tiles((dyed(toys[0], mixed),), SPEC)


def pictures(tiles: Tiles) -> torch.Tensor:
    return torch.from_numpy(tiles.images(range(len(tiles))))


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.float() - other.float()).abs().mean())


@pytest.mark.parametrize("kind", KINDS)
def test_a_section_stained_otherwise_comes_near_to_its_target(kind: Any, pair: tuple[Tiles, Tiles]) -> None:
    plain, other = pair
    maps = map_of(kind, measured(kind, other), measured(kind, plain))
    after = brought(kind, pictures(other), torch.from_numpy(maps).expand(len(other), 3, 4))
    # Reinhard's rule knows no stains, only means and spreads of colour, so it brings back less of what was mixed.
    share = {"macenko": 0.6, "reinhard": 0.95, "stretch": 0.8}[kind]
    assert apart(after, pictures(plain)) < share * apart(pictures(other), pictures(plain))


@pytest.mark.parametrize("kind", KINDS)
def test_a_section_already_stained_so_stays_as_it_is(kind: Any, pair: tuple[Tiles, Tiles]) -> None:
    plain, other = pair
    numbers = measured(kind, plain)
    after = brought(kind, pictures(plain), torch.from_numpy(map_of(kind, numbers, numbers)).expand(len(plain), 3, 4))
    assert apart(after, pictures(plain)) < 0.1 < apart(pictures(other), pictures(plain))


def test_reinhard_gives_the_targets_mean_and_spread(pair: tuple[Tiles, Tiles]) -> None:
    plain, other = pair
    wanted, before = measured("reinhard", plain), measured("reinhard", other)
    maps = torch.from_numpy(map_of("reinhard", before, wanted)).expand(len(other), 3, 4)
    width, height = other.sections[0].slide.size
    picture = other.sections[0].slide.region(0, 0, max(width, height), "white")[:height, :width]
    after = brought("reinhard", torch.from_numpy(picture.copy()).permute(2, 0, 1)[None, None], maps[:1])
    got = measured(
        "reinhard", Tiles((replace(other.sections[0], slide=ArraySlide(after[0, 0].permute(1, 2, 0).numpy())),), SPEC)
    )
    np.testing.assert_allclose(got, wanted, atol=0.01)
    assert np.abs(before - wanted).max() > 0.03


def test_reinhards_axes_are_those_of_his_article() -> None:
    # Its equation 9, from the cones' responses back to red, green and blue, is printed to two digits in its last row.
    back = [[4.4679, -3.5873, 0.1193], [-1.2186, 2.3809, -0.1624], [0.0497, -0.2439, 1.2045]]
    np.testing.assert_allclose(LMS @ np.array(back), np.eye(3), atol=0.015)
    np.testing.assert_allclose(LAB @ LAB.T, np.eye(3), atol=1e-12)
    grey = np.geomspace(0.05, 1, 600)[:, None] * np.ones(3)
    numbers = MEASURES["reinhard"](grey)
    scale = np.sqrt(3) * np.log10(grey[:, 0])
    np.testing.assert_allclose(numbers, [scale.mean(), 0, 0, scale.std(), 0, 0], atol=3e-3)
    blue, yellow, red, green = ([0.2, 0.2, 0.9], [0.9, 0.9, 0.2], [0.9, 0.2, 0.2], [0.2, 0.9, 0.2])
    hues = [MEASURES["reinhard"](np.array([colour] * 2))[1:3] for colour in (blue, yellow, red, green)]
    assert hues[0][0] < -0.1 < 0.1 < hues[1][0]
    assert hues[3][1] < -0.03 < 0.03 < hues[2][1]


def test_a_stretch_goes_from_the_first_to_the_last_percentile_of_each_stain() -> None:
    amounts = np.stack([np.linspace(0, 1, 2001), np.linspace(0.1, 0.5, 2001)], axis=1)
    np.random.default_rng(0).permuted(amounts, axis=0, out=amounts)
    numbers = MEASURES["stretch"](10 ** -(amounts @ HED[:2]))
    np.testing.assert_allclose(numbers, [0.01, 0.104, 0.99, 0.496], atol=1e-6)


def test_macenko_finds_the_stains_that_a_picture_was_mixed_of() -> None:
    generator = np.random.default_rng(0)
    stains = np.array([[0.65, 0.70, 0.29], [0.27, 0.92, 0.28]])
    stains /= np.linalg.norm(stains, axis=1, keepdims=True)
    # Most pixels hold both, some nearly one alone: these say where the directions are.
    amounts = generator.dirichlet([0.4, 0.4], 20_000) * generator.uniform(0.6, 1.6, (20_000, 1))
    numbers = MEASURES["macenko"](10 ** -(amounts @ stains))
    np.testing.assert_allclose(numbers[:6].reshape(2, 3), stains, atol=0.03)
    np.testing.assert_allclose(numbers[6:], np.percentile(amounts, 99, axis=0), rtol=0.05)


def test_a_stretch_brings_a_section_to_the_same_percentiles_whatever_it_was_trained_beside(pair: tuple[Tiles, Tiles]) -> None:
    wanted = target_of("stretch", pair[0])
    np.testing.assert_array_equal(wanted, target_of("stretch", pair[1]))
    for tiles in pair:
        before = measured("stretch", tiles)
        maps = torch.from_numpy(map_of("stretch", before, wanted))
        # What a pixel of the first and one of the last percentile become, each of both stains together.
        amounts = np.stack([before[:2], before[2:]])
        light = torch.from_numpy((256 * 10 ** -(amounts @ HED[:2])).T.reshape(1, 1, 3, 2, 1) - 1)
        after = jittered(light.round().clamp(0, 255).to(torch.uint8), maps[None]).numpy().reshape(3, 2)
        density = -np.log10((after.T.astype(float) + 1) / 256)
        np.testing.assert_allclose(density @ np.linalg.pinv(HED[:2]), wanted.reshape(2, 2), atol=0.06)


def as_ready_cut(section: Section, folder: Path) -> Section:
    """Return the section as tiles of its spots, one file each."""
    paths = tuple(folder / f"{name}.png" for name in section.counts.obs_names)
    for row, path in enumerate(paths):
        save_png(np.ascontiguousarray(cut(section, row, SPEC)[0].transpose(1, 2, 0)), path)
    slide = MosaicSlide.open(paths)
    return replace(section, slide=slide, xy=slide.centres(), mpp=2.0)


@pytest.mark.parametrize("ready_cut", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_how_a_section_is_stained_does_not_depend_on_the_order_of_its_spots(
    kind: Any, ready_cut: bool, toys: tuple[Section, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bleep.data.stain.TILES", 5)
    order = np.random.default_rng(0).permutation(len(toys[0]))
    pair = toys[0], toys[0].subset(order)
    if ready_cut:
        pair = as_ready_cut(pair[0], tmp_path), as_ready_cut(pair[1], tmp_path)
    first, second = (measured(kind, Tiles((section,), SPEC)) for section in pair)
    np.testing.assert_allclose(first, second, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_glass_and_padding_stay_white(kind: Any, pair: tuple[Tiles, Tiles]) -> None:
    maps = torch.from_numpy(map_of(kind, measured(kind, pair[1]), measured(kind, pair[0]))).expand(2, 3, 4)
    white = torch.full((2, 1, 3, 8, 8), 255, dtype=torch.uint8)
    assert torch.equal(brought(kind, white, maps), white)


@pytest.mark.parametrize(
    ("kind", "grey"),
    [("reinhard", 250), ("macenko", 250), ("macenko", 128), ("macenko", 0), ("stretch", 250), ("stretch", 128)],
)
def test_a_section_of_one_colour_is_left_as_it_is_and_that_is_said(
    kind: Any, grey: int, pair: tuple[Tiles, Tiles], caplog: pytest.LogCaptureFixture
) -> None:
    section = pair[0].sections[0]
    blank = Tiles((replace(section, slide=ArraySlide(np.full((256, 256, 3), grey, np.uint8))),), SPEC)
    numbers = measured(kind, blank)
    assert not numbers.any()
    assert "too little tissue" in caplog.text
    np.testing.assert_array_equal(map_of(kind, numbers, measured(kind, pair[0])), np.eye(3, 4))


@pytest.mark.parametrize("kind", KINDS)
def test_a_tile_does_not_depend_on_its_batch(kind: Any, pair: tuple[Tiles, Tiles]) -> None:
    maps = torch.from_numpy(map_of(kind, measured(kind, pair[1]), measured(kind, pair[0])))
    images = pictures(pair[1])
    whole = brought(kind, images, maps.expand(len(images), 3, 4))
    assert torch.equal(brought(kind, images[3:4], maps.expand(1, 3, 4)), whole[3:4])


def test_the_numbers_that_a_trunk_keeps_are_as_many_as_are_measured(pair: tuple[Tiles, Tiles]) -> None:
    assert {kind: len(measured(kind, pair[0])) for kind in MEASURES} | {"none": 0} == NUMBERS


def test_a_block_of_a_section_is_measured_as_the_whole(pair: tuple[Tiles, Tiles]) -> None:
    block = next(iter(pair[0].blocks(5)))
    np.testing.assert_array_equal(source_of("reinhard", block), source_of("reinhard", pair[0]))


def test_training_tiles_are_brought_each_by_its_own_section(toys: tuple[Section, ...], pair: tuple[Tiles, Tiles]) -> None:
    tiles = Tiles((toys[0], pair[1].sections[0]), SPEC)
    target = measured("reinhard", pair[0])
    match = StainMatch.of("reinhard", tiles, target)
    rows = torch.tensor([len(toys[0]) + 2, 1])
    images = torch.from_numpy(tiles.images(rows.tolist()))
    seen = match(Batch(images, torch.zeros(2, 1), rows), 0).inputs
    for at, alone in ((0, pair[1]), (1, pair[0])):
        maps = torch.from_numpy(map_of("reinhard", measured("reinhard", alone), target))
        assert torch.equal(seen[at : at + 1], brought("reinhard", images[at : at + 1], maps[None]))


@pytest.mark.parametrize("train", ["frozen", "last"])
def test_a_run_keeps_its_target_and_reads_other_sections_through_it(
    train: str, recipe: Any, toys: tuple[Section, ...], pair: tuple[Tiles, Tiles], tmp_path: Path
) -> None:
    over = {"image": {"stain": "macenko", "train": train}, "optim": {"epochs": 1}}
    run = fit(Config.load(recipe(tmp_path / "out", over)))
    loaded = Run.load(tmp_path / "out")
    numbers = loaded.model.trunk.stain.get_buffer("numbers")
    assert numbers.abs().sum() > 0
    assert torch.equal(numbers, run.model.trunk.stain.get_buffer("numbers"))
    reader = FeatureReader(loaded.model.trunk, tmp_path / "cache2")
    plain = FeatureReader(fit(Config.load(recipe(tmp_path / "plain", {"optim": {"epochs": 1}}))).model.trunk, None)
    ours = [reader.read(tiles) for tiles in pair]
    theirs = [plain.read(tiles) for tiles in pair]
    if train == "frozen":
        assert np.abs(ours[0] - ours[1]).mean() < 0.7 * np.abs(theirs[0] - theirs[1]).mean()
    np.testing.assert_array_equal(reader.read(pair[1]), ours[1])
    assert len(list((tmp_path / "cache2").iterdir())) == 2


def test_the_cache_key_names_the_target_which_is_known_before_features_are_asked_for(
    recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests, kept = set(), []
    adds = FeatureCache.add
    monkeypatch.setattr(FeatureCache, "add", lambda cache, xy, found: [kept.append(len(xy)), adds(cache, xy, found)][1])
    for kind in ("none", "reinhard", "macenko"):
        config = Config.load(recipe(tmp_path / kind, {"image": {"stain": kind}, "optim": {"epochs": 1}}))
        run = fit(config)
        digests.add(trunk_digest(run.model.trunk))
        assert sum(kept) == sum(section.spots for section in run.facts.train)
        kept.clear()
    assert len(digests) == 3


def test_tables_say_how_stains_were_brought(recipe: Any, tmp_path: Path) -> None:
    from bleep.workflows.evaluate import _trunk_words

    run = fit(Config.load(recipe(tmp_path / "out", {"image": {"stain": "reinhard"}, "optim": {"epochs": 1}})))
    assert "brought to the training tiles' (reinhard)" in _trunk_words(run)


@pytest.mark.parametrize("loaded", [False, True])
def test_a_rehearsal_leaves_the_stains_alone_that_the_run_was_trained_on(loaded: bool, recipe: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = fit(Config.load(recipe(out, {"image": {"stain": "macenko"}, "loss": {"task": "regression"}, "optim": {"epochs": 1}})))
    run = Run.load(out) if loaded else run
    before = run.model.trunk.stain.get_buffer("numbers").clone()
    calibrate(Experiment.of(run, out))
    assert torch.equal(run.model.trunk.stain.get_buffer("numbers"), before)
    assert bleep.load(out).calibration is not None
