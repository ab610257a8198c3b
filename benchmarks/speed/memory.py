"""How much memory training takes on four large slides, above what the model and the loader take on small ones.

    python benchmarks/speed/memory.py [--out benchmarks/results]

Four Visium sections are made up, with pictures of 20,000 x 20,000 pixels (1.2 GB each once decoded), as tiled pyramidal TIFF
and as plain JPEG, of which tiled copies are made. The baseline is the same training, on as many spots, with pictures of
2,000 x 2,000. What is measured is the largest resident memory of the training process, as the system tells it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyvips
from scipy import io, sparse

from bleep.files import write_json, write_text

REPOSITORY = Path(__file__).resolve().parents[2]
SECTIONS, SPOTS, GENES, LARGE, SMALL = 4, 600, 300, 20_000, 2_000
TRAINING = {
    "image.trunk": "test_resnet",
    "image.weights": "random",
    "image.train": "full",
    "tiles.microns": "120",
    "data.mpp": "0.5",
    "data.pixel_limit": "500000000",
    "panel.size": "100",
    "optim.epochs": "2",
    "optim.batch": "64",
}
ABOUT = (
    f"`python benchmarks/speed/memory.py`: {SECTIONS} sections of {SPOTS} spots, three of them trained on, a small trunk fully "
    "trained, 2 epochs, no reading processes. Asked: at most 1.5 GB above the baseline."
)
rng = np.random.default_rng(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        peaks = {
            "pictures of 2,000 px, tiled TIFF (baseline)": measured(root / "small", SMALL, "slide.tif"),
            "pictures of 20,000 px, tiled TIFF": measured(root / "tiled", LARGE, "slide.tif"),
            "pictures of 20,000 px, JPEG, tiled copies made": measured(root / "plain", LARGE, "slide.jpg"),
            "the same, copies there already": train(root / "plain", "slide.jpg", "again"),
        }
    base = next(iter(peaks.values()))
    above = {name: peak - base for name, peak in peaks.items()}
    lines = [
        "# Memory of training on large slides",
        "",
        ABOUT,
        "",
        "| | peak, GB | above the baseline, GB |",
        "| --- | --- | --- |",
    ]
    lines += [f"| {name} | {peak:.2f} | {above[name]:+.2f} |" for name, peak in peaks.items()]
    print("\n".join([*lines, ""]))
    write_text(arguments.out / "memory.md", "\n".join([*lines, ""]))
    write_json(arguments.out / "memory.json", json.loads(json.dumps({"peak_gb": peaks, "above_gb": above})))


def measured(root: Path, side: int, picture: str) -> float:
    for number in range(SECTIONS):
        write_section(root / f"section{number}", side, picture)
    return train(root, picture, "run")


def train(root: Path, picture: str, run: str) -> float:
    """Train in a process of its own and return its largest resident memory, in GB."""
    places = {"out": root.parent / f"{root.name}-{run}", "cache": root.parent / f"{root.name}-cache"}
    settings = TRAINING | {"data.source": "visium", "data.root": root, "data.image": picture} | places
    flags = [word for name, value in settings.items() for word in (f"--{name}", value)]
    command = [sys.executable, REPOSITORY / "bleep/train.py", *flags]
    child = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"training ended with status {status}")
    return usage.ru_maxrss * 1024 / 1e9


def write_section(folder: Path, side: int, picture: str) -> None:
    (folder / "spatial").mkdir(parents=True)
    small = rng.integers(0, 255, (side // 40, side // 40, 3), dtype=np.uint8)
    image = pyvips.Image.new_from_array(small).resize(40)
    if picture.endswith(".tif"):
        tiled = {"tile": True, "tile_width": 256, "tile_height": 256, "pyramid": True}
        image.tiffsave(str(folder / picture), compression="jpeg", Q=85, bigtiff=True, **tiled)
    else:
        image.jpegsave(str(folder / picture), Q=85)
    ids = [f"spot{number}" for number in range(SPOTS)]
    xy = rng.integers(200, side - 200, (SPOTS, 2))
    names = ("barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres")
    columns = (ids, 1, range(SPOTS), range(SPOTS), xy[:, 1], xy[:, 0])
    positions = pd.DataFrame(dict(zip(names, columns, strict=True)))
    positions.to_csv(folder / "spatial/tissue_positions.csv", index=False)
    factors = {"tissue_hires_scalef": 0.1, "tissue_lowres_scalef": 0.03, "spot_diameter_fullres": 100.0}
    (folder / "spatial/scalefactors_json.json").write_text(json.dumps(factors))
    counts = folder / "filtered_feature_bc_matrix"
    counts.mkdir()
    io.mmwrite(counts / "matrix.mtx", sparse.csc_matrix(rng.poisson(2.0, (GENES, SPOTS))))
    genes = pd.DataFrame(
        {0: [f"ENSG{n:011d}" for n in range(GENES)], 1: [f"GENE{n}" for n in range(GENES)], 2: "Gene Expression"}
    )
    genes.to_csv(counts / "features.tsv", sep="\t", header=False, index=False)
    pd.DataFrame(ids).to_csv(counts / "barcodes.tsv", sep="\t", header=False, index=False)


if __name__ == "__main__":
    main()
