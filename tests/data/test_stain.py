"""Jitter of the stains of training tiles."""

import numpy as np
import pytest
import torch

from bleep.data.datasets import draws
from bleep.data.stain import DAB, HED, VECTORS, StainJitter, drawn, jittered, maps_of, optical_density
from bleep.records import Batch

SPOTS = 70
TILES = torch.randint(0, 256, (SPOTS, 2, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def batch_of(rows: list[int]) -> Batch:
    where = torch.tensor(rows)
    return Batch(TILES[where], torch.zeros(len(rows), 1), where)


def test_strength_0_gives_the_same_batch_back() -> None:
    batch = batch_of([3, 1])
    assert StainJitter(0, SPOTS, 0.0)(batch, 5) is batch


def test_taking_the_stains_apart_and_putting_them_together_changes_no_pixel_by_more_than_a_grey_level() -> None:
    back = jittered(TILES, maps_of(drawn(0, 0, SPOTS, 0.0)))
    assert (back.int() - TILES.int()).abs().max() <= 1
    every = torch.arange(256, dtype=torch.uint8).expand(1, 1, 3, 4, 256).contiguous()
    assert (jittered(every, maps_of(drawn(0, 0, 1, 0.0))).int() - every.int()).abs().max() <= 1


def test_the_jitter_is_a_factor_and_a_shift_of_each_stain() -> None:
    jitter = drawn(1, 0, 2, 0.1)
    found = jittered(TILES[:2], maps_of(jitter)).numpy()
    basis = np.array([*VECTORS, DAB], dtype=np.float64)
    basis /= np.linalg.norm(basis, axis=1, keepdims=True)
    for spot in range(2):
        for window in range(2):
            density = optical_density(TILES[spot, window].numpy()).reshape(3, -1).T.astype(np.float64)
            amounts = np.linalg.solve(basis.T, density.T).T
            changed = (amounts * jitter[spot, 0] + jitter[spot, 1]) @ basis
            expected = np.clip(256 * 10**-changed - 1, 0, 255).T.reshape(3, 8, 8)
            assert np.abs(found[spot, window] - expected).max() < 0.51


def test_twice_the_haematoxylin_of_a_pixel_that_shows_nothing_else_is_twice_its_density() -> None:
    colour = 256 * 10 ** -(0.3 * HED[0]) - 1
    tile = torch.from_numpy(np.round(colour).astype(np.uint8)).view(1, 1, 3, 1, 1)
    twice = np.array([[[2.0, 1.0, 1.0], [0.0, 0.0, 0.0]]])
    density = optical_density(jittered(tile, maps_of(twice))[0, 0].numpy()).ravel()
    np.testing.assert_allclose(density, 0.6 * HED[0], atol=0.01)


def test_all_windows_of_a_spot_change_alike_and_spots_change_each_in_its_own_way() -> None:
    same = TILES[:1, :1].expand(5, 2, 3, 8, 8).contiguous()
    found = StainJitter(0, SPOTS, 0.1)(Batch(same, torch.zeros(5, 1), torch.arange(5)), 0).inputs
    torch.testing.assert_close(found[:, 0], found[:, 1], rtol=0, atol=0)
    assert len({spot.numpy().tobytes() for spot in found[:, 0]}) == 5


def test_a_spots_jitter_does_not_depend_on_what_it_is_batched_with() -> None:
    view = StainJitter(0, SPOTS, 0.1)
    together = view(batch_of(list(range(SPOTS))), 3)
    shuffled = np.random.default_rng(1).permutation(SPOTS).tolist()
    torch.testing.assert_close(view(batch_of(shuffled), 3).inputs, together.inputs[shuffled], rtol=0, atol=0)
    for row in (0, 33, 69):
        torch.testing.assert_close(view(batch_of([row]), 3).inputs[0], together.inputs[row], rtol=0, atol=0)


def test_draws_are_a_pure_function_of_seed_epoch_and_row() -> None:
    first = drawn(0, 0, 400, 0.1)
    np.random.default_rng(5).random(100)
    np.testing.assert_array_equal(drawn(0, 0, 400, 0.1), first)
    np.testing.assert_array_equal(drawn(0, 0, 90, 0.1), first[:90])
    for other in (drawn(1, 0, 400, 0.1), drawn(0, 1, 400, 0.1)):
        assert (other != first).all()
    assert np.corrcoef(first[:, 0, 0], draws(0, 0, 400))[0, 1] < 0.2


@pytest.mark.parametrize("strength", [0.05, 0.3])
def test_factors_and_shifts_fill_their_range_and_stay_within_it(strength: float) -> None:
    jitter = drawn(0, 0, 2000, strength)
    for part, middle in ((jitter[:, 0], 1.0), (jitter[:, 1], 0.0)):
        assert np.abs(part - middle).max() <= strength
        np.testing.assert_allclose(part.mean(axis=0), middle, atol=0.1 * strength)
        np.testing.assert_allclose(part.std(axis=0), strength / np.sqrt(3), rtol=0.05)


def test_the_tiles_given_are_not_changed() -> None:
    given = TILES.clone()
    jittered(given, maps_of(drawn(0, 0, SPOTS, 0.3)))
    torch.testing.assert_close(given, TILES, rtol=0, atol=0)


@pytest.mark.gpu
def test_the_accelerator_gives_the_same_tiles_to_a_grey_level() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    view, batch = StainJitter(0, SPOTS, 0.1), batch_of(list(range(SPOTS)))
    there = view(Batch(*(part.cuda() for part in batch)), 0).inputs
    assert there.is_cuda
    assert (there.cpu().int() - view(batch, 0).inputs.int()).abs().max() <= 1
