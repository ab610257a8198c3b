"""What it takes to make the page and the figures of a large section, and to open the page: seconds and memory.

    python benchmarks/speed/report.py

A section of 5,000 spots and 2,000 genes, of made-up values, measured, predicted and uncertain, with 20 neighbours a spot and
a picture of 1,400 pixels: all figures that `bleep evaluate --figures` draws from one run, and its page. Then the page of a
section of 100,000 spots, and the tiles of a slide of 20,000 pixels a side that was written as a TIFF of one scale. Pages are
opened in headless Chromium from disk: seconds until the maps stand, and until they stand again after a zoom. The record goes to
benchmarks/results/report.{md,json}.
"""

import argparse
import math
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bleep.data.slides import Slide, open_slide
from bleep.files import read_json, write_json, write_text
from bleep.viz.figures import Drawing, save
from bleep.viz.figures.tissue_maps import gene_map, gene_relations, ranked, variances
from bleep.viz.figures.training import METHODS, error_by_uncertainty, joint_space
from bleep.viz.page import Nearest, Page, TissueView, tiles_folder, write_page
from bleep.viz.page.content import write_tiles

RESULTS = Path(__file__).resolve().parents[1] / "results"
SPOTS, GENES, SIDE, K = 5_000, 2_000, 10_000, 20
MANY, GENES_OF_MANY, SLIDE = 100_000, 400, 20_000
FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update")
REPEATS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pages", action="store_true", help="pages and tiles alone; what the record says of figures stays")
    alone = parser.parse_args().pages
    path = RESULTS / "report.json"
    record = read_json(path, "the record of this benchmark") if alone else {}
    with tempfile.TemporaryDirectory() as temporary:
        record |= tiles_of(Path(temporary)) | pages(Path(temporary), {} if alone else figures_of(Path(temporary)))
    write_json(path, record)
    write_text(RESULTS / "report.md", "\n".join([*words(record), ""]))
    print("\n".join(words(record)))


def figures_of(folder: Path) -> dict[str, Any]:
    """Return what the figures of a section take."""
    view, genes = made_up(SPOTS, GENES), names_of(GENES)
    seconds: dict[str, float] = {}
    for name, draw in figures(view, genes):
        timed(seconds, name, lambda draw=draw: save(draw(), folder))
    rounded = {name: round(value, 2) for name, value in seconds.items()}
    return {"seconds": rounded, "seconds_in_all": round(sum(seconds.values()), 1), "peak_gb": peak_gb()}


def pages(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Add to a record what pages take, as they are written and as they are opened."""
    found = []
    for spots, genes in ((SPOTS, GENES), (MANY, GENES_OF_MANY)):
        path, page = folder / f"{spots}.html", page_of(made_up(spots, genes), names_of(genes))
        start = time.perf_counter()
        shown = write_page(page, path)
        written = time.perf_counter() - start
        facts = {"spots": spots, "genes": genes, "written": round(written, 2), "mb": round(path.stat().st_size / 1e6, 1)}
        found.append(facts | {"genes_in_page": shown} | first_paint(path))
    return record | {"cores": len(os.sched_getaffinity(0)), "pages": found}


def names_of(genes: int) -> tuple[str, ...]:
    return tuple(f"GENE{row}" for row in range(genes))


def words(record: dict[str, Any]) -> list[str]:
    """Return the record as Markdown."""
    lines = ["# Figures and pages of 5,000 spots and 2,000 genes, and of more", "", "`python benchmarks/speed/report.py`", ""]
    lines += [
        "| what | seconds |",
        "| --- | ---: |",
        *(f"| {name} | {value:.2f} |" for name, value in record["seconds"].items()),
    ]
    lines += [f"| in all | {record['seconds_in_all']} |", ""]
    lines += [f"Peak memory {record['peak_gb']} GB, made-up values included. Asked: below 60 s and 3 GB."]
    lines += ["", f"## Pages in headless Chromium from disk, {record['cores']} cores, no GPU, best of {REPEATS}", ""]
    lines += ["| spots | genes | shown | MB | written in (s) | maps stand after (s) | after a zoom (s) |", "| ---: " * 7 + "|"]
    for one in record["pages"]:
        opened = f"{one['first_paint']:.2f} | {one['zoom']:.2f}" if "zoom" in one else "no Chromium |"
        made = f"{one['genes_in_page']:,} | {one['mb']} | {one['written']:.1f}"
        lines.append(f"| {one['spots']:,} | {one['genes']:,} | {made} | {opened} |")
    tiles = record["tiles"]
    lines += ["", "Asked: 15 MB, 3 s. Three maps are drawn: H&E, measured, predicted.", "", "## A slide in tiles", ""]
    lines.append(
        f"{tiles['side']:,} pixels a side, a TIFF of one scale: {tiles['files']:,} tiles of {tiles['mb']} MB in "
        f"{tiles['seconds']} s, {tiles['peak_gb_more']} GB of memory more than before; decoded whole it would be "
        f"{tiles['decoded_gb']} GB."
    )
    return lines


def page_of(view: TissueView, genes: tuple[str, ...]) -> Page:
    return Page("Made up", f"{len(view.xy):,} spots.", genes, tuple(range(len(genes))), "log1p", "spread", (view,))


def peak_gb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)


def first_paint(path: Path) -> dict[str, float]:
    """Return the seconds until a page's maps stand, and until they stand after a zoom; empty without Chromium."""
    chromium = shutil.which("chromium")
    if chromium is None:
        return {}
    from playwright.sync_api import sync_playwright

    frames = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    stands, zooms = [], []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=list(FLAGS))
        for _ in range(REPEATS):
            context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
            page = context.new_page()
            start = time.perf_counter()
            page.goto(path.as_uri())
            page.wait_for_selector("body[data-ready]", timeout=120_000)
            page.evaluate(frames)
            stands.append(time.perf_counter() - start)
            page.focus("#map")
            start = time.perf_counter()
            page.keyboard.press("+")
            page.evaluate(frames)
            zooms.append(time.perf_counter() - start)
            context.close()
        browser.close()
    return {"first_paint": round(min(stands), 2), "zoom": round(min(zooms), 2)}


