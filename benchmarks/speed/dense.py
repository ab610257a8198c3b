"""A dense section: windows of their own in float32 and bf16, beside shared regions, as tiles a second in one run.

    python benchmarks/speed/dense.py [--weights FILE] [--trunk vit_small_patch14_dinov2] [--layer 5] [--bins 20] [--own 16]

Bins of 16 microns are drawn on a picture of half a micron a pixel, with windows of 112 and 224 microns in 224 pixels. Windows
of their own are timed on the first `--own` bins; shared regions on a square of `--bins` x `--bins` bins, whose border regions,
half empty, are counted. `--bins 330` is a whole section of 109,000 bins.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import torch
from PIL import Image

from bleep.config import ImageConfig, PrecisionName
from bleep.data.section import Section
from bleep.data.slides import ArraySlide
from bleep.data.tiles import Tiles, TileSpec
from bleep.features import FeatureReader
from bleep.models.factory import build_trunk

RESULTS = Path(__file__).parents[1] / "results"
MPP, PITCH = 0.5, 16.0
SPEC = TileSpec(224, (112.0, 224.0))


def section(bins: int) -> Section:
    """Draw a picture with structure at two scales, and bins on a square grid."""
    side = round((bins * PITCH + max(SPEC.microns)) / MPP)
    rng = np.random.default_rng(0)
    picture = np.zeros((side, side, 3), np.uint8)
    for size in (64, 8):
        drawn = Image.fromarray(rng.integers(30, 120, (side // size + 2, side // size + 2, 3), dtype=np.uint8))
        picture += np.asarray(drawn.resize((drawn.width * size, drawn.height * size), Image.Resampling.BILINEAR))[:side, :side]
    steps = (np.arange(bins) + 0.5) * PITCH / MPP + max(SPEC.microns) / 2 / MPP
    xy = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    counts = anndata.AnnData(np.zeros((len(xy), 0), np.float32), obs=pd.DataFrame(index=[f"bin{i}" for i in range(len(xy))]))
    return Section("dense", "none", "unknown", ArraySlide(picture), counts, xy, MPP)


def rate(options: argparse.Namespace, precision: PrecisionName, sharing: str, tiles: Tiles) -> float:
    """Return tiles a second."""
    torch.manual_seed(0)
    image = {"trunk": options.trunk, "weights": options.weights, "layer": options.layer}
    trunk, _ = build_trunk(ImageConfig.model_validate(image | {"precision": precision, "sharing": sharing}), SPEC.pixels)
    reader = FeatureReader(trunk, None, batch=16)
    reader.read(tiles.subset(np.arange(2)))
    start = time.perf_counter()
    reader.read(tiles)
    return len(tiles) / (time.perf_counter() - start)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trunk", default="vit_small_patch14_dinov2")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--layer", type=int, default=5)
    parser.add_argument("--bins", type=int, default=20)
    parser.add_argument("--own", type=int, default=16)
    parser.add_argument("--name", default="dense", help="name of the record")
    options = parser.parse_args()
    whole = Tiles((section(options.bins),), SPEC)
    own = whole.subset(np.arange(options.own))
    rates = {
        "windows of their own, float32": rate(options, "float32", "none", own),
        "windows of their own, bf16": rate(options, "bf16", "none", own),
        "shared regions, float32": rate(options, "float32", "tokens", whole),
        "shared regions, bf16": rate(options, "bf16", "tokens", whole),
    }
    base = rates["windows of their own, float32"]
    same = {name: rates[name] / rates[f"windows of their own, {name.split(', ')[1]}"] for name in rates}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    lines = [
        f"# Dense bins: {options.trunk} to block {options.layer}, {torch.get_num_threads()} thread(s)",
        "",
        f"{len(whole)} bins of {PITCH:g} um in shared regions, {len(own)} in windows of their own; peak memory {peak:.1f} GB.",
        "",
        "| features | tiles/s | beside float32 windows | beside windows at the same precision |",
        "| --- | --- | --- | --- |",
        *(f"| {name} | {found:.2f} | {found / base:.1f} | {same[name]:.1f} |" for name, found in rates.items()),
    ]
    print("\n".join(lines))
    (RESULTS / f"{options.name}.md").write_text("\n".join(lines) + "\n")
    record = {
        "options": vars(options) | {"weights": Path(options.weights).name},
        "tiles_per_second": rates,
        "peak_gb": peak,
        "threads": torch.get_num_threads(),
    }
    (RESULTS / f"{options.name}.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
