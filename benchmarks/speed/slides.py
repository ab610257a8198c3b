"""Whole slides: `query --slides` against an earlier version of bleep, and features of a slide beside LazySlide.

    git worktree add ../before aef62bf
    python -m venv lazy; lazy/bin/pip install lazyslide==0.13.0 timm tiffslide
    python benchmarks/speed/slides.py --before ../before --peer lazy/bin/python --root DATA/her2st --weights VIT.safetensors

Slides as pyramidal TIFF of half a micron a pixel: two drawn ones, and the picture of a HER2ST section. Either version trains a
run on one HER2ST section and predicts each slide by a grid of 50 microns under windows of 112 and 224 (ViT-S/14 to block 5):
earlier, windows of their own in float32; now, with its defaults. Then LazySlide and bleep each find tissue, lay a grid and
read features through the same trunk, in one precision and with as many threads: of both windows at a step of half the smaller
one, and of the smaller one alone at a step of half a window and of a whole one. LazySlide has tiles of one size in one pass, so
for two windows it makes two. Opening and looking for tissue count, imports and weights do not.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from PIL import Image

from bleep.files import write_json, write_text

HERE = Path(__file__).resolve().parents[2]
RESULTS = HERE / "benchmarks" / "results"
MPP, STEP, WINDOWS = 0.5, 50.0, (112.0, 224.0)
TRUNK, LAYER, PIXELS, BATCH = "vit_small_patch14_dinov2", 5, 224, 32
VERSIONS = ("before", "now")
CASES = ((WINDOWS, 0.5), (WINDOWS[:1], 0.5), (WINDOWS[:1], 1.0))
"""Windows, and the step in parts of the smallest one."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="checkout of the earlier version; none: what was found stays")
    parser.add_argument("--peer", type=Path, help="Python of an environment with LazySlide; none: what was found stays")
    parser.add_argument("--root", type=Path, required=True, help="sections in the her2st form")
    parser.add_argument("--section", default="C3", help="section whose picture becomes a slide")
    parser.add_argument("--weights", type=Path, required=True, help="weights of the ViT-S/14")
    parser.add_argument("--side", type=int, nargs="+", default=[3000, 6000], help="pixels of the sides of the drawn slides")
    parser.add_argument("--cut", type=int, help="take the middle so many pixels of the section's slide alone")
    parser.add_argument("--precision", choices=("bf16", "float32"), default="bf16", help="of features, on both sides")
    parser.add_argument("--features", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.features:
        print(json.dumps(own_features(Path(arguments.features), arguments.weights, arguments.precision)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        (picture,) = (path for path in (arguments.root / arguments.section).rglob("*.jpg"))
        slides = {f"drawn {side}": drawn(side) for side in arguments.side}
        slides[f"HER2ST {arguments.section}"] = real(picture, arguments.cut)
        record: dict[str, Any] = {"threads": torch.get_num_threads(), "query": [], "features": []}
        if (RESULTS / "slides.json").exists():
            kept = json.loads((RESULTS / "slides.json").read_text())
            record["query"] = [one for one in kept["query"] if not (arguments.before and one["slide"] in slides)]
            record["features"] = [
                one for one in kept["features"] if not (arguments.peer and one["precision"] == arguments.precision)
            ]
        for number, (name, pixels) in enumerate(slides.items()):
            path = work / f"slide{number}.tiff"
            write_pyramid(path, pixels)
            if arguments.before:
                record["query"].append({"slide": name, "side": pixels.shape[:2], **queries(work, path, arguments)})
            if arguments.peer:
                found = {"slide": name, "side": pixels.shape[:2], "precision": arguments.precision}
                found["bleep"] = features_by([sys.executable], path, arguments)
                script = Path(__file__).with_name("slides_lazyslide.py")
                words = [path, arguments.weights.resolve(), arguments.precision, json.dumps(CASES)]
                found["lazyslide"] = run([str(arguments.peer), str(script), *map(str, words)], work)
                record["features"].append(found)
            report(record)


def drawn(side: int) -> np.ndarray:
    """Return glass with a disc of tissue on it, which has structure at two scales."""
    rng, tissue = np.random.default_rng(0), np.zeros((side, side, 3), np.float32)
    for size in (64, 8):
        patch = Image.fromarray(rng.integers(20, 90, (side // size + 2, side // size + 2, 3), dtype=np.uint8))
        larger = patch.resize((patch.width * size, patch.height * size), Image.Resampling.BILINEAR)
        tissue += np.asarray(larger, np.float32)[:side, :side]
    tissue += np.array([60, 0, 40], np.float32)
    down, right = np.ogrid[:side, :side]
    inside = (down - side / 2) ** 2 + (right - side / 2) ** 2 < (0.45 * side) ** 2
    return np.where(inside[..., None], tissue.clip(0, 255), 242).astype(np.uint8)


def real(picture: Path, cut: int | None) -> np.ndarray:
    """Return the picture of a HER2ST section, .69 microns a pixel, at half a micron a pixel, or its middle."""
    with Image.open(picture) as opened:
        sides = [round(side * 0.69 / MPP) for side in opened.size]
        pixels = np.asarray(opened.convert("RGB").resize((sides[0], sides[1]), Image.Resampling.BILINEAR))
    top, left = (max(side - (cut or side), 0) // 2 for side in pixels.shape[:2])
    return pixels[top : top + cut, left : left + cut] if cut else pixels


def write_pyramid(path: Path, pixels: np.ndarray) -> None:
    """Write a tiled TIFF with levels of a half, a quarter and an eighth."""
    with tifffile.TiffWriter(path) as writer:
        for level in range(4):
            sides = [max(side >> level, 1) for side in pixels.shape[1::-1]]
            smaller = np.asarray(Image.fromarray(pixels).resize((sides[0], sides[1]), Image.Resampling.BOX))
            writer.write(
                smaller, tile=(256, 256), photometric="rgb", compression="jpeg", subfiletype=int(level > 0),
                resolution=(1e4 / (MPP * 2**level),) * 2, resolutionunit="CENTIMETER",
            )  # fmt: skip


def queries(work: Path, slide: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the seconds of `query --slides` by either version, and the tiles."""
    out: dict[str, Any] = {}
    for version, tree in zip(VERSIONS, (arguments.before.resolve(), HERE), strict=True):
        if not (work / version).exists():
            train(work, version, tree, arguments)
        command = ["query", "--slides", str(slide), "--mpp", str(MPP), "--step", str(STEP), "--run", version]
        start = time.perf_counter()
        bleep(work, tree, [*command, "--out", f"{version}-{slide.stem}.h5ad"])
        out[version] = time.perf_counter() - start
        out["tiles"] = len(anndata_obs(work / f"{version}-{slide.stem}.h5ad"))
    return out


def train(work: Path, version: str, tree: Path, arguments: argparse.Namespace) -> None:
    flags = [
        "--config", str(tree / "configs/her2st-c.yaml"), "--data.root", str(arguments.root.resolve()), "--data.sections", "C2",
        "--data.split", "none", "--image.trunk", TRUNK, "--image.layer", str(LAYER), "--image.weights",
        str(arguments.weights.resolve()), "--loss.task", "regression", "--optim.epochs", "1", "--tiles.pixels", str(PIXELS),
        "--tiles.microns", *map(str, WINDOWS), "--data.step", str(STEP), "--out", version,
    ]  # fmt: skip
    if version == "now":
        flags += ["--image.sharing", "tokens", "--image.precision", "auto"]
    subprocess.run([sys.executable, str(tree / "bleep/train.py"), *flags], cwd=work, env=of(tree), check=True)


def of(tree: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(tree), "HF_HUB_OFFLINE": "1"}


def bleep(work: Path, tree: Path, command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "bleep", *command], cwd=work, env=of(tree), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} under {tree.name}: {done.stderr[-2000:]}")


def anndata_obs(path: Path) -> Any:
    import anndata

    return anndata.read_h5ad(path, backed="r").obs


def features_by(python: list[str], slide: Path, arguments: argparse.Namespace) -> Any:
    """Measure bleep in a process of its own, as the peer is."""
    command = [*python, __file__, "--features", str(slide), "--root", str(arguments.root), "--weights", str(arguments.weights)]
    return run([*command, "--precision", arguments.precision], HERE)


def run(command: list[str], folder: Path) -> Any:
    environment = of(HERE) if command[0] == sys.executable else {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{Path(command[1]).name}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def own_features(slide: Path, weights: Path, precision: str) -> list[dict[str, Any]]:
    """Return tiles and seconds of each case."""
    from bleep.config import DataConfig, ImageConfig
    from bleep.data.readers import read_sections
    from bleep.data.tiles import Tiles, TileSpec
    from bleep.features import FeatureReader
    from bleep.models.factory import build_trunk

    out = []
    for windows, part in CASES:
        sharing, step = "none" if part == 1 else "tokens", part * windows[0]
        tree = {"trunk": TRUNK, "weights": str(weights), "layer": LAYER, "precision": precision, "sharing": sharing}
        trunk, _ = build_trunk(ImageConfig.model_validate(tree), PIXELS)
        start = time.perf_counter()
        sections = read_sections(DataConfig.model_validate({"source": "wsi", "root": str(slide), "mpp": MPP, "step": step}))
        found = FeatureReader(trunk, None, batch=BATCH).read(Tiles(sections, TileSpec(PIXELS, windows)))
        out.append({"windows": windows, "step": step, "tiles": len(found), "seconds": time.perf_counter() - start})
    return out


def report(record: dict[str, Any]) -> None:
    lines = [
        "# Whole slides",
        "",
        f"`python benchmarks/speed/slides.py --root DATA --weights VIT ...`, {record['threads']} threads.",
        "",
    ]
    lines += ["| slide | pixels | tiles | before, s | now, s | times as fast |", "| --- | --- | ---: | ---: | ---: | ---: |"]
    for one in record["query"]:
        sides = " x ".join(map(str, one["side"][::-1]))
        ratio = one["before"] / one["now"]
        lines.append(f"| {one['slide']} | {sides} | {one['tiles']} | {one['before']:.1f} | {one['now']:.1f} | {ratio:.1f} |")
    lines += [
        "",
        "`bleep query --slides`, a tile every 50 um under windows of 112 and 224 um, the whole command. Before: windows of "
        "their own in float32; now: regions shared, precision by the machine.",
        "",
        "| slide | pixels | precision | windows, um | step, um | bleep: tiles | tiles/s | LazySlide 0.13: tiles | tiles/s "
        "| times as fast |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in record["features"]:
        for ours, theirs in zip(one["bleep"], one["lazyslide"], strict=False):
            rates = [each["tiles"] / each["seconds"] for each in (ours, theirs)]
            cells = [one["slide"], " x ".join(map(str, one["side"][::-1])), one["precision"]]
            cells += [", ".join(f"{window:g}" for window in ours["windows"]), f"{ours['step']:g}", f"{ours['tiles']}"]
            cells += [f"{rates[0]:.1f}", f"{theirs['tiles']:g}", f"{rates[1]:.1f}", f"{rates[0] / rates[1]:.2f}"]
            lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "Features of windows in 224 pixels, ViT-S/14 to block 5, from opening the slide to features in "
        "memory. At half a window's step bleep shares regions (means of tokens); where tiles do not overlap each has a window "
        "of its own. LazySlide makes two passes for two windows; a tile is then a place with both. Either precision was "
        "measured on a machine of its own: bf16 where a processor has it (AVX512-BF16), float32 on one without (AVX2).",
    ]
    print("\n".join(lines), flush=True)
    write_text(RESULTS / "slides.md", "\n".join([*lines, ""]))
    write_json(RESULTS / "slides.json", record)


if __name__ == "__main__":
    main()
