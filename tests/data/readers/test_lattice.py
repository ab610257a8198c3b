"""The scale of an array from its spots."""

import numpy as np
import pytest

from bleep.data.readers.lattice import nearest


def test_spots_without_a_place_say_nothing_of_the_distance_of_the_others() -> None:
    places = np.array([[np.nan, 32.0], [96.0, 32.0], [32.0, 96.0], [96.0, 96.0]])
    assert nearest(places) == pytest.approx(64.0)
    assert nearest(places[:2]) == 0
