"""A Visium HD section of 8 um bins: time and memory of reading, panel, training, index and query, beside scanpy's reading.

    python benchmarks/speed/hd.py [--bins 775] [--genes 18000] [--seen 150] [--out benchmarks/results]

The section is made up in the form of Space Ranger 3: `--bins` x `--bins` bins (600,625 by default), each with counts of about
`--seen` of `--genes` genes, and a picture of half a micron a pixel as a tiled TIFF. The trunk's features, 384 of each bin, are
ready-made, as they are where they are cached. Every step is a process of its own; what is told is its seconds from start to
end and the largest memory it held. The bins are split in blocks, so four of five are trained on, with counts pooled within 28
microns (`panel.pool`), as bins of few counts should be.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyvips

from bleep.files import write_json, write_text

REPOSITORY = Path(__file__).resolve().parents[2]
MPP, BIN, WIDTH, EDGE = 0.5, 8.0, 384, 400
READING = "import scanpy, pandas; scanpy.read_10x_h5({counts!r}).var_names_make_unique(); pandas.read_parquet({places!r})"
PANEL = (
    "from bleep.config import Config; from bleep.data.panel import GenePanel; from bleep.data.readers import read_sections; "
    "config = Config.load({recipe!r}); print(GenePanel.fit(read_sections(config.data, config.cache), config.panel))"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bins", type=int, default=775, help="along a side")
    parser.add_argument("--genes", type=int, default=18_000)
    parser.add_argument("--seen", type=int, default=150, help="genes seen in a bin")
    parser.add_argument("--index", default="auto", help="index.kind")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        square = made(root / "sample", arguments)
        counts, places = (str(square / name) for name in ("filtered_feature_bc_matrix.h5", "spatial/tissue_positions.parquet"))
        recipe, pooled = (str(written(root, square, arguments, pool)) for pool in (0.0, 28.0))
        run = ["--run", str(root / "run")]
        steps = {
            "scanpy reads counts and positions": ["-c", READING.format(counts=counts, places=places)],
            "read and panel": ["-c", PANEL.format(recipe=recipe)],
            "the same, counts pooled within 28 um": ["-c", PANEL.format(recipe=pooled)],
            f"train, {arguments.epochs} epoch(s)": ["-m", "bleep", "train", "--config", pooled],
            "index build": ["-m", "bleep", "index", "build", *run],
            "query": ["-m", "bleep", "query", *run, "--images", str(square), "--out", str(root / "predicted.h5ad")],
        }
        found = {}
        for name, words in steps.items():
            found[name] = measured(words, root)
            print(name, found[name], flush=True)
        load = os.getloadavg()[0]
    report(found, arguments, load)


def made(sample: Path, arguments: argparse.Namespace) -> Path:
    """Write the section, and the features of its bins."""
    rng = np.random.default_rng(0)
    square = sample / "outs/binned_outputs/square_008um"
    (square / "spatial").mkdir(parents=True)
    side, count = arguments.bins, arguments.bins**2
    row, column = np.divmod(np.arange(count), side)
    xy = (np.stack([column, row], axis=1) + 0.5) * BIN / MPP + EDGE
    names = np.array([f"s_008um_{r:05d}_{c:05d}-1" for r, c in zip(row, column, strict=True)])
    pixels = round(side * BIN / MPP) + 2 * EDGE
    tissue = pyvips.Image.gaussnoise(pixels // 8, pixels // 8, mean=170, sigma=40).bandjoin([120, 160]).cast("uchar")
    tissue.resize(pixels / (pixels // 8)).tiffsave(
        str(sample / "slide.tif"), tile=True, pyramid=True, compression="jpeg", Q=80, bigtiff=True
    )
    factors = {
        "bin_size_um": BIN, "microns_per_pixel": MPP, "spot_diameter_fullres": BIN / MPP, "tissue_hires_scalef": 0.1,
        "tissue_lowres_scalef": 0.01, "regist_target_img_scalef": 0.1, "fiducial_diameter_fullres": 1200.0,
    }  # fmt: skip
    (square / "spatial/scalefactors_json.json").write_text(json.dumps(factors))
    table = {
        "barcode": names, "in_tissue": 1, "array_row": row, "array_col": column,
        "pxl_row_in_fullres": xy[:, 1], "pxl_col_in_fullres": xy[:, 0],
    }  # fmt: skip
    pd.DataFrame(table).to_parquet(square / "spatial/tissue_positions.parquet", index=False)
    latent = np.sin(xy / 700.0 @ rng.normal(size=(2, 6))).astype(np.float32)
    write_counts(square / "filtered_feature_bc_matrix.h5", names, latent, arguments, rng)
    (sample / "features").mkdir()
    with h5py.File(sample / "features/sample.h5", "w") as file:
        features = latent @ rng.normal(size=(6, WIDTH)).astype(np.float32)
        file["features"] = features + rng.normal(scale=0.5, size=features.shape).astype(np.float32)
        file["coords"] = np.round(xy - 112).astype(np.int64)
        file["coords"].attrs.update({"patch_size_level0": 224, "level0_width": pixels, "level0_height": pixels})
    return square


def write_counts(
    path: Path, names: np.ndarray, latent: np.ndarray, arguments: argparse.Namespace, rng: np.random.Generator
) -> None:
    """Write counts whose genes rise and fall with what the features hold; gaps between the genes that are seen are drawn."""
    gap = arguments.genes / arguments.seen
    indices, data, lengths = [], [], []
    loads = rng.normal(size=(6, arguments.genes)).astype(np.float32)
    for at in range(0, len(names), 20_000):
        part = latent[at : at + 20_000]
        genes = np.cumsum(1 + rng.exponential(gap - 1, size=(len(part), 2 * arguments.seen)).astype(np.int32), axis=1) - 1
        there = genes < arguments.genes
        rows, _ = np.nonzero(there)
        found = genes[there]
        raised = (part[rows] * loads[:, found].T).sum(axis=1)
        indices.append(found.astype(np.int32))
        data.append((1 + rng.poisson(np.exp(np.clip(raised, -3, 2)))).astype(np.int32))
        lengths.append(there.sum(axis=1))
    with h5py.File(path, "w") as file:
        part = file.create_group("matrix")
        part["data"], part["indices"] = np.concatenate(data), np.concatenate(indices)
        part["indptr"] = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
        part["shape"] = np.array([arguments.genes, len(names)], np.int32)
        part["barcodes"] = names.astype("S")
        features, genes = part.create_group("features"), np.array([f"GENE{n}" for n in range(arguments.genes)], "S")
        features["name"], features["id"] = genes, np.array([f"ENSG{n:011d}" for n in range(arguments.genes)], "S")
        features["feature_type"] = np.array(["Gene Expression"] * arguments.genes, "S")
        features["genome"] = np.array(["GRCh38"] * arguments.genes, "S")


def written(root: Path, square: Path, arguments: argparse.Namespace, pool: float = 0.0) -> Path:
    """Write the recipe."""
    import yaml

    sample = root / "sample"
    tree = {
        "data": {
            "source": "visium", "root": str(square), "bin": 8, "image": str(sample / "slide.tif"), "split": "block",
            "features": str(sample / "features"),
        },
        "image": {"trunk": "features"},
        "panel": {"pool": pool},
        "optim": {"epochs": arguments.epochs, "batch": 1024},
        "index": {"kind": arguments.index},
        "out": str(root / "run"),
        "cache": str(root / "cache"),
    }  # fmt: skip
    path = root / f"recipe{pool:g}.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def measured(words: list[str], root: Path) -> tuple[float, float]:
    """Run Python with these words and return its seconds and the most memory it held, in GB."""
    start, log = time.perf_counter(), root / "log.txt"
    with log.open("w") as out:
        here = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        process = subprocess.Popen([sys.executable, *words], stdout=out, stderr=out, env=here)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{words[:4]}: ended with {status}: {log.read_text()[-2000:]}")
    return time.perf_counter() - start, usage.ru_maxrss / 2**20


def report(found: dict[str, tuple[float, float]], arguments: argparse.Namespace, load: float) -> None:
    """Write the record."""
    base = next(iter(found.values()))[0]
    count = arguments.bins**2
    asked = " ".join(f"--{name} {getattr(arguments, name)}" for name in ("bins", "genes", "seen", "index", "epochs"))
    lines = [
        "# Visium HD, bins of 8 um",
        "",
        f"`python benchmarks/speed/hd.py {asked}`: {count:,} bins, {os.cpu_count()} cores, load {load:.1f} at the end.",
        "",
        "| step | seconds | beside scanpy's reading | peak memory, GB |",
        "| --- | ---: | ---: | ---: |",
        *(f"| {name} | {seconds:.0f} | {seconds / base:.1f} | {memory:.1f} |" for name, (seconds, memory) in found.items()),
    ]
    print("\n".join(lines))
    write_text(arguments.out / "hd.md", "\n".join(lines) + "\n")
    write_json(arguments.out / "hd.json", {"options": asked, "steps": {name: list(pair) for name, pair in found.items()}})


if __name__ == "__main__":
    main()
