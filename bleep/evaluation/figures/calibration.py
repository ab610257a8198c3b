"""Whether predicted uncertainty tells the error."""

import numpy as np
from jaxtyping import Float

from bleep.evaluation.exploration_style import COLOURS, Drawing, blank, titled

PARTS = 10
"""Equal parts that predictions are divided into by their uncertainty."""


def error_by_uncertainty(
    error: Float[np.ndarray, "spots genes"], uncertainty: Float[np.ndarray, "spots genes"], words: str
) -> Drawing:
    """Draw the root mean squared error of predictions in ten equal parts, from the least uncertain to the most."""
    figure, axes = blank(6.4, 5.0)
    flat, sure = error.ravel().astype(np.float64), uncertainty.ravel().astype(np.float64)
    starts = np.linspace(0, len(sure), PARTS, endpoint=False).astype(int)
    parts = [part for part in np.split(np.argpartition(sure, starts), starts[1:]) if len(part)]
    told = np.array([np.sqrt((sure[part] ** 2).mean()) for part in parts])
    real = np.array([np.sqrt((flat[part] ** 2).mean()) for part in parts])
    axes.plot(told, real, marker="o", color=COLOURS[0], label="a tenth of the predictions")
    ends = [0.0, float(max(told.max(), real.max()) * 1.05)]
    axes.plot(ends, ends, color="0.5", linewidth=1, label="error as large as told")
    axes.set(xlim=ends, ylim=ends)
    axes.set_xlabel(f"{words}\n(root mean square of the part)")
    axes.set_ylabel("root mean squared error of the part")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    ratio = float(np.sqrt((flat**2).mean()) / max(float(np.sqrt((sure**2).mean())), 1e-12))
    rises = float(np.corrcoef(np.arange(len(real)), real)[0, 1]) if real.std() > 0 else 0.0
    finding = (
        f"The error is {ratio:.2f} times what the uncertainty says, and {'rises' if rises > 0.5 else 'hardly rises'} with it "
        f"(least uncertain tenth {real[0]:.2f}, most uncertain {real[-1]:.2f})"
    )
    return titled(Drawing("error_by_uncertainty", figure, finding, "error and uncertainty of all predictions"), 66)


def coverage(inside: Float[np.ndarray, "sections genes"], level: float, names: tuple[str, ...]) -> Drawing:
    """Draw, for each section, the spread over genes of the share of spots inside their intervals of one level."""
    figure, axes = blank(6.4, 1.8 + 0.5 * len(names))
    axes.boxplot(
        [row[np.isfinite(row)] for row in inside], orientation="horizontal", widths=0.5, whis=(5, 95), showfliers=False,
        patch_artist=True, boxprops={"facecolor": COLOURS[4], "alpha": 0.6}, medianprops={"color": "black"},
        tick_labels=[*names],
    )  # fmt: skip
    axes.axvline(level, color=COLOURS[5], linestyle="--", label=f"asked: {level:.0%}")
    axes.set_xlabel("share of a gene's spots whose measured value lies inside the interval")
    axes.set_ylabel("test section")
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    mean = np.nanmean(inside, axis=1)
    held = ", ".join(f"{share:.0%} in {name}" for share, name in zip(mean, names, strict=True))
    what = "coverage of every gene's intervals; boxes: quartiles, whiskers: 5 % and 95 %"
    return titled(Drawing("coverage", figure, f"Intervals of {level:.0%} hold {held}", what), 66)
