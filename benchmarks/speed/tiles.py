"""How fast tiles are read: stored, cut from a pyramid, and as BLEEP's published code reads them; all in one run.

    python benchmarks/speed/tiles.py [--out benchmarks/results]

Everything is made up here: a slide of 8,192 x 8,192 pixels and 4,096 spots. Rates are tiles a second of one process, the
best of several passes; what counts is their ratio. `per item` is rebuilt from the description of BLEEP's data set class:
for each spot a scan of the table of positions for its barcode, a crop of the picture held in memory, flips and a rotation
by Pillow, and torchvision's to_tensor and normalize.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyvips
import tiffslide
import torch
import zarr
from anndata import AnnData
from PIL import Image
from torchvision.transforms import functional

from bleep.data import tiles as store
from bleep.data.datasets import TileDataset
from bleep.data.section import Section
from bleep.data.slides import ArraySlide, PyramidSlide
from bleep.data.tiles import Tiles, TileSpec, cut
from bleep.data.toy import toy_section
from bleep.files import write_json, write_text

SIDE, PIXELS, SPOTS, BATCH, PASSES = 8192, 224, 4096, 256, 3
SPEC = TileSpec(PIXELS, (224.0,))
rng = np.random.default_rng(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        section = made_up()
        tiles = stored(section, root)
        rates = {
            "per item, as published": rate(per_item(section), 512, one_by_one=True),
            "cut from the picture in memory": rate(Tiles((section,), SPEC).images, 1024),
            "copied out of one memory map": rate(mapped(section, root), SPOTS),
            "store": rate(tiles.images, SPOTS),
            "store, turned, as a training batch": rate(training(tiles), SPOTS),
            "store, turned, normalised to float as per item": rate(normalised(training(tiles)), SPOTS),
            **other_stores(tiles, root),
            **pyramid(section, root),
        }
        size = sum(path.stat().st_size for path in Path(tiles.stored[0].folder).iterdir()) / len(section)
    ratios = {
        "training batch from the store / per item (at least 20)": rates["store, turned, as a training batch"]
        / rates["per item, as published"],
        "the same, normalised to float too / per item": rates["store, turned, normalised to float as per item"]
        / rates["per item, as published"],
        "store / memory map copy (at least 0.5)": rates["store"] / rates["copied out of one memory map"],
        "lazy crop / bare tiffslide, level 0 (at least 0.7)": rates["lazy crop, level 0"] / rates["bare tiffslide, level 0"],
        "lazy crop / bare tiffslide, level 1 (at least 0.7)": rates["lazy crop, level 1"] / rates["bare tiffslide, level 1"],
    }
    report(rates, ratios, size, arguments.out)


def made_up() -> Section:
    """Return a toy section whose picture and spots are replaced by large ones."""
    small = rng.integers(0, 255, (SIDE // 32, SIDE // 32, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    pixels = np.clip(smooth.astype(np.int16) + rng.integers(-8, 8, smooth.shape, dtype=np.int16), 0, 255).astype(np.uint8)
    toy = toy_section("speed", "nobody", 0, side=256)
    picked = rng.integers(0, len(toy), SPOTS)
    names = pd.DataFrame(index=[f"spot{number}" for number in range(SPOTS)])
    counts = AnnData(X=toy.counts.X[picked], obs=names, var=toy.counts.var)
    xy = rng.integers(PIXELS, SIDE - PIXELS, (SPOTS, 2)).astype(np.float64)
    return replace(toy, slide=ArraySlide(pixels), counts=counts, xy=xy, mpp=1.0)


def stored(section: Section, root: Path) -> Tiles:
    for _ in store.write(root / "tiles", section, SPEC):
        pass
    return Tiles((section,), SPEC, root / "tiles")


def rate(read: Callable[[list[int]], object], count: int, *, one_by_one: bool = False) -> float:
    """Return tiles a second over random rows, the best of some passes."""
    best = 0.0
    for _ in range(PASSES):
        rows = rng.permutation(SPOTS)[:count].tolist()
        began = time.perf_counter()
        if one_by_one:
            for at in range(0, count, BATCH):
                torch.stack([read(row) for row in rows[at : at + BATCH]])  # type: ignore[arg-type]
        else:
            for at in range(0, count, BATCH):
                read(rows[at : at + BATCH])
        best = max(best, count / (time.perf_counter() - began))
    return best


def per_item(section: Section) -> Callable[[int], torch.Tensor]:
    barcodes = pd.DataFrame({0: list(section.counts.obs_names)})
    places = pd.DataFrame({0: barcodes[0], 4: section.xy[:, 1].astype(int), 5: section.xy[:, 0].astype(int)})
    places = places.sample(frac=1.0, random_state=0).reset_index(drop=True)
    whole, half = section.slide.pixels, PIXELS // 2

    def item(row: int) -> torch.Tensor:
        place = places.loc[places[0] == barcodes.iloc[row, 0]]
        y, x = int(place[4].iloc[0]), int(place[5].iloc[0])
        image = Image.fromarray(whole[y - half : y + half, x - half : x + half])
        if rng.random() > 0.5:
            image = functional.hflip(image)
        if rng.random() > 0.5:
            image = functional.vflip(image)
        image = functional.rotate(image, float(rng.choice([180, 90, 0, -90])))
        return functional.normalize(functional.to_tensor(image), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])

    return item


def mapped(section: Section, root: Path) -> Callable[[list[int]], np.ndarray]:
    path = root / "all.npy"
    held = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(SPOTS, 1, 3, PIXELS, PIXELS))
    for row in range(SPOTS):
        held[row] = cut(section, row, SPEC)
    held.flush()
    again = np.load(path, mmap_mode="r")
    return lambda rows: again[rows]


def training(tiles: Tiles) -> Callable[[list[int]], torch.Tensor]:
    dataset = TileDataset(tiles, np.zeros((SPOTS, 1), np.float32), 0, augment=True)
    return lambda rows: dataset[(0, rows)].inputs


def normalised(read: Callable[[list[int]], torch.Tensor]) -> Callable[[list[int]], torch.Tensor]:
    mean, std = (torch.tensor(three).view(3, 1, 1) * 255 for three in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    return lambda rows: read(rows)[:, 0].float().sub_(mean).div_(std)


def other_stores(tiles: Tiles, root: Path) -> dict[str, float]:
    """Return the rates of the same tiles kept by other libraries, one tile a chunk."""
    shape, chunk = (SPOTS, *tiles.shape), (1, *tiles.shape)
    plain = zarr.create_array(store=root / "plain.zarr", shape=shape, chunks=chunk, dtype="uint8", compressors=None)
    packed = zarr.create_array(store=root / "zstd.zarr", shape=shape, chunks=chunk, dtype="uint8")
    with h5py.File(root / "tiles.h5", "w") as file:
        hdf = file.create_dataset("tiles", shape, dtype="uint8", chunks=chunk)
        for at in range(0, SPOTS, BATCH):
            images = tiles.images(range(at, at + BATCH))
            plain[at : at + BATCH] = packed[at : at + BATCH] = hdf[at : at + BATCH] = images
    file = h5py.File(root / "tiles.h5")
    return {
        "zarr, no compression": rate(lambda rows: plain.oindex[sorted(rows)], 1024),
        "zarr, zstd": rate(lambda rows: packed.oindex[sorted(rows)], 512),
        "HDF5": rate(lambda rows: [file["tiles"][row] for row in rows], 1024),
    }


def pyramid(section: Section, root: Path) -> dict[str, float]:
    """Return the rates of boxes out of a pyramidal TIFF, by our slide and by the bare library."""
    path, side = root / "pyramid.tif", 512
    tiled = {"tile": True, "tile_width": 256, "tile_height": 256, "pyramid": True}
    pyvips.Image.new_from_array(section.slide.pixels).tiffsave(str(path), compression="jpeg", Q=90, **tiled)
    slide, bare = PyramidSlide.open(path), tiffslide.TiffSlide(path)
    corners = np.clip(section.xy.astype(int) - side // 2, 0, SIDE - side)

    def ours(pixels: int) -> Callable[[list[int]], object]:
        return lambda rows: [slide.region(*map(int, corners[row]), side, "white", pixels) for row in rows]

    def theirs(level: int) -> Callable[[list[int]], object]:
        size = (side >> level, side >> level)
        return lambda rows: [bare.read_region(tuple(map(int, corners[row])), level, size, as_array=True) for row in rows]

    return {
        "bare tiffslide, level 0": rate(theirs(0), 512),
        "lazy crop, level 0": rate(ours(side), 512),
        "bare tiffslide, level 1": rate(theirs(1), 512),
        "lazy crop, level 1": rate(ours(side // 2), 512),
    }


def report(rates: dict[str, float], ratios: dict[str, float], size: float, out: Path) -> None:
    lines = ["# Reading tiles", "", "`python benchmarks/speed/tiles.py`, one process, one thread, "
             f"{os.cpu_count()} cores, torch {torch.__version__}. Tiles of {PIXELS} px, {size / 1e3:.0f} kB each; "
             "files in the page cache.", "", "| | tiles/s |", "| --- | --- |"]  # fmt: skip
    lines += [f"| {name} | {value:,.0f} |" for name, value in rates.items()]
    lines += ["", "| ratio | |", "| --- | --- |", *(f"| {name} | {value:.2f} |" for name, value in ratios.items()), ""]
    print("\n".join(lines))
    write_text(out / "tiles.md", "\n".join(lines))
    write_json(out / "tiles.json", json.loads(json.dumps({"rates": rates, "ratios": ratios, "bytes_a_tile": size})))


if __name__ == "__main__":
    main()
