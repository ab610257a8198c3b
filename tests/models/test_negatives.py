"""Which pairs are no wrong ones."""

import numpy as np
import pytest
import torch

from bleep.models.losses import alike_pairs, near_pairs


@pytest.mark.parametrize("corner", [0.0, 80_000.0])
def test_near_pairs_are_other_spots_of_the_section_closer_than_so_many_microns(corner: float) -> None:
    generator = torch.Generator().manual_seed(0)
    place = torch.randint(0, 20, (60, 2), generator=generator).float() * 50 + corner
    section = torch.randint(0, 2, (60,), generator=generator)
    found = near_pairs(place, section, 150.0)
    for i in range(60):
        for j in range(60):
            distance = float(np.hypot(*(place[i] - place[j]).tolist()))
            # A spot at exactly 150 microns is not closer than that.
            assert bool(found[i, j]) == (i != j and distance < 150 and bool(section[i] == section[j]))
    assert 0 < found.sum() < found.numel()


def test_alike_pairs_are_other_spots_whose_values_correlate() -> None:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(30, 8, generator=generator) * 3 + torch.randn(30, 1, generator=generator) * 10
    found = alike_pairs(values, 0.4).numpy()
    r = np.corrcoef(values.numpy())
    np.testing.assert_array_equal(found, (r > 0.4) & ~np.eye(30, dtype=bool))
    assert 0 < found.sum() < found.size


def test_spots_that_do_not_vary_are_like_none() -> None:
    assert not alike_pairs(torch.full((4, 5), 2.0), 0.1).any()
