"""From a held-out section to heat maps of a gene on some of its tiles."""

from collections.abc import Iterator

import numpy as np

from bleep.evaluation.exploration_style import Drawing
from bleep.evaluation.figures.occlusion import HeatView, occlusion_map
from bleep.pipeline.explaining import spread_rows
from bleep.pipeline.seeing import Seen
from bleep.prediction.occlusion import GRID, occlusion


def heat_maps(one: Seen, gene: str, count: int, grid: int = GRID) -> Iterator[Drawing]:
    """Draw what each square of some tiles adds to the prediction of a gene, as the section's own predictor makes it.

    The tiles are evenly spread over the section, whatever their values.
    """
    tiles = one.run.tiles((one.section,))
    for number, row in enumerate(spread_rows(tiles, count).tolist(), 1):
        found = occlusion(one.predictor, tiles, row, grid)
        column = found.genes.index(gene)
        view = HeatView(
            id=found.id,
            gene=gene,
            tile=np.array(tiles.read(row)),
            microns=tiles.spec.microns,
            value=float(found.whole[column]),
            change=found.change[:, :, column],
            scale=found.scale,
            predictor=found.predictor,
        )
        yield occlusion_map(view, f"occlusion_{number}")
