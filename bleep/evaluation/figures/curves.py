"""How training went: loss, learning rate and validation score by epoch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bleep.evaluation.exploration_style import COLOURS, Drawing, titled


def curves(log: Sequence[Mapping[str, Any]], kept: int) -> Drawing:
    """Draw the lines of a run's log; `kept` is the epoch whose weights the run holds, from 0."""
    from matplotlib.figure import Figure

    scored = any("val_score" in line for line in log)
    names = ["loss", "lr"] + ["val_score"] * scored
    units = {
        "loss": "training loss (mean of the epoch)",
        "lr": "learning rate",
        "val_score": "validation score (PCC)",
    }
    figure = Figure(figsize=(7.5, 1.2 + 1.9 * len(names)), layout="constrained")
    axes = np.atleast_1d(figure.subplots(len(names), 1, sharex=True))
    for number, (place, name) in enumerate(zip(axes, names, strict=True)):
        points = [(line["epoch"] + 1, line[name]) for line in log if name in line]
        place.plot(*zip(*points, strict=True), color=COLOURS[number], marker="o" if len(points) == 1 else None)
        place.axvline(kept + 1, color="0.5", linestyle="--", linewidth=1, label=f"kept: epoch {kept + 1}")
        place.set_ylabel(units[name].replace(" (", "\n("), fontsize=8)
        place.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    axes[-1].set_xlabel("epoch")
    return titled(Drawing("training", figure, _finding(log, kept, scored=scored), "the run's log, by epoch"), 70)


def _finding(log: Sequence[Mapping[str, Any]], kept: int, *, scored: bool) -> str:
    first, last = log[0]["loss"], log[-1]["loss"]
    text = f"The loss went from {first:.3g} to {last:.3g} in {len(log)} epochs"
    if not scored:
        return f"{text}; nothing was held out for validation, so the last epoch was kept"
    best = max(line["val_score"] for line in log if "val_score" in line)
    return f"{text}; the validation score was best, {best:.3f}, at epoch {kept + 1}"
