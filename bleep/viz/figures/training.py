"""Figures of training and of what it led to: curves, calibration, and the joint embedding."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Float32, Int64, Shaped

from bleep.evaluation.metrics import true_ranks
from bleep.viz.figures import COLOURS, MARKERS, Drawing, blank, label_text, titled
from bleep.viz.figures.on_tissue import mixing, tsne, umap

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def curves(log: Sequence[Mapping[str, Any]], kept: int) -> Drawing:
    """Draw the lines of a run's log; `kept` is the epoch whose weights the run holds, from 0."""
    from matplotlib.figure import Figure

    names = logged(log)
    figure = Figure(figsize=(7.5, 1.2 + 1.9 * len(names)), layout="constrained")
    draw_curves(np.atleast_1d(figure.subplots(len(names), 1, sharex=True)).tolist(), log, kept, names)
    finding = _finding(log, kept, scored="val_score" in names)
    return titled(Drawing("training", figure, finding, "the run's log, by epoch"), 70)


UNITS = {
    "loss": "training loss (mean of the epoch)",
    "lr": "learning rate",
    "val_score": "validation score (PCC)",
}
"""What is drawn of a run's log, where it is there."""


def logged(log: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return which of `UNITS` a log has."""
    return tuple(name for name in UNITS if any(name in line for line in log))


def draw_curves(
    axes: Sequence["Axes"], log: Sequence[Mapping[str, Any]], kept: int, names: Sequence[str], *, of_labels: bool = False
) -> None:
    """Draw one curve of a log on each of the axes; `kept` is below 0 where no epoch's weights were kept yet.

    The score of a run that learnt labels, `of_labels`, is an area under the ROC curve.
    """
    for place, name in zip(axes, names, strict=True):
        points = [(line["epoch"] + 1, line[name]) for line in log if name in line]
        colour = COLOURS[[*UNITS].index(name)]
        place.plot(*zip(*points, strict=True), color=colour, marker="o" if len(points) == 1 else None)
        if kept >= 0:
            place.axvline(kept + 1, color="0.5", linestyle="--", linewidth=1, label=f"kept: epoch {kept + 1}")
        unit = UNITS[name].replace("PCC", "ROC AUC") if of_labels else UNITS[name]
        place.set_ylabel(unit.replace(" (", "\n("), fontsize=8)
        place.spines[["top", "right"]].set_visible(False)
    if kept >= 0:
        axes[0].legend(frameon=False, fontsize=8)
    axes[-1].set_xlabel("epoch")


def _finding(log: Sequence[Mapping[str, Any]], kept: int, *, scored: bool) -> str:
    first, last = log[0]["loss"], log[-1]["loss"]
    text = f"The loss went from {first:.3g} to {last:.3g} in {len(log)} epochs"
    if not scored:
        return f"{text}; nothing was held out for validation, so the last epoch was kept"
    best = max(line["val_score"] for line in log if "val_score" in line)
    return f"{text}; the validation score was best, {best:.3f}, at epoch {kept + 1}"


PARTS = 10
"""Equal parts that predictions are divided into by their uncertainty."""


def error_by_uncertainty(
    error: Float[np.ndarray, "spots genes"],
    uncertainty: Float[np.ndarray, "spots genes"],
    words: str,
    level: float | None = None,
) -> Drawing:
    """Draw the error of predictions in ten equal parts, from the least uncertain to the most, on the uncertainty's own scale.

    Args:
        error: prediction minus measurement; not a number where nothing was measured, which is left out.
        uncertainty: a standard deviation, laid beside the root mean squared error; or, with `level`, half the width of an
            interval, laid beside the distance that this share of the errors does not pass.
        words: what the uncertainty is.
        level: share of values that the interval is to hold.

    """
    figure, axes = blank(6.4, 5.0)
    finding = draw_error_by_uncertainty(axes, error, uncertainty, words, level)
    return titled(Drawing("error_by_uncertainty", figure, finding, "error and uncertainty of all predictions"), 66)


def draw_error_by_uncertainty(
    axes: "Axes",
    error: Float[np.ndarray, "spots genes"],
    uncertainty: Float[np.ndarray, "spots genes"],
    words: str,
    level: float | None = None,
) -> str:
    """Draw what `error_by_uncertainty` shows, and return what is seen there."""
    known = np.isfinite(error)
    flat, sure = error[known].astype(np.float64), uncertainty[known].astype(np.float64)
    starts = np.linspace(0, len(sure), PARTS, endpoint=False).astype(int)
    parts = [part for part in np.split(np.argpartition(sure, starts), starts[1:]) if len(part)]
    told = np.array([np.sqrt((sure[part] ** 2).mean()) for part in parts])
    factors = np.array([_times(flat[part], sure[part], level) for part in parts])
    real = factors * told
    axes.plot(told, real, marker="o", color=COLOURS[0], label="a tenth of the predictions")
    ends = [0.0, float(max(told.max(), real.max()) * 1.05)]
    axes.plot(ends, ends, color="0.5", linewidth=1, label="error as large as told")
    axes.set(xlim=ends, ylim=ends)
    axes.set_xlabel(f"{words}\n(root mean square of the part)")
    axes.set_ylabel("root mean squared error of the part" if level is None else f"what {level:.0%} of the errors do not pass")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    ratio = _times(flat, sure, level)
    rises = float(np.corrcoef(np.arange(len(real)), real)[0, 1]) if real.std() > 0 else 0.0
    return (
        f"The error is {ratio:.2f} times what the uncertainty says, and {'rises' if rises > 0.5 else 'hardly rises'} with it "
        f"(least uncertain tenth {real[0]:.2f}, most uncertain {real[-1]:.2f})"
    )


def _times(error: Float[np.ndarray, " values"], said: Float[np.ndarray, " values"], level: float | None) -> float:
    """Return how many times larger errors are than what was said of them; 1 for honest uncertainty of either kind."""
    if level is None:
        return float(np.sqrt((error**2).mean()) / max(float(np.sqrt((said**2).mean())), 1e-12))
    return float(np.quantile(np.abs(error) / np.maximum(said, 1e-12), level))


def coverage(inside: Float[np.ndarray, "sections genes"], level: float, names: tuple[str, ...]) -> Drawing:
    """Draw, for each section, the spread over genes of the share of spots inside their intervals of one level."""
    figure, axes = blank(6.4, 1.8 + 0.5 * len(names))
    draw_coverage(axes, inside, level, names)
    mean = np.nanmean(inside, axis=1)
    held = ", ".join(f"{share:.0%} in {name}" for share, name in zip(mean, names, strict=True))
    what = "coverage of every gene's intervals; boxes: quartiles, whiskers: 5 % and 95 %"
    return titled(Drawing("coverage", figure, f"Intervals of {level:.0%} hold {held}", what), 66)


def draw_coverage(axes: "Axes", inside: Float[np.ndarray, "sections genes"], level: float, names: tuple[str, ...]) -> None:
    """Draw a box a section; see `coverage`."""
    axes.boxplot(
        [row[np.isfinite(row)] for row in inside], orientation="horizontal", widths=0.5, whis=(5, 95), showfliers=False,
        patch_artist=True, boxprops={"facecolor": COLOURS[4], "alpha": 0.6}, medianprops={"color": "black"},
        tick_labels=[*names],
    )  # fmt: skip
    axes.axvline(level, color=COLOURS[5], linestyle="--", label=f"asked: {level:.0%}")
    axes.set_xlabel("share of a gene's spots whose measured value lies inside the interval")
    axes.set_ylabel("test section")
    axes.legend(frameon=False, fontsize=8, loc="lower left")


PAIRS = 1000
"""Tiles drawn at most, each with its spot; of more, a random part."""
_PLACES = {"t-SNE": tsne, "UMAP": umap}
METHODS = tuple(_PLACES)
"""How the shared space is laid out in two dimensions; the first is quick."""


def joint_space(
    images: Float32[np.ndarray, "tiles dim"],
    expression: Float32[np.ndarray, "tiles dim"],
    labels: dict[str, Shaped[np.ndarray, " tiles"]],
    method: str,
    seed: int,
) -> Drawing:
    """Draw the embeddings of tiles and of the same spots' expression, once by modality, then by each label.

    `labels` has a name for what the tiles are coloured by, such as their section, and a value for each.
    """
    from matplotlib.figure import Figure

    rows = np.sort(np.random.default_rng(seed).permutation(len(images))[:PAIRS])
    both = np.concatenate([images[rows], expression[rows]])
    side = np.repeat(np.arange(2, dtype=np.int64), len(rows))
    places = _PLACES[method](both, seed)
    figure = Figure(figsize=(5.2 * (1 + len(labels)), 5.0), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, 1 + len(labels)))
    _coloured(axes[0], places, side, ("tile", "expression"), "modality")
    for place, (name, values) in zip(axes[1:], labels.items(), strict=True):
        names, codes = np.unique(values[rows].astype(str), return_inverse=True)
        _coloured(place, places, np.tile(codes.astype(np.int64), 2), tuple(names.tolist()), name)
    for place in axes:
        place.set(xlabel=f"{method} 1 (no unit)", ylabel=f"{method} 2 (no unit)", xticks=[], yticks=[])
        place.spines[["top", "right"]].set_visible(False)
    what = f"embeddings of {len(rows)} test tiles and of the same spots' measured expression, laid out by {method}"
    name = f"joint_space_{method.lower().replace('-', '')}"
    return titled(Drawing(name, figure, _mixing(both, side, len(rows)), what), 50 * (1 + len(labels)))


def _mixing(both: Float32[np.ndarray, "points dim"], side: Int64[np.ndarray, " points"], count: int) -> str:
    own, free = mixing(both.astype(np.float64), side)
    rank = true_ranks(both[:count], both[count:])
    return (
        f"{100 * own:.0f} % of a point's nearest neighbours are of its own modality ({100 * free:.0f} % if both mixed freely); "
        f"a tile's own spot is at median rank {np.median(rank):.0f} of {count}"
    )


def _coloured(
    axes: "Axes", places: Float[np.ndarray, "points 2"], codes: Int64[np.ndarray, " points"], names: tuple[str, ...], title: str
) -> None:
    shuffled = np.random.default_rng(0).permutation(len(places))
    for code, name in enumerate(names):
        here = shuffled[codes[shuffled] == code]
        axes.scatter(
            places[here, 0], places[here, 1], s=9, linewidths=0, alpha=0.65, color=COLOURS[code % len(COLOURS)],
            marker=MARKERS[code // len(COLOURS) % len(MARKERS)], label=label_text(name), rasterized=True,
        )  # fmt: skip
    axes.legend(title=title, frameon=False, fontsize=8, markerscale=2, loc="best")