def tiles_of(folder: Path) -> dict[str, Any]:
    """Write a large slide in tiles, and return what that took."""
    import tifffile

    random = np.random.default_rng(2)
    block = np.repeat(np.repeat(random.integers(120, 255, (32, 32, 3), np.uint8), 16, 0), 16, 1)
    source = folder / "slide.tif"
    blocks = (np.roll(block, number, axis=1) for number in range(math.ceil(SLIDE / 512) ** 2))
    how: dict[str, Any] = {"tile": (512, 512), "compression": "jpeg", "photometric": "rgb", "bigtiff": True}
    tifffile.imwrite(source, blocks, shape=(SLIDE, SLIDE, 3), dtype=np.uint8, **how)
    slide: Slide = open_slide(source)
    before, target = peak_gb(), tiles_folder(folder / "slide.html")
    start = time.perf_counter()
    write_tiles({0: slide}, target)
    seconds = time.perf_counter() - start
    files = list(target.rglob("*.jpg"))
    facts = {
        "side": SLIDE,
        "files": len(files),
        "mb": round(sum(path.stat().st_size for path in files) / 1e6, 1),
        "seconds": round(seconds, 1),
        "peak_gb_more": round(peak_gb() - before, 2),
        "decoded_gb": round(3 * SLIDE**2 / 1e9, 1),
    }
    return {"tiles": facts}


def timed(seconds: dict[str, float], name: str, work: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    found = work()
    seconds[name] = time.perf_counter() - start
    return found


def made_up(spots: int, genes: int) -> TissueView:
    """Values with waves over the section and noise, rounded to counts as measured ones are."""
    random = np.random.default_rng(0)
    at = np.arange(spots)
    across = math.isqrt(spots) + 1
    xy = np.stack([at % across, at // across], axis=1) * (SIDE / (across + 1)) + SIDE / (across + 1)
    phase = random.uniform(0, 6, genes)
    waves = np.sin(xy[:, :1] / 900 + phase) + np.cos(xy[:, 1:] / 1300 + 2 * phase)
    measured = np.log1p(random.poisson(np.exp(waves - 0.5))).astype(np.float32)
    nearest = Nearest(
        tuple(f"T/{row}" for row in range(spots)), random.integers(0, spots, (spots, K)),
        np.sort(random.uniform(0.5, 1, (spots, K)).astype(np.float32))[:, ::-1].copy(), np.full((spots, K), 1 / K, np.float32),
    )  # fmt: skip
    picture = random.integers(150, 255, (1400, 1400, 3), dtype=np.uint8)
    uncertainty = np.abs(random.normal(size=waves.shape)).astype(np.float32)
    names = tuple(f"S/{row}" for row in range(spots))
    side = (float(SIDE), float(SIDE))
    return TissueView(
        "S", picture, side, xy, 0.45 * SIDE / across, names, waves.astype(np.float32), measured, uncertainty, nearest
    )


def figures(view: TissueView, genes: tuple[str, ...]) -> Iterator[tuple[str, Callable[[], Drawing]]]:
    measured, predicted, uncertainty = view.measured, view.predicted, view.uncertainty
    assert measured is not None
    assert uncertainty is not None
    for column in range(4):
        yield f"map {column + 1}", lambda column=column: gene_map(view, column, genes[column], "log1p", "spread")
    random = np.random.default_rng(1)
    names = ("combined", "retrieval", "regression", "ridge", "image-kNN", "ridge on colour", "mean")
    scores = pd.DataFrame({name: random.uniform(0, 1, GENES) for name in names}, index=list(genes))
    yield "genes ranked", lambda: ranked(scores, "combined")
    yield "variances", lambda: variances(measured, predicted)
    yield "gene relations", lambda: gene_relations(measured, predicted, genes, np.arange(50))
    yield "error by uncertainty", lambda: error_by_uncertainty(predicted - measured, uncertainty, "spread")
    sides = [random.normal(size=(SPOTS, 256)).astype(np.float32) for _ in range(2)]
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides]
    for method in METHODS:
        yield f"joint space, {method}", lambda method=method: joint_space(unit[0], unit[1], {}, method, 0)


if __name__ == "__main__":
    main()
