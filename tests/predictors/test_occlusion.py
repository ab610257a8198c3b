"""Hiding squares of a tile finds what a predictor looks at, and changes nothing else."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bleep.config import Config
from bleep.data.prediction import Prediction
from bleep.data.readers import read_sections
from bleep.data.section import Section
from bleep.data.slides import ArraySlide, MosaicSlide, resize
from bleep.data.slides.base import padded_array
from bleep.data.tiles import Tiles, TileSpec
from bleep.errors import ConfigError
from bleep.predictors import Ensemble, MeanOfPredictors, Remembered
from bleep.predictors.baselines import RegressionPredictor
from bleep.predictors.saliency import occlusion
from bleep.runs import Run
from bleep.workflows.experiment import Experiment
from bleep.workflows.fit import fit

ROW = 7


@dataclass(frozen=True)
class Corner:
    """Predicts how bright the upper left quarter of one window is, and how bright all of it is."""

    window: int = 0
    name: str = "corner"

    def predict(self, tiles: Tiles) -> Prediction:
        images = tiles.images(range(len(tiles)))[:, self.window].astype(np.float32) / 255
        half = images.shape[-1] // 2
        values = np.stack([images[:, :, :half, :half].mean(axis=(1, 2, 3)), images.mean(axis=(1, 2, 3))], axis=1)
        return Prediction(values, tiles.frame(), ("corner", "all"), "brightness", self.name)


def section(toys: tuple[Section, ...], pixels: np.ndarray) -> Section:
    """One section with another picture."""
    return replace(toys[0], slide=ArraySlide(pixels))


def gradient(side: int = 256) -> np.ndarray:
    """A picture that is brighter towards the upper left, so that the mean colour stands out everywhere."""
    ramp = np.linspace(250, 0, side)[:, None] * 0.5 + np.linspace(250, 0, side)[None] * 0.5
    return np.repeat(ramp.astype(np.uint8)[:, :, None], 3, axis=2)


def middle(one: Section) -> int:
    """The spot nearest to the middle, whose windows lie on the slide."""
    return int(np.abs(one.xy - 128).sum(axis=1).argmin())


def test_only_the_corner_that_matters_is_warm(toys: tuple[Section, ...]) -> None:
    one = section(toys, gradient())
    found = occlusion(Corner(), Tiles((one,), TileSpec(64, (64.0,))), middle(one), grid=4)
    assert found.genes == ("corner", "all")
    assert found.change.shape == (4, 4, 2)
    corner = found.change[:, :, 0]
    assert np.abs(corner[:2, :2]).min() > 1e-3
    np.testing.assert_array_equal(corner[2:], 0)
    np.testing.assert_array_equal(corner[:2, 2:], 0)
    # The first square is brighter than the mean it is painted with, the last one darker.
    assert found.change[0, 0, 1] > 1e-3
    assert found.change[3, 3, 1] < -1e-3


def test_a_square_is_hidden_in_every_window_that_shows_it(toys: tuple[Section, ...]) -> None:
    one = section(toys, gradient())
    tiles = Tiles((one,), TileSpec(32, (32.0, 96.0)))
    inner = occlusion(Corner(window=0), tiles, middle(one), grid=3).change[:, :, 1]
    outer = occlusion(Corner(window=1), tiles, middle(one), grid=3).change[:, :, 1]
    # The middle square of 32 microns is all of the inner window, and no other touches it.
    assert np.flatnonzero(inner).tolist() == [4]
    assert np.abs(outer[0, 0]) > 0.01


@pytest.mark.parametrize("shift", [0.0, 0.5, 0.3])
@pytest.mark.parametrize("width", [255, 256])
def test_the_whole_tile_and_what_is_not_hidden_keep_their_pixels(shift: float, width: int, toys: tuple[Section, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (256, width, 3)).astype(np.uint8)
    edge = np.array([[0.2, 0.2], [width - 0.6, 255.4]])
    one = replace(section(toys, pixels), xy=np.clip(np.concatenate([edge, toys[0].xy[2:] + shift]), 0, width - 0.4))
    tiles = Tiles((one,), TileSpec(33, (33.0,)))
    seen: list[np.ndarray] = []

    class Watching:
        name = "watching"

        def predict(self, shown: Tiles) -> Prediction:
            seen.append(shown.images(range(len(shown))))
            return Corner().predict(shown)

    for row in (0, 1, ROW):
        occlusion(Watching(), tiles, row, grid=3)
        before, after = tiles.read(row)[0], seen[-1][:, 0]
        np.testing.assert_array_equal(after[0], before)
        colour = np.round(before.mean(axis=(1, 2)))[:, None, None]
        for number in range(9):
            (y, x), expected = divmod(number, 3), before.copy()
            expected[:, 11 * y : 11 * y + 11, 11 * x : 11 * x + 11] = colour
            np.testing.assert_array_equal(after[number + 1], expected)


def test_a_slide_that_answers_from_a_coarser_level_is_painted_at_the_same_place(toys: tuple[Section, ...]) -> None:
    pixels = gradient()

    @dataclass(frozen=True)
    class Coarse:
        size: tuple[int, int] = (256, 256)

        def region(self, left: int, top: int, side: int, padding: Any, pixels_asked: int = 0) -> np.ndarray:
            return resize(padded_array(pixels, left, top, side, padding), side // 2)

        def digest(self) -> str:
            return "coarse"

    spec = TileSpec(32, (64.0,))
    fine, coarse = section(toys, pixels), replace(toys[0], slide=Coarse())
    one, other = (occlusion(Corner(), Tiles((each,), spec), middle(fine), grid=4).change for each in (fine, coarse))
    np.testing.assert_allclose(one, other, atol=2e-3)


@pytest.mark.parametrize("standardize", ["train", "section"])
def test_the_whole_tile_is_predicted_as_by_the_run_itself(
    standardize: Any, trained: dict[str, Path], toys: tuple[Section, ...], tmp_path: Path
) -> None:
    run = Run.load(trained["regression"])
    image = run.config.image.model_copy(update={"standardize": standardize})
    run = replace(run, config=run.config.model_copy(update={"image": image, "cache": tmp_path}))
    tiles = run.tiles(toys[2:])
    predictor = RegressionPredictor(run)
    expected = predictor.predict(tiles)
    row = len(toys[2]) + 5
    found = occlusion(predictor, tiles, row, grid=2)
    assert found.id == expected.spots.index[row]
    np.testing.assert_allclose(found.whole, expected.expression[row], rtol=1e-4, atol=1e-5)
    assert np.abs(found.change).max() > 1e-4


def test_ready_cut_tiles_can_be_hidden_too(trained: dict[str, Path], files: Path) -> None:
    run = Run.load(trained["contrastive"])
    changes = {"source": "folder", "root": files / "folder" / "test.csv", "mpp": 1.0, "sections": ()}
    (one, *_) = read_sections(run.config.data.model_copy(update=changes), run.config.cache)
    assert isinstance(one.slide, MosaicSlide)
    predictor = Experiment.of(run, trained["contrastive"]).select()
    tiles = run.tiles((one,))
    found = occlusion(predictor, tiles, ROW, grid=2)
    np.testing.assert_allclose(found.whole, predictor.predict(tiles).expression[ROW], rtol=1e-4, atol=1e-5)
    assert np.abs(found.change).max() > 0


def test_windows_that_share_regions_are_refused(recipe: Any, toys: tuple[Section, ...], tmp_path: Path) -> None:
    """Borders of regions fell otherwise in each version: what was said of the whole tile was not its own prediction."""
    image = {"trunk": "test_vit", "layer": 1, "sharing": "tokens"}
    run = fit(Config.load(recipe(tmp_path / "run", {"image": image, "loss": {"task": "regression"}, "optim": {"epochs": 1}})))
    tiles, own = run.tiles(toys[2:3]), RegressionPredictor(run)
    for predictor in (own, Remembered(MeanOfPredictors((own,))), Ensemble([run], [own], [1.0])):
        with pytest.raises(ConfigError, match="a square that is hidden is seen by neighbouring tiles too"):
            occlusion(predictor, tiles, ROW)


@pytest.mark.parametrize("grid", [0, 65])
def test_a_grid_that_no_tile_has_is_refused(grid: int, toys: tuple[Section, ...]) -> None:
    with pytest.raises(ConfigError, match="expected 1 to 64"):
        occlusion(Corner(), Tiles((toys[0],), TileSpec(32, (64.0,))), ROW, grid)
