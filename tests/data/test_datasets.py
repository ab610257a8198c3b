"""Turning and mirroring."""

import numpy as np
import torch

from bleep.data.datasets import draws, turned

TILE = np.random.default_rng(0).integers(0, 255, (2, 3, 8, 8), dtype=np.uint8)


def test_the_eight_numbers_are_the_eight_symmetries() -> None:
    turns = [np.rot90(TILE, quarter, axes=(2, 3)) for quarter in range(4)]
    known = {np.ascontiguousarray(tile).tobytes() for turn in turns for tile in (turn, turn[..., ::-1])}
    assert len(known) == 8
    assert {turned(torch.from_numpy(TILE), number).contiguous().numpy().tobytes() for number in range(8)} == known
    np.testing.assert_array_equal(turned(torch.from_numpy(TILE), 0).numpy(), TILE)


def test_the_draw_is_a_pure_function_of_seed_epoch_and_row_and_every_symmetry_occurs() -> None:
    first = draws(0, 0, 400)
    np.random.default_rng(5).random(100)
    draws.cache_clear()
    np.testing.assert_array_equal(draws(0, 0, 400), first)
    assert np.bincount(first, minlength=8).min() > 25
    for other in (draws(1, 0, 400), draws(0, 1, 400)):
        assert (other != first).mean() > 0.7


def test_the_tile_given_is_not_changed() -> None:
    given = torch.from_numpy(TILE.copy())
    for number in range(8):
        turned(given, number).contiguous()
    np.testing.assert_array_equal(given.numpy(), TILE)
