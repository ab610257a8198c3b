"""Plotting with scanpy's manners: `ax`, `show` and `save`, and the Axes come back.

Every function draws onto the Axes it is given, or makes its own. It returns what it drew on: one Axes, or a list where there
are several. `show=None` shows a figure that is neither given nor saved, where the backend can show any. `save` names a file,
whose suffix says its form; one that bleep did not write is not replaced. What is drawn is what `bleep evaluate --figures`
draws, by the same code.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from bleep import runs
from bleep.data.prediction import Prediction
from bleep.data.tiles import Tiles
from bleep.errors import ConfigError, DataError, MismatchError
from bleep.evaluation.metrics import interval_scores
from bleep.evaluation.scorecard import correlations
from bleep.files import read_json, read_lines
from bleep.records import Table
from bleep.runs import Facts, Run
from bleep.viz.figures import Where, column_of, few, figure_axes, finished, label_text, section_of
from bleep.viz.figures import explanation as explaining
from bleep.viz.figures.tissue_maps import INCHES, VALUES, backdrop, draw_ranked, draw_tissue, draw_values, ends_of
from bleep.viz.figures.training import draw_coverage, draw_curves, draw_error_by_uncertainty, logged
from bleep.viz.neighbors import Explanation
from bleep.workflows.experiment import Experiment
from bleep.workflows.explain import check_explained, explain, named_rows
from bleep.workflows.labels import learns_labels
from bleep.workflows.report import held_out_sections, uncertainty_of

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

__all__ = ["calibration", "genes", "neighbors", "spatial", "training"]

LEVEL = 0.9
"""Share that the intervals of a calibrated run hold, where nobody says another: the default of `query.interval`."""


def spatial(
    prediction: "Prediction | AnnData",
    color: str | Sequence[str] | None = None,
    *,
    layer: str | None = None,
    section: str | None = None,
    cmap: str = VALUES,
    vmin: float | int | None = None,
    vmax: float | int | None = None,
    alpha_img: float = 0.35,
    ax: Where = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> "Axes | list[Axes]":
    """Draw genes, or columns of `obs` that hold numbers, where the tiles of a section lie, over its H&E picture.

    Args:
        prediction: what a predictor or `bleep query` gives; any AnnData with `obsm["spatial"]` in pixels of the slide.
        color: genes or columns of `obs`, such as `familiarity`; none: the picture alone.
        layer: a layer in place of X, such as `spread`, `lower` or `upper`.
        section: which of several sections.
        cmap: colours of values.
        vmin: value of the first colour; none: the 1st percentile.
        vmax: value of the last colour; none: the 99th percentile.
        alpha_img: how strong the picture is under the tiles, from 0 to 1.
        ax: where to draw; as many as there are things to draw.
        show: whether to show the figure.
        save: the file to write.

    Raises:
        ConfigError: a gene, layer or section is not there, or the Axes are too few or too many.
        DataError: the tiles have no places on a slide, or the file cannot be written.

    """
    adata = prediction.adata if isinstance(prediction, Prediction) else prediction
    names = [None] if color is None else [color] if isinstance(color, str) else [*color]
    part = section_of(adata, section)
    columns = [None if name is None else column_of(adata, name, layer)[part.rows] for name in names]
    view = part.view(adata)
    axes = figure_axes(len(names), ax, (INCHES * 1.25, INCHES))
    tissue = backdrop(view)
    for place, name, values in zip(axes, names, columns, strict=True):
        place.set_title(label_text(part.name if name is None else name), fontsize=10)
        if values is None:
            draw_tissue(place, view, tissue)
            continue
        low, high = ends_of(values)
        low, high = low if vmin is None else float(vmin), high if vmax is None else float(vmax)
        limits = (low, high) if high > low else (low, low + 1.0)
        drawn = draw_values(place, view, tissue.faint(alpha_img), values, cmap, limits)
        place.figure.colorbar(drawn, ax=place, shrink=0.8).set_label(_unit(adata, str(name), layer), fontsize=8)
    return finished(axes, ax, show, save)


def _unit(adata: "AnnData", name: str, layer: str | None) -> str:
    """Return what the colours mean, in words."""
    if name not in adata.var_names:
        return label_text(name)
    scale = str(adata.uns.get("bleep", {}).get("scale", "")) or "value"
    return textwrap.fill(f"{layer}, {scale}" if layer else scale, 34).replace("$", r"\$")


def genes(
    scores: Table | pd.DataFrame | Mapping[str, Any],
    main: str | None = None,
    *,
    ax: Where = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> "Axes | list[Axes]":
    """Draw each predictor's correlations of genes, from its best to its worst.

    Args:
        scores: what `bleep.evaluate` returns; or a table of a row a gene and a column a predictor.
        main: the predictor whose best and worst genes are named; none: the first.
        ax: where to draw.
        show: whether to show the figure.
        save: the file to write.

    Raises:
        ConfigError: there is no such predictor, or the Axes are several.
        DataError: the table holds no number, or a predictor twice; or the file cannot be written.

    """
    table = correlations(scores.cards) if isinstance(scores, Table) else pd.DataFrame(scores).select_dtypes("number")
    table = table.set_axis(table.columns.astype(str), axis=1)
    if not table.columns.is_unique:
        raise DataError(f"the column {table.columns[table.columns.duplicated()][0]!r} stands twice; expected one a predictor")
    if not table.notna().any(axis=None):
        raise DataError("there is no score to draw: expected a row a gene and a column a predictor, with numbers in it")
    first = str(scores.rows.index[0]) if isinstance(scores, Table) else str(table.columns[0])
    if main is not None and main not in table:
        raise ConfigError(f"{main!r} is not among the predictors scored: {few([str(name) for name in table])}")
    axes = figure_axes(1, ax, (9.6, 5.0))
    draw_ranked(axes[0], table, main or first)
    return finished(axes, ax, show, save)


def calibration(
    what: Experiment | Prediction,
    measured: Float[np.ndarray, "tiles genes"] | None = None,
    *,
    level: float | None = None,
    ax: Where = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> "Axes | list[Axes]":
    """Draw whether errors are as large as was told; with intervals, also how many measured values lie inside them.

    Args:
        what: a run, drawn on the sections it held out; or a prediction, with what was measured.
        measured: values of the same tiles and genes on the prediction's scale, such as `run.panel.values(section)`.
        level: share of values that the intervals are to hold; none: what the run says, else 0.9.
        ax: where to draw: one, or two where there are intervals.
        show: whether to show the figure.
        save: the file to write.

    Raises:
        ConfigError: the Axes are too few or too many, or `level` is no share.
        MismatchError: measured values are missing, no array or of another shape, or the prediction does not say how sure it is.

    """
    if level is not None and not 0 < level < 1:
        raise ConfigError(f"level is {level:g}; expected a share between 0 and 1, such as {LEVEL}")
    pairs = _measured_pairs(what, measured)
    if isinstance(what, Experiment) and level is None and not what.is_ensemble:
        level = what.run.config.query.interval
    told = [uncertainty_of(prediction) for _, prediction, _ in pairs]
    if told[0][0] is None:
        raise MismatchError(
            f"{pairs[0][1].predictor} does not say how sure it is; expected a predictor with neighbours, such as a "
            "run's retrieval, or a calibration: a single run of expression gets one by `bleep calibrate`"
        )
    bounded = pairs[0][1].lower is not None
    share = level or LEVEL
    axes = figure_axes(2 if bounded else 1, ax, (6.0, 4.8))
    error = np.concatenate([(prediction.expression - true).ravel() for _, prediction, true in pairs])[:, None]
    said = np.concatenate([each.ravel() for each, _ in told if each is not None])[:, None]
    draw_error_by_uncertainty(axes[0], error, said, told[0][1], share if bounded else None)
    if bounded:
        inside = [_inside(prediction, true) for _, prediction, true in pairs]
        draw_coverage(axes[1], np.stack(inside), share, tuple(label_text(name) for name, _, _ in pairs))
    return finished(axes, ax, show, save)


def _measured_pairs(what: Experiment | Prediction, measured: Any) -> list[tuple[str, Prediction, np.ndarray]]:
    """Return name, prediction and measurement of each section."""
    if isinstance(what, Experiment):
        return [(one.name, one.prediction, one.measured) for one in held_out_sections([what])]
    if not isinstance(measured, np.ndarray) or measured.shape != what.expression.shape or not len(what):
        shape = " x ".join(map(str, measured.shape)) if isinstance(measured, np.ndarray) else ""
        found = "none" if measured is None else shape or f"a {type(measured).__name__}"
        wanted = f"{max(len(what), 1)} x {len(what.genes)}"
        raise MismatchError(f"measured values: found {found}, expected {wanted}, a row a tile and a column a gene predicted")
    of = what.adata.obs["section"].astype(str).to_numpy()
    names = [*dict.fromkeys(of.tolist())]
    return [(name, what[of == name], measured[of == name]) for name in names]


def _inside(prediction: Prediction, measured: np.ndarray) -> np.ndarray:
    assert prediction.lower is not None
    assert prediction.upper is not None
    return interval_scores(prediction.lower, prediction.upper, measured).coverage


def neighbors(
    what: Experiment | Explanation,
    tiles: Tiles | None = None,
    tile: str | None = None,
    *,
    n: int = 5,
    ax: Where = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> "Axes | list[Axes]":
    """Draw a tile and, beside it, the training tiles that its prediction was averaged from, best first.

    Args:
        what: a run with its index; or an explanation of a tile, made before.
        tiles: with a run: tiles to predict, such as `run.tiles(sections)`.
        tile: which of them, as `section/spot`; none: the first.
        n: how many neighbours are shown.
        ax: where to draw: one more than there are neighbours.
        show: whether to show the figure.
        save: the file to write.

    Raises:
        ConfigError: there is no such tile, `n` is below 1, or the Axes are too few or too many.
        MismatchError: the run predicts without neighbours.

    """
    if n < 1:
        raise ConfigError(f"n is {n}; expected 1 neighbour or more")
    found = what if isinstance(what, Explanation) else _explained(what, tiles, tile)
    count = min(n, len(found.neighbors))
    axes = figure_axes(1 + count, ax, (2.2, 2.4), columns=6)
    explaining.draw_query(axes[0], found)
    for rank in range(1, count + 1):
        explaining.draw_neighbor(axes[rank], found, rank)
    return finished(axes, ax, show, save)


def _explained(experiment: Experiment, tiles: Tiles | None, tile: str | None) -> Explanation:
    reference = experiment.reference
    if reference is None:
        raise MismatchError(f"{experiment.folder}: predicts without neighbours of its own; name a run that retrieves")
    if tiles is None:
        raise ConfigError("neighbours of a run are those of tiles to predict: give them too, such as run.tiles(sections)")
    check_explained(experiment.predictor)
    rows = named_rows(tiles, [tile or tiles.ids[0]])
    return explain(experiment.run, experiment.predict(tiles), reference, tiles, rows)[0]


def training(
    run: Run | Experiment | str | Path,
    what: str | Sequence[str] | None = None,
    *,
    ax: Where = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> "Axes | list[Axes]":
    """Draw a run's log by epoch, and which epoch's weights were kept; also while it is still training.

    Args:
        run: a run or its folder.
        what: which of `loss`, `lr` and `val_score`; none: all that the log has.
        ax: where to draw: one for each.
        show: whether to show the figure.
        save: the file to write.

    Raises:
        ConfigError: the log has no such curve, or the Axes are too few or too many.
        DataError: the folder has no log.

    """
    folder = run.config.out if isinstance(run, Run) else run.folder if isinstance(run, Experiment) else Path(run)
    if not (folder / runs.LOG).is_file():
        raise DataError(f"{folder}: has no {runs.LOG}; expected the folder of a run, which `bleep train` makes")
    log = read_lines(folder / runs.LOG, "a line of JSON for each epoch")
    there = logged(log)
    names = there if what is None else (what,) if isinstance(what, str) else tuple(what)
    unknown = [name for name in names if name not in there]
    if unknown:
        raise ConfigError(f"{unknown[0]!r} is not in the log of {folder}, which has {', '.join(there)}")
    kept = Facts.from_dict(read_json(folder / runs.FACTS, "the run's facts")).epoch
    axes = figure_axes(len(names), ax, (7.0, 2.0), columns=1)
    draw_curves(axes, log, kept, names, of_labels=learns_labels(folder))
    return finished(axes, ax, show, save)
