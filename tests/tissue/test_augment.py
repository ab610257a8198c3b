"""Turning and mirroring."""

import numpy as np

from bleep.tissue.augment import turned

TILE = np.random.default_rng(0).integers(0, 255, (2, 3, 8, 8), dtype=np.uint8)


def symmetries() -> list[bytes]:
    turns = [np.rot90(TILE, quarter, axes=(2, 3)) for quarter in range(4)]
    return [np.ascontiguousarray(tile).tobytes() for turn in turns for tile in (turn, turn[..., ::-1])]


def test_a_turned_tile_is_one_of_eight_symmetries_and_all_of_them_occur() -> None:
    known = symmetries()
    assert len(set(known)) == 8
    drawn = [turned(TILE, (0, 0, row)).tobytes() for row in range(200)]
    assert set(drawn) == set(known)
    assert min(drawn.count(one) for one in known) > 8


def test_the_symmetry_is_a_pure_function_of_seed_epoch_and_row() -> None:
    keys = [(seed, epoch, row) for seed in range(3) for epoch in range(3) for row in range(20)]
    first = [turned(TILE, key).tobytes() for key in keys]
    np.random.default_rng(5).random(100)
    assert [turned(TILE, key).tobytes() for key in reversed(keys)] == first[::-1]
    for place in range(3):
        moved = [tuple(value + (number == place) for number, value in enumerate(key)) for key in keys]
        assert [turned(TILE, key).tobytes() for key in moved] != first


def test_the_tile_given_is_not_changed() -> None:
    before = TILE.copy()
    for row in range(8):
        turned(TILE, (0, 0, row))
    np.testing.assert_array_equal(TILE, before)
