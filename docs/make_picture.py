"""Draw the README's picture: `python docs/make_picture.py --run runs/toy [--gene TOY01] [--section toy4]`.

A held-out section's H&E, the measured values of one gene, and the values retrieval predicts for it. It needs a
contrastive run with its index, and matplotlib (`pip install -e '.[plots]'`).
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import bleep

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Parse and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="folder of a contrastive run with its index")
    parser.add_argument("--gene", default=None, help="default: the panel's gene of highest training variance")
    parser.add_argument("--section", default=None, help="default: the first test section")
    parser.add_argument("--out", type=Path, default=HERE / "_static" / "picture.png")
    arguments = parser.parse_args()
    run = bleep.Run.load(arguments.run)
    retrieval = bleep.RetrievalPredictor(run, bleep.Reference.load(arguments.run / "reference"))
    test = {section.name: section for section in bleep.load_split(run.config).test}
    section = test[arguments.section or next(iter(test))]
    column = run.panel.genes.index(arguments.gene) if arguments.gene else int(run.panel.top(1, "variance")[0])
    predicted = retrieval.predict(bleep.Tiles((section,), run.spec)).expression[:, column]
    draw(section, run.panel.genes[column], run.panel.values(section)[:, column], predicted, arguments.out)


def draw(section: bleep.Section, gene: str, measured: np.ndarray, predicted: np.ndarray, out: Path) -> None:
    """Draw the three panels side by side; both maps share one scale."""
    width, height = section.slide.size
    picture = section.slide.region(0, 0, max(width, height), "white")[:height, :width]
    step = max(width // 800, 1)
    r = float(np.corrcoef(measured, predicted)[0, 1])
    figure, axes = plt.subplots(1, 3, figsize=(9.6, 3.3), layout="constrained")
    axes[0].imshow(picture[::step, ::step], extent=(0, width, height, 0))
    axes[0].set_title(f"{section.name}, held out: H&E")
    low, high = np.quantile(np.concatenate([measured, predicted]), [0.01, 0.99])
    titles = (f"{gene}, measured", f"{gene}, retrieved (r = {r:.2f})")
    size = (section.pitch() * 72 * 2.9 / max(width, height)) ** 2
    for axis, values, title in zip(axes[1:], (measured, predicted), titles, strict=True):
        drawn = axis.scatter(*section.xy.T, c=values, s=size, marker="s", linewidths=0, cmap="magma", vmin=low, vmax=high)
        axis.set_title(title)
    for axis in axes:
        axis.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[], aspect="equal")
    figure.colorbar(drawn, ax=axes[2], shrink=0.85, label="log1p of counts per 10,000")
    figure.savefig(out, dpi=105)
    print(f"{out}: {out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
