"""A trunk of the stains' texture, which has no weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

import bleep
from bleep.cli import app, training
from bleep.config import ImageConfig
from bleep.errors import ConfigError
from bleep.models.backbones import textures
from bleep.models.factory import build_trunk, trunk_licence

PIXELS = 64


def _tiles(seed: int = 0, count: int = 3, pixels: int = PIXELS) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 230, (count, 1, 3, pixels // 8, pixels // 8)).repeat(8, axis=3).repeat(8, axis=4)
    return torch.from_numpy((coarse + rng.integers(-20, 20, coarse.shape)).clip(0, 255).astype(np.uint8))


def _trunk(pixels: int = PIXELS, precision: str = "float32") -> torch.nn.Module:
    return build_trunk(ImageConfig.model_validate({"trunk": textures.NAME, "precision": precision}), pixels)[0]


@pytest.mark.parametrize("pixels", [16, 50, 63, 64, 224, 300])
def test_windows_of_any_size_have_as_many_numbers_all_finite(pixels: int) -> None:
    found = _trunk(pixels)(torch.randint(0, 256, (2, 2, 3, pixels, pixels), dtype=torch.uint8))
    assert found.shape == (2, 2 * 42)
    assert torch.isfinite(found).all()
    blank = torch.full((1, 1, 3, pixels, pixels), 240, dtype=torch.uint8)
    assert torch.isfinite(_trunk(pixels)(blank)).all()


@pytest.mark.parametrize(("pixels", "shares"), [(224, 4), (64, 4), (40, 3), (16, 1)])
def test_the_centred_form_has_the_numbers_of_the_window_and_of_its_middles(pixels: int, shares: int) -> None:
    trunk, _ = build_trunk(ImageConfig(trunk=textures.CENTRED, precision="float32"), pixels)
    tiles = torch.randint(0, 256, (2, 1, 3, pixels, pixels), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = trunk(tiles)
    assert found.shape == (2, 42 * shares)
    torch.testing.assert_close(found[:, :42], _trunk(pixels)(tiles))
    for at, share in enumerate(textures.MIDDLES[:shares]):
        half = round(pixels * share / 2)
        middle = tiles[..., pixels // 2 - half : pixels // 2 + half, pixels // 2 - half : pixels // 2 + half]
        torch.testing.assert_close(found[:, 42 * at : 42 * (at + 1)], _trunk(2 * half)(middle))


def test_mirrored_and_turned_tissue_has_the_same_texture() -> None:
    tiles, trunk = _tiles(), _trunk()
    for other in (tiles.flip(-1), tiles.flip(-2), tiles.transpose(-1, -2)):
        # Quantiles are taken over every seventh pixel, which are others then.
        torch.testing.assert_close(trunk(other)[:, 10:], trunk(tiles)[:, 10:], rtol=1e-4, atol=1e-4)


def test_a_stronger_stain_moves_the_spreads_of_all_tiles_by_one_constant() -> None:
    light = (
        np.random.default_rng(0).uniform(0.1, 1.5, (4, 1, 3, PIXELS, PIXELS))
        * np.array([1, 2, 3, 4]).reshape(4, 1, 1, 1, 1)
        / 4
    )
    weak, strong = (
        torch.from_numpy((256 * 10 ** (-light * by) - 1).round().clip(0, 255).astype(np.uint8)) for by in (0.5, 1.0)
    )
    apart = _trunk()(strong) - _trunk()(weak)
    for band in range(textures.BANDS):
        logarithms = apart[:, 10 + 7 * band : 12 + 7 * band]
        torch.testing.assert_close(logarithms, torch.full_like(logarithms, np.log(2)), atol=0.06, rtol=0)


def test_a_tile_has_the_same_numbers_beside_any_other_and_in_any_precision() -> None:
    tiles = _tiles(count=5)
    whole = _trunk()(tiles)
    alone = torch.cat([_trunk()(tiles[at : at + 1]) for at in range(5)])
    torch.testing.assert_close(whole, alone, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(_trunk(precision="bf16")(tiles), whole, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("settings", "pixels", "words"),
    [
        ({"weights": "file.safetensors"}, PIXELS, "leave image.weights out"),
        ({"layer": 5}, PIXELS, "set image.layer to none"),
        ({"train": "full"}, PIXELS, "image.train to frozen"),
        ({}, 15, "raise tiles.pixels to 16"),
    ],
)
def test_what_it_has_not_is_refused(settings: dict[str, object], pixels: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build_trunk(ImageConfig.model_validate({"trunk": textures.NAME} | settings), pixels)


def test_its_licence_says_that_it_has_no_weights() -> None:
    assert trunk_licence(textures.NAME, ["hub"]) == "textures: none, it has no weights"


def test_a_run_on_it_trains_answers_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    settings = ["--config", "configs/toy.yaml", "--image.trunk", textures.NAME, "--image.weights", "hub"]
    settings += ["--image.layer", "none", "--image.train", "frozen"]
    settings += ["--optim.epochs", "3", "--out", str(out), "--cache", str(tmp_path / "cache")]
    assert training.command(settings) == 0
    assert app.main(["index", "build", "--run", str(out)]) == 0
    capsys.readouterr()
    assert app.main(["evaluate", "--run", str(out)]) == 0
    assert "with nothing learnt" in capsys.readouterr().out
    table = bleep.evaluate([out]).rows
    assert table.loc["ridge", "pcc"] > 0.2
