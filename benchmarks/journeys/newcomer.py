"""A newcomer's first hour on one Visium section: check, train, index, score, predict, draw in scanpy, page, paper figure.

    python benchmarks/journeys/newcomer.py --root DATA/visium_mouse_muscle/Vis5A_2dpi --weights WEIGHTS.safetensors

Every step is a command as it is typed, in a new folder, so features are computed. The goal, from `bleep data check` to the
first page at most 3 minutes on two quiet cores, is stated for cached features: `--again` walks the section a second time,
with those of the first. The record goes to benchmarks/results/journey-newcomer.{md,json}.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from steps import Journey

GOAL = 180
DRAW = """
import matplotlib; matplotlib.use("Agg")
import anndata, scanpy as sc
data = anndata.read_h5ad("p.h5ad")
sc.pl.spatial(data, color=data.var_names[0], show=False, save="_gene.png")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="Space Ranger folder of the section")
    parser.add_argument("--weights", type=Path, required=True, help="weights of tf_efficientnet_lite0")
    parser.add_argument("--epochs", default="10")
    parser.add_argument("--again", action="store_true", help="walk twice, and keep the second walk, with cached features")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        shutil.copytree(arguments.root.resolve(), work / "Vis5A_2dpi")
        journey, features = walk(work, arguments.weights.resolve(), arguments.epochs), "computed"
        if arguments.again:
            for path in set(work.iterdir()) - {work / "Vis5A_2dpi", work / "cache"}:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            journey, features = walk(work, arguments.weights.resolve(), arguments.epochs), "cached"
    record(journey, features)


def record(journey: Journey, features: str) -> None:
    """Write what a walk took."""
    took = journey.seconds("check", "page")
    journey.record(
        "newcomer",
        "A newcomer's first hour, on one Visium section",
        {
            "section": "Vis5A_2dpi, 982 spots; its picture is derived, not the authors' own",
            f"from check to the first page, features {features}": f"{took:.0f} s (goal, cached: {GOAL})",
        },
    )
    print(f"from check to page: {took:.0f} s, features {features}; goal {GOAL} s")


def walk(work: Path, weights: Path, epochs: str) -> Journey:
    """Go from files to a paper figure, and return what it took."""
    journey = Journey(work)
    recipe = (
        "data: {source: visium, root: Vis5A_2dpi, image: derived_hires_pansharpened.jpg, image_scale: hires, species: mouse,"
        " split: block}\n"
        "tiles: {pixels: 224, microns: [200]}\npanel: {size: 200, min_spots: 0.1}\n"
        f"image: {{trunk: tf_efficientnet_lite0, layer: 3, weights: {weights}}}\nhead: {{hidden: 256, dropout: 0.5}}\n"
        f"loss: {{task: both}}\noptim: {{epochs: {epochs}}}\nout: runs/own\n"
    )
    (work / "own.yaml").write_text(recipe, encoding="utf-8")
    journey.bleep("check", "data", "check", "own.yaml", codes=(0, 1))
    journey.bleep("train", "train", "--config", "own.yaml")
    journey.bleep("index", "index", "build", "--run", "runs/own")
    journey.bleep("page", "evaluate", "--run", "runs/own", "--report", "page.html")
    journey.bleep("query", "query", "--run", "runs/own", "--images", "Vis5A_2dpi", "--out", "p.h5ad")
    journey.python("scanpy plot", DRAW)
    assert any((work / "figures").glob("*gene.png")), "scanpy has drawn nothing"
    journey.bleep("paper figure", "evaluate", "--run", "runs/own", "--figures", "paper", "--paper")
    assert any((work / "paper").glob("map_*.pdf")), "there is no figure for a paper"
    return journey


if __name__ == "__main__":
    main()
