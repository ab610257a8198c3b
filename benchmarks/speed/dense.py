"""A dense section: windows of their own in float32 and bf16, beside shared regions, as tiles a second in one run.

    python benchmarks/speed/dense.py [--weights FILE] [--trunk vit_small_patch14_dinov2] [--layer 5] [--bins 20] [--own 16]

Bins of 16 microns are drawn on a picture of half a micron a pixel, with windows of 112 and 224 microns in 224 pixels. Windows
of their own are timed on the first `--own` bins; shared regions on a square of `--bins` x `--bins` bins, whose border regions,
half empty, are counted. `--bins 330` is a whole section of 109,000 bins.

On a GPU each is set beside the bare trunk as well: timm's own model, read at the same depth, on pixels that lie on the GPU as
numbers already, in batches of the same size; so that what reading, bringing them there and sharing cost is seen.
"""

import argparse
import json
import resource
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import timm
import torch
from PIL import Image

from bleep.config import ImageConfig, PrecisionName
from bleep.data.section import Section
from bleep.data.slides import ArraySlide
from bleep.data.tiles import Tiles, TileSpec
from bleep.features import FeatureReader
from bleep.features.regions import members, of_windows
from bleep.models.factory import build_trunk
from bleep.models.precision import PRECISIONS

RESULTS = Path(__file__).parents[1] / "results"
MPP, PITCH = 0.5, 16.0
SPEC = TileSpec(224, (112.0, 224.0))
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
WAYS = {"windows of their own": "none", "shared regions": "tokens"}
PASSES = 20
"""Batches that the bare trunk is timed on."""


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


def features(options: argparse.Namespace, precision: PrecisionName, sharing: str) -> FeatureReader:
    torch.manual_seed(0)
    image = {"trunk": options.trunk, "weights": options.weights, "layer": options.layer}
    trunk, _ = build_trunk(ImageConfig.model_validate(image | {"precision": precision, "sharing": sharing}), SPEC.pixels)
    return FeatureReader(trunk.to(DEVICE), None, batch=options.batch)


def rate(reader: FeatureReader, tiles: Tiles) -> float:
    """Return tiles a second."""
    reader.read(tiles.subset(np.arange(2)))
    start = now()
    reader.read(tiles)
    return len(tiles) / (now() - start)


def bare(options: argparse.Namespace, reader: FeatureReader, precision: PrecisionName, tiles: Tiles) -> float:
    """Return tiles a second of the model alone, each region that the tiles share counted once."""
    shares, pictures = reader.trunk.shares, len(tiles) * len(SPEC.microns)
    side, batch = SPEC.pixels, options.batch * len(SPEC.microns)
    if shares:
        shown: list[int] = []
        of_windows(reader.trunk, tiles, options.batch, lambda regions: (shown.append(len(regions)), regions)[1])
        # The first of each window only asks how large the grid is.
        region = members(reader.trunk)[0].region
        side, batch, pictures = region * SPEC.pixels, options.batch // region**2, sum(shown)
    sized = {"img_size": side} if timm.get_pretrained_cfg(options.trunk).fixed_input_size else {}
    model = timm.create_model(options.trunk, num_classes=0, **sized).to(DEVICE, memory_format=torch.channels_last).eval()
    pixels = torch.randn(batch, 3, side, side, device=DEVICE).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast(DEVICE.type, PRECISIONS[precision], enabled=precision != "float32"):
        for number in range(PASSES + 3):
            if number == 3:
                start = now()
            model.forward_intermediates(pixels, indices=[options.layer], norm=False, stop_early=True, intermediates_only=True)
    return len(tiles) / pictures * PASSES * batch / (now() - start)


def now() -> float:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def measured(options: argparse.Namespace, whole: Tiles) -> Iterator[tuple[str, PrecisionName, dict[str, float]]]:
    """Yield each way of reading and precision, with what was measured."""
    own = whole.subset(np.arange(options.own))
    precisions: tuple[PrecisionName, ...] = ("float32", "bf16")
    for (way, sharing), precision in product(WAYS.items(), precisions):
        tiles, reader = whole if sharing == "tokens" else own, features(options, precision, sharing)
        if DEVICE.type != "cuda":
            yield way, precision, {"rate": rate(reader, tiles)}
            continue
        torch.cuda.reset_peak_memory_stats()
        found = {"rate": rate(reader, tiles), "gpu_gb": torch.cuda.max_memory_allocated() / 1e9}
        yield way, precision, found | {"bare": bare(options, reader, precision, tiles)}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trunk", default="vit_small_patch14_dinov2")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--layer", type=int, default=5)
    parser.add_argument("--bins", type=int, default=20)
    parser.add_argument("--own", type=int, default=16)
    parser.add_argument("--batch", type=int, default=16, help="tiles passed through the trunk at a time")
    parser.add_argument("--name", default="dense", help="name of the record")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    whole = Tiles((section(options.bins),), SPEC)
    found = {f"{way}, {precision}": row for way, precision, row in measured(options, whole)}
    rates = {name: row["rate"] for name, row in found.items()}
    base = rates["windows of their own, float32"]
    same = {name: rates[name] / rates[f"windows of their own, {name.split(', ')[1]}"] for name in rates}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    cuda = DEVICE.type == "cuda"
    place = torch.cuda.get_device_name() if cuda else f"{torch.get_num_threads()} thread(s)"
    heads = ["features", "tiles/s", "beside float32 windows", "beside windows at the same precision"]
    sizes = f"{len(whole)} bins of {PITCH:g} um in shared regions, {options.own} in windows of their own"
    lines = [
        f"# Dense bins: {options.trunk} to block {options.layer}, {place}",
        "",
        f"{sizes}; peak memory {peak:.1f} GB.",
        "",
        row_of([*heads, *(["beside the bare trunk", "its tiles/s", "peak of the GPU, GB"] * cuda)]),
        row_of(["---"] * (7 if cuda else 4)),
    ]
    for name, row in found.items():
        cells = [name, f"{row['rate']:.2f}", f"{row['rate'] / base:.1f}", f"{same[name]:.1f}"]
        if cuda:
            cells += [f"{row['rate'] / row['bare']:.2f}", f"{row['bare']:.0f}", f"{row['gpu_gb']:.2f}"]
        lines.append(row_of(cells))
    print("\n".join(lines))
    (options.out / f"{options.name}.md").write_text("\n".join(lines) + "\n")
    record = {
        "options": {key: value for key, value in vars(options).items() if key != "out"}
        | {"weights": Path(options.weights).name},
        "tiles_per_second": rates,
        "peak_gb": peak,
        "threads": torch.get_num_threads(),
    }
    if cuda:
        record |= {"device": place, "gpu": found}
    (options.out / f"{options.name}.json").write_text(json.dumps(record, indent=1) + "\n")


def row_of(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
