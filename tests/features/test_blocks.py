"""Features of blocks of a section are those of the whole; what was computed before a stop is not computed again."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bleep import features as reader
from bleep.config import FLOOR, ImageConfig
from bleep.data.section import Section
from bleep.data.slides import ArraySlide
from bleep.data.tiles import Tiles, TileSpec
from bleep.features import FeatureReader
from bleep.features import cache as kept
from bleep.models.factory import build_trunk
from bleep.models.heads import RunningStats, Standardizer
from bleep.models.image import ImageTrunk

SPEC = TileSpec(32, (64.0,))


@pytest.fixture(scope="module")
def trunk() -> ImageTrunk:
    torch.manual_seed(0)
    return build_trunk(ImageConfig(trunk="test_resnet", weights="random"), 32)[0]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "BLOCK", 16)
    monkeypatch.setattr(reader, "BLOCK", 16)


@pytest.fixture
def seen(trunk: ImageTrunk) -> Iterator[list[int]]:
    """Numbers of tiles that have passed through the trunk."""
    counts: list[int] = []
    hook = trunk.register_forward_hook(lambda module, inputs, output: counts.append(len(inputs[0])))
    yield counts
    hook.remove()


def test_blocks_follow_the_tiles_and_never_span_two_sections(toys: tuple[Section, ...]) -> None:
    tiles = Tiles(toys[:2], SPEC)
    blocks = list(tiles.blocks(20))
    assert [name for block in blocks for name in block.ids] == list(tiles.ids)
    for block in blocks:
        assert len(block) <= 20
        assert len(block.sections) == len(block.whole) == 1
        assert block.whole[0] in tiles.sections
    assert tiles.whole == ()
    assert blocks[0].subset(np.arange(3)).whole == ()


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("rows", [1, 7, 100])
def test_blocks_are_standardised_as_the_whole_section_is(
    rows: int, cached: bool, trunk: ImageTrunk, toys: tuple[Section, ...], tmp_path: Path
) -> None:
    asked = FeatureReader(trunk, tmp_path if cached else None, batch=8, per_section=True)
    tiles = Tiles(toys[:2], SPEC)
    whole = asked.read(tiles)
    parts = np.concatenate([asked.read(block) for block in tiles.blocks(rows)])
    if cached:
        np.testing.assert_array_equal(parts, whole)
    # A feature that hardly varies makes much of the last digits, so what is compared is how far apart the trunk's own would be.
    raw = FeatureReader(trunk, None, batch=8).read(tiles)
    ends = np.cumsum([len(section) for section in tiles.sections])[:-1]
    spread = np.concatenate([np.broadcast_to(part.std(axis=0), part.shape) for part in np.split(raw, ends)])
    np.testing.assert_allclose(parts * spread, whole * spread, rtol=0, atol=1e-5 * np.abs(raw).max())
    assert np.isclose(parts, whole, rtol=1e-3, atol=1e-3).mean() > 0.999


def test_a_block_of_a_section_of_few_tiles_is_standardised_by_the_training_tiles(
    trunk: ImageTrunk, toys: tuple[Section, ...], tmp_path: Path
) -> None:
    usual = Standardizer(trunk.width, applied=False)
    usual.fit(torch.randn(60, trunk.width) * 2 + 4)
    asked = FeatureReader(trunk, tmp_path, per_section=True, usual=usual)
    few, many = Tiles((toys[0].subset(np.arange(30)),), SPEC), Tiles((toys[0],), SPEC)
    for tiles in (few, many):
        parts = np.concatenate([asked.read(block) for block in tiles.blocks(12)])
        np.testing.assert_array_equal(parts, asked.read(tiles))
    assert np.abs(asked.read(few) - asked.read(many)[:30]).max() > 0.1


def test_moments_of_blocks_are_those_of_all_rows() -> None:
    table = (np.random.default_rng(0).normal(size=(1000, 6)) * [1, 5, 0.1, 0, 3, 1] + 1000).astype(np.float32)
    merged = RunningStats.of(table[at : at + 77] for at in range(0, 1000, 77))
    np.testing.assert_allclose(merged.mean, table.astype(np.float64).mean(axis=0), rtol=1e-6)
    spread = table.astype(np.float64).std(axis=0)
    usual = np.median(spread[spread > 1e-3])
    expected = np.where(spread > 1e-3, np.maximum(spread, FLOOR * usual), np.maximum(usual, 1))
    np.testing.assert_allclose(merged.spread, expected, rtol=1e-4)


def test_a_computation_that_was_stopped_goes_on_after_its_last_block(
    trunk: ImageTrunk, seen: list[int], toys: tuple[Section, ...], tmp_path: Path
) -> None:
    assert isinstance(toys[0].slide, ArraySlide)
    tiles, asked = Tiles(toys[:1], SPEC), FeatureReader(trunk, tmp_path, batch=8)
    stopped = 0

    class StopError(Exception):
        pass

    def stop(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal stopped
        stopped += len(inputs[0])
        if stopped > 40:
            raise StopError

    hook = trunk.register_forward_pre_hook(stop)
    with pytest.raises(StopError):
        asked.share(tiles)
    hook.remove()
    assert sum(seen) == 40
    seen.clear()
    asked.share(tiles)
    assert sum(seen) == len(tiles) - 40
    np.testing.assert_array_equal(asked.read(tiles), FeatureReader(trunk, tmp_path / "other", batch=8).read(tiles))


def test_what_is_computed_in_some_seconds_is_kept_before_more_is_begun(
    toys: tuple[Section, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow trunk loses no more than `SECONDS` of work where it is stopped; a quick one is not slowed by many small files."""
    made, _ = build_trunk(ImageConfig(trunk="test_resnet", weights="random"), 32)
    tiles, clock = Tiles(toys[:1], TileSpec(32, (64.0,))), [0.0]
    monkeypatch.setattr(reader.time, "monotonic", lambda: clock[0])

    def sizes(pace: float) -> list[int]:
        found = []
        for rows in FeatureReader(made, tmp_path, batch=8)._blocks(tiles, np.arange(100)):
            found.append(len(rows))
            clock[0] += pace * len(rows)
        return found

    monkeypatch.setattr(reader, "BLOCK", 2048)
    assert sizes(pace=reader.SECONDS) == [8] * 12 + [4]
    assert sizes(pace=reader.SECONDS / 16) == [8, *[16] * 5, 12]
    assert sizes(pace=0.0) == [8, 92]


def test_a_digest_follows_weights_that_change_in_place(toys: tuple[Section, ...]) -> None:
    torch.manual_seed(1)
    trunk = build_trunk(ImageConfig(trunk="test_resnet", weights="random"), 32)[0]
    first = reader.trunk_digest(trunk)
    assert reader.trunk_digest(trunk) == first
    with torch.no_grad():
        next(trunk.parameters()).add_(1)
    assert reader.trunk_digest(trunk) != first


def test_tiles_of_renamed_slides_share_their_features(
    trunk: ImageTrunk, seen: list[int], toys: tuple[Section, ...], tmp_path: Path
) -> None:
    asked = FeatureReader(trunk, tmp_path, batch=8)
    asked.share(Tiles(toys[:1], SPEC))
    seen.clear()
    asked.share(Tiles((replace(toys[0], name="else"),), SPEC))
    assert seen == []
