"""From predictions back to their reasons: some tiles, the training tiles they were predicted from, and pictures of both."""

import importlib.util
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from bleep.data.prediction import Prediction
from bleep.data.tiles import Tiles
from bleep.errors import BleepError, ConfigError, DataError, MismatchError
from bleep.files import whole
from bleep.marks import marked_csv
from bleep.outputs import check_folder
from bleep.predictors import Predictor
from bleep.predictors.calibration import retrieved_part
from bleep.progress import Progress
from bleep.retrieval.reference import Reference
from bleep.runs import Run
from bleep.viz.figures import explanation
from bleep.viz.neighbors import Explanation, NeighborView, Windows, gene_rows, gene_views, neighbor_rows
from bleep.workflows.tissue import load_split

NEIGHBORS, GENES = "neighbours.csv", "genes.csv"
"""Tables in a folder of explanations."""

log = logging.getLogger(__name__)

Rows = Int64[np.ndarray, " rows"]


def check_explained(predictor: Predictor) -> None:
    """Refuse to explain by neighbours what takes no value from them.

    Raises:
        MismatchError: see above.

    """
    if retrieved_part(predictor) == "none":
        raise MismatchError(
            f"{predictor.name} takes no value from reference spots, so neighbours do not explain it: ask the predictor "
            "retrieval of the same run (--predictor retrieval), whose values are theirs"
        )


def check_explaining(folder: Path, reference: Reference | None, inputs: Iterable[Path] = ()) -> None:
    """Refuse what cannot be explained, before anything long is begun.

    Raises:
        DataError: the extra `plots` is not installed, or `folder` holds other files or one of the `inputs`.
        MismatchError: there is no reference, so that there are no neighbours.

    """
    if reference is None:
        raise MismatchError(
            "only predictions that come from neighbours can be explained by them, and this has no index of its own, as an "
            "ensemble, a run trained by regression or one sent without: name a run of loss.task contrastive or both"
        )
    if importlib.util.find_spec("matplotlib") is None:
        raise DataError("explaining draws pictures and needs the extra `plots`: pip install -e '.[plots]' in bleep's clone")
    own = re.compile(rf"{re.escape(NEIGHBORS)}|{re.escape(GENES)}|\d{{3,}}_.*\.(png|svg)")
    check_folder(folder, own.fullmatch, "an explanation", inputs)


def spread_rows(tiles: Tiles, count: int) -> Rows:
    """Return the rows of `count` tiles, evenly spread over all; of fewer tiles, all.

    Raises:
        ConfigError: the count is not above 0.

    """
    if count < 1:
        raise ConfigError(f"{count} tiles to explain; expected at least 1")
    count = min(count, len(tiles))
    return ((np.arange(count) + 0.5) * len(tiles) / count).astype(np.int64)


def named_rows(tiles: Tiles, ids: Sequence[str]) -> Rows:
    """Return the rows of tiles by their `section/spot`, in the order of the tiles.

    Raises:
        ConfigError: there is no such tile.

    """
    places = {name: row for row, name in enumerate(tiles.ids)}
    unknown = [name for name in ids if name not in places]
    if unknown:
        raise ConfigError(
            f"there is no tile {unknown[0]!r} to explain among the {len(places)} given; their names are section/spot, "
            f"such as {next(iter(places))!r}"
        )
    return np.unique(np.array([places[name] for name in ids], dtype=np.int64))


def explain(
    run: Run, prediction: Prediction, reference: Reference, tiles: Tiles, rows: Int64[np.ndarray, " rows"]
) -> tuple[Explanation, ...]:
    """Say of some tiles, by their rows, which neighbours made their prediction and what these agree on.

    Args:
        run: what predicted.
        prediction: of all the tiles, with its neighbours.
        reference: what the neighbours' rows count in.
        tiles: those predicted.
        rows: which of them to explain.

    Neighbours' tiles are cut from the training slides; where those are not at hand the neighbours are named alone, which is
    said aloud once.

    Raises:
        MismatchError: the prediction was made without neighbours.

    """
    found = [_explained(run, prediction, reference, tiles, row) for row in np.unique(rows).tolist()]
    asked = [view for one in found for view in one.neighbors[: explanation.PICTURED]]
    cut = _cutter(run, asked)
    return tuple(
        replace(
            one,
            neighbors=tuple(
                replace(view, tile=cut(view.id)) if rank < explanation.PICTURED else view
                for rank, view in enumerate(one.neighbors)
            ),
        )
        for one in found
    )


def save_explanations(explanations: Sequence[Explanation], folder: Path) -> None:
    """Write a picture of each, PNG and SVG, and the tables of their neighbours and genes; the folder whole or not at all.

    An earlier folder is replaced: see `check_explaining`.
    """
    with whole(folder) as temporary:
        temporary.mkdir(parents=True)
        for number, one in enumerate(Progress(explanations, desc="explaining", unit="tile", leave=False), 1):
            name = re.sub(r"[^A-Za-z0-9._-]+", "_", one.id)[:80]
            explanation.draw(one, temporary / f"{number:03d}_{name}")
        for name, table in ((NEIGHBORS, neighbor_rows(explanations)), (GENES, gene_rows(explanations))):
            text = marked_csv(table.to_csv(index=False, float_format="%.6g"))
            (temporary / name).write_text(text, encoding="utf-8")


def _explained(run: Run, prediction: Prediction, reference: Reference, tiles: Tiles, row: int) -> Explanation:
    if prediction.neighbors is None or prediction.weights is None:
        raise MismatchError(f"{prediction.predictor} used no neighbours, so there are none to explain its prediction by")
    found, weights = prediction.neighbors.rows[row], prediction.weights[row]
    spots = reference.spots.iloc[found]
    neighbors = tuple(
        NeighborView(str(name), str(section), str(spot), str(patient), float(similarity), float(weight))
        for name, section, spot, patient, similarity, weight in zip(
            spots.index, spots["section"], spots["spot"], spots["patient"], prediction.neighbors.similarity[row], weights,
            strict=True,
        )
    )  # fmt: skip
    agreed, disputed = gene_views(
        prediction.genes,
        prediction.expression[row],
        reference.expression.rows(found),
        weights,
        run.panel.mean,
        np.sqrt(run.panel.variance),
    )
    return Explanation(
        id=tiles.ids[row],
        tile=np.array(tiles.read(row)),
        microns=tiles.spec.microns,
        neighbors=neighbors,
        agreed=agreed,
        disputed=disputed,
        scale=prediction.scale,
        predictor=prediction.predictor,
    )


def _cutter(run: Run, asked: Sequence[NeighborView]) -> Callable[[str], Windows | None]:
    """Return what gives the tile of a training spot by its id, or none where its slide is not at hand."""
    trained = {facts.digest for facts in run.facts.train}
    try:
        sections = [section for section in load_split(run.config).train if section.digest() in trained]
        tiles = [run.tiles((section,)) for section in sections]
        places = {name: (alone, row) for alone in tiles for row, name in enumerate(alone.ids)}
    except BleepError as error:
        log.warning("neighbours are named but not shown, because the training slides cannot be read: %s", error)
        return lambda name: None
    missing = sorted({view.section for view in asked if view.id not in places})
    if missing:
        log.warning(
            "neighbours of %s are named but not shown: the files there now are not those the run was trained on, or the "
            "section is none of its own",
            ", ".join(missing),
        )

    def cut(name: str) -> Windows | None:
        if name not in places:
            return None
        alone, row = places[name]
        return np.array(alone.read(row))

    return cut
