"""The heat maps of an evaluation, from a real run on toy tissue."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bleep.viz.figures import save
from bleep.viz.figures.explanation import CAUTION, HeatView, occlusion_map
from bleep.workflows.figures import heat_maps
from bleep.workflows.opened import opened
from bleep.workflows.report import held_out_sections

pytest.importorskip("matplotlib", reason="figures need the extra `plots`")


def test_two_tiles_are_drawn_and_written(run_copy: Callable[..., Path], tmp_path: Path) -> None:
    (one, *_) = held_out_sections(opened([run_copy()]))
    gene = one.run.panel.genes[3]
    drawings = list(heat_maps(one, gene, 2, grid=3))
    assert [drawing.name for drawing in drawings] == ["occlusion_1", "occlusion_2"]
    value = one.prediction.expression[len(one.section) // 4, 3]
    assert f"{gene} on tile {one.section.ids[len(one.section) // 4]}: {value:.2f} predicted" in drawings[0].finding
    save(drawings[0], tmp_path)
    assert (tmp_path / "occlusion_1.png").stat().st_size > 10_000
    # The caution stands on the figure itself.
    assert CAUTION[:40] in str(drawings[0].figure.get_supxlabel())


@pytest.mark.parametrize(("sign", "verb"), [(1, "raises"), (-1, "lowers"), (0, "changes nothing")])
def test_the_finding_names_the_square_that_matters_most(sign: int, verb: str) -> None:
    change = np.zeros((3, 3), np.float32)
    change[1, 2] = 0.5 * sign
    tile = np.full((2, 3, 16, 16), 200, np.uint8)
    view = HeatView("S/1", "COX$1", tile, (50.0, 100.0), 1.5, change, "log1p", "retrieval")
    finding = occlusion_map(view, "heat").finding
    assert verb in finding
    assert ("row 2, column 3" in finding and "0.50" in finding) == bool(sign)
